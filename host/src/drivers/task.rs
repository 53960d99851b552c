//! One call on a thread: from the queue to the answer, or to the moment when it is given up.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use capstan_plugin_api::call::Request;

use super::{
    boundary::{Answered, Instance},
    executor::Call,
    gate::Pass,
    pool,
};

/// What a thread is to do.
pub(super) enum Work {
    Health,
    Invoke(Call),
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Queued,
    Running,
    Finished,
    Lost,
}

/// One call (or health) on its way through a thread of the pool. It holds the instance for as long as anybody holds it.
pub(super) struct Task {
    driver: Arc<str>,
    instance: Arc<Instance>,
    pub work: Work,
    finished: AtomicBool,
    progress: Mutex<Progress>,
}

struct Progress {
    phase: Phase,
    answered: Option<(Answered, Duration)>,
    waker: Option<Waker>,
    pass: Option<Pass>,
}

impl Task {
    pub fn new(driver: &Arc<str>, instance: Arc<Instance>, mut work: Work) -> Self {
        let pass = match &mut work {
            Work::Health => None,
            Work::Invoke(call) => Some(std::mem::take(&mut call.pass)),
        };
        Self {
            driver: Arc::clone(driver),
            instance,
            work,
            finished: AtomicBool::new(false),
            progress: Mutex::new(Progress { phase: Phase::Queued, answered: None, waker: None, pass }),
        }
    }

    /// Its thread is done with it; may be asked without a lock.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Resolves to what [`Task::take`] gives.
    pub fn wait(&self) -> Waiting<'_> {
        Waiting(self)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn method(&self) -> &str {
        match &self.work {
            Work::Health => "health",
            Work::Invoke(call) => &call.method,
        }
    }

    fn work(&self) -> Answered {
        match &self.work {
            Work::Health => self.instance.health(),
            Work::Invoke(call) => {
                let left = call.state.deadline.saturating_duration_since(Instant::now());
                let request = Request {
                    deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                    request_id: Cow::Borrowed(&call.state.request_id),
                    params: Some(&call.params),
                };
                match serde_json::to_vec(&request) {
                    Ok(body) => self.instance.invoke(call.state.id, &call.method, &body),
                    Err(error) => Answered { status: u32::MAX, body: Err(format!("no request: {error}")) },
                }
            }
        }
    }

    /// The answer and the time that it took the driver, once. Place and turn are given back with it: whoever has it may call
    /// again at once and must find them free.
    pub fn take(&self) -> Option<(Answered, Duration)> {
        let mut progress = self.progress();
        let answered = progress.answered.take()?;
        progress.pass = None;
        Some(answered)
    }

    /// Gives the task up, unless it has just finished; `lose` writes its thread off when it has one.
    pub fn give_up(&self, lose: impl FnOnce()) -> Option<(Answered, Duration)> {
        let mut progress = self.progress();
        match progress.phase {
            Phase::Finished => {
                progress.pass = None;
                return progress.answered.take();
            }
            Phase::Lost => return None,
            // Nobody took it up: whoever does will see that it is over.
            Phase::Queued => progress.phase = Phase::Lost,
            Phase::Running => {
                progress.phase = Phase::Lost;
                lose();
                if let Some(turn) = progress.pass.as_ref().and_then(|pass| pass.turn.as_ref()) {
                    turn.overrun();
                }
            }
        }
        // The place goes to the next call; the turn stays taken until the driver lets go.
        if let Some(pass) = &mut progress.pass {
            pass.place = None;
        }
        None
    }

    fn finish(&self, answered: Answered, took: Duration) -> bool {
        let mut progress = self.progress();
        let was_lost = progress.phase == Phase::Lost;
        progress.phase = Phase::Finished;
        let waker = progress.waker.take();
        if was_lost {
            progress.pass = None;
        } else {
            progress.answered = Some((answered, took));
        }
        drop(progress);
        self.finished.store(true, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
        if was_lost {
            tracing::warn!(
                driver = %self.driver, method = self.method(), seconds = took.as_secs_f64(),
                "a lost call came back; its answer is dropped"
            );
        }
        was_lost
    }
}

impl pool::Job for Task {
    fn run(&self) -> bool {
        {
            let mut progress = self.progress();
            if progress.phase != Phase::Queued {
                progress.pass = None;
                return false;
            }
            progress.phase = Phase::Running;
        }
        let start = Instant::now();
        let answered = self.work();
        let took = start.elapsed();
        self.finish(answered, took)
    }
}

/// Resolves when the task has finished.
pub(super) struct Waiting<'a>(&'a Task);

impl Future for Waiting<'_> {
    type Output = (Answered, Duration);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answered) = self.0.take() {
            return Poll::Ready(answered);
        }
        let mut progress = self.0.progress();
        if progress.phase == Phase::Finished {
            // Between the two looks; the next poll takes it.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        progress.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
