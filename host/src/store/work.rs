//! What travels from a caller to a thread of the store and back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{Error, Transaction, transaction::Failed};

/// How many callers may wait for a thread; more wait in turn before they are let in.
const QUEUE: usize = 1024;

/// A closure with the way back to its caller.
pub(super) trait Work: Send {
    /// Runs the closure; may be done again, which forgets what was before.
    fn run(&mut self, transaction: Transaction<'_>) -> Ran;

    /// What the closure is let to do.
    fn mode(&self) -> Mode;

    /// Gives the caller what the last run gave, or the error that kept it from being stored.
    fn answer(self: Box<Self>, stored: Result<(), Error>);
}

/// What a closure is let to do, and what it sees of others meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// Change what it has locked; it sees what others commit meanwhile.
    Locking,
    /// Change nothing; it sees one state.
    Read,
    /// Change anything, as if alone.
    Serial,
}

/// How a run ended.
pub(super) enum Ran {
    /// Store it; `true` when there are new jobs in it.
    Keep(bool),
    /// Undo it. With the failure of the store that is behind it, if that is why.
    Undo(Option<Error>),
    /// Undo it and run it again.
    Rerun(Error),
}

pub(super) type Boxed = Box<dyn Work>;

/// The end from which threads take work.
pub(super) struct Queue(Mutex<mpsc::Receiver<Boxed>>);

impl Queue {
    pub fn new() -> (mpsc::Sender<Boxed>, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (sender, Self(Mutex::new(receiver)))
    }

    /// Waits for work; none once every sender is gone and the queue is empty.
    pub fn take(&self) -> Option<Boxed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
    }

    /// Waits for work and takes what else is there, `most` in all. Empty at the end.
    pub fn take_group(&self, most: usize) -> Vec<Boxed> {
        let mut receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut group = Vec::new();
        let _none_at_the_end = receiver.blocking_recv_many(&mut group, most);
        group
    }
}

/// A closure and its caller.
pub(super) struct Call<F, T, E> {
    closure: F,
    mode: Mode,
    value: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Call<F, T, E> {
    pub fn new(closure: F, mode: Mode) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Self { closure, mode, value: None, reply }, answer)
    }
}

impl<F, T, E> Work for Call<F, T, E>
where
    F: Fn(&mut Transaction<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, mut transaction: Transaction<'_>) -> Ran {
        // Nothing that the closure touched is used after a panic: its transaction is undone.
        let value = catch_unwind(AssertUnwindSafe(|| (self.closure)(&mut transaction)));
        let (failed, brings_jobs) = transaction.into_end();
        let (value, ran) = match (value, failed) {
            (Err(panic), _) => {
                let text = panic_text(panic.as_ref());
                tracing::error!(panic = text, "a change of the store panicked");
                (Err(Error::Panicked(text).into()), Ran::Undo(None))
            }
            (Ok(value), None) => {
                let ran = if value.is_ok() { Ran::Keep(brings_jobs) } else { Ran::Undo(None) };
                (value, ran)
            }
            (Ok(value), Some(Failed { error, rerun })) => {
                // A closure that swallows the failure of a statement has not done what it says.
                let value = if value.is_ok() { Err(error.clone().into()) } else { value };
                // A change inside a read is the caller's fault, not the store's.
                let is_misplaced = self.mode == Mode::Read && matches!(error, Error::ReadOnly(_));
                let ran = match (rerun, error.is_of_the_store() && !is_misplaced) {
                    (true, _) => Ran::Rerun(error),
                    (false, true) => Ran::Undo(Some(error)),
                    (false, false) => Ran::Undo(None),
                };
                (value, ran)
            }
        };
        self.value = Some(value);
        ran
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn answer(self: Box<Self>, stored: Result<(), Error>) {
        let value = match (stored, self.value) {
            (Ok(()), Some(value)) => value,
            (Ok(()), None) => Err(Error::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        // A caller that no longer waits has lost interest in the answer, not in the change.
        let _caller_may_be_gone = self.reply.send(value);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}
