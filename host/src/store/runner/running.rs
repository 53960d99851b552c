//! A job as its handler has it.

use std::time::Duration;

use tokio::sync::watch;

use crate::store::{
    Error, Store, Transaction,
    jobs::{self, Job, JobLease, Progress},
};

/// A job that runs.
pub struct Running {
    /// As it was when it was claimed.
    pub job: Job,
    store: Store,
    lease: JobLease,
    held: Duration,
    cancelled: watch::Receiver<bool>,
    end: watch::Receiver<bool>,
}

/// Why a handler is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled the job, or its deadline has come.
    Cancelled,
    /// The daemon ends.
    Ending,
}

impl Running {
    pub(super) fn new(
        store: Store,
        job: Job,
        held: Duration,
        cancelled: watch::Receiver<bool>,
        end: watch::Receiver<bool>,
    ) -> Self {
        Self { lease: job.lease(), job, store, held, cancelled, end }
    }

    /// The store, for reading.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Changes the store under the job's lease, which is renewed.
    ///
    /// # Errors
    /// What the closure gives; [`Error::LeaseLost`] when somebody else has the job now, and nothing is written.
    pub async fn write<T: Send + 'static>(
        &self,
        closure: impl Fn(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (lease, held) = (self.lease.clone(), self.held);
        self.store
            .write(move |tx| {
                jobs::renew(tx, &lease, held)?;
                closure(tx)
            })
            .await
    }

    /// Says how far the job is. That it cannot be stored is no reason to stop.
    pub async fn progress(&self, percent: Option<u8>, text: impl Into<String>) {
        let (lease, progress) = (self.lease.clone(), Progress { percent, text: Some(text.into()) });
        let _only_for_people = self.store.write_locking(move |tx| jobs::report(tx, &lease, &progress)).await;
    }

    /// A way to keep the handle of a driver's call that goes on, from a place that cannot wait.
    pub fn handle_keeper(&self) -> impl Fn(Option<Vec<u8>>) + Send + Sync + use<> {
        let (store, lease) = (self.store.clone(), self.lease.clone());
        move |handle| {
            let (store, lease) = (store.clone(), lease.clone());
            tokio::spawn(async move {
                let kept = store.write_locking(move |tx| jobs::save_handle(tx, &lease, handle.as_deref())).await;
                if let Err(error) = kept {
                    tracing::warn!(%error, "the handle of a pending call cannot be kept; after a restart the cloud is searched");
                }
            });
        }
    }

    /// Why to stop, if there is a reason.
    pub fn stop(&self) -> Option<Stop> {
        if *self.cancelled.borrow() {
            return Some(Stop::Cancelled);
        }
        self.end.borrow().then_some(Stop::Ending)
    }

    /// Waits for a time, or until there is a reason to stop.
    pub async fn pause(&self, time: Duration) -> Option<Stop> {
        let (mut cancelled, mut end) = (self.cancelled.clone(), self.end.clone());
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            // A sender that is gone ends the job by other means.
            Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => {}
            Ok(_) = end.wait_for(|end| *end) => {}
        }
        self.stop()
    }
}
