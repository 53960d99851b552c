//! Has the next process started when one has ended, not too often and not for ever.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use capstan_plugin_api::{DriverError, Retry};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

use super::{
    bring_up::{Plan, Up, bring_up},
    end::End,
    link::Link,
};
use crate::{
    backoff::Backoff,
    drivers::{
        Supervision,
        error::one_line,
        figures::Figures,
        frames::{CallId, Ending, FromHost, frame},
        gate::Pass,
    },
};

/// What a driver's process is doing.
#[derive(Clone)]
pub(super) enum State {
    Up(Arc<Link>),
    Starting,
    /// It ended; the next one is started at `until`.
    Waiting {
        until: Instant,
        why: String,
    },
    /// It ended too often.
    Open {
        until: Instant,
        why: String,
    },
    Closed,
}

pub(super) struct Supervisor {
    plan: Plan,
    state: watch::Sender<State>,
    /// An operator wants it to be started anew, now.
    restart: Notify,
    closing: watch::Sender<bool>,
    restarts: AtomicU64,
    /// Starts that came to an end, well or not.
    attempts: AtomicU64,
    figures: Arc<Figures>,
    ends: Mutex<Ends>,
}

/// How it went lately.
struct Ends {
    in_a_row: u32,
    backoff: Backoff,
}

impl Supervisor {
    /// Takes over a process that is up.
    pub fn start(plan: Plan, up: Up, figures: Arc<Figures>, runtime: &Handle) -> Arc<Self> {
        let Supervision { first_wait, longest_wait, .. } = plan.supervision;
        let supervisor = Arc::new(Self {
            plan,
            state: watch::channel(State::Up(Arc::clone(&up.link))).0,
            restart: Notify::new(),
            closing: watch::channel(false).0,
            restarts: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            figures,
            ends: Mutex::new(Ends { in_a_row: 0, backoff: Backoff::new(first_wait, longest_wait) }),
        });
        runtime.spawn(Arc::clone(&supervisor).run(up));
        supervisor
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Processes that were started after the first one.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// The process that serves; waits for one that is being started, or to see how one ends that is being killed.
    pub async fn link(&self, deadline: Instant) -> Result<Arc<Link>, DriverError> {
        let now = |state: &State| match state {
            State::Up(link) if link.is_condemned() => None,
            State::Up(link) => Some(Ok(Arc::clone(link))),
            State::Starting => None,
            State::Waiting { until, why } => Some(Err(away(why, *until))),
            State::Open { until, why } => Some(Err(away(why, *until))),
            State::Closed => Some(Err(DriverError::unavailable("the driver has been closed").retry(Retry::Never))),
        };
        if let Some(found) = now(&self.state.borrow()) {
            return found;
        }
        let mut state = self.state.subscribe();
        let up = state.wait_for(|state| now(state).is_some());
        match tokio::time::timeout_at(deadline.into(), up).await {
            Ok(Ok(state)) => {
                now(&state).unwrap_or_else(|| Err(DriverError::unavailable("the driver is being started")))
            }
            Ok(Err(_)) => Err(DriverError::unavailable("the driver has been closed")),
            Err(_elapsed) => {
                Err(DriverError::timeout("the driver was not started in time; it has not seen the call")
                    .retry(Retry::Now))
            }
        }
    }

    /// `kind.name`.
    pub fn driver(&self) -> &str {
        &self.plan.launch.driver
    }

    async fn run(self: Arc<Self>, up: Up) {
        let mut next = Some(up);
        let mut closing = self.closing.subscribe();
        loop {
            let state = match next.take() {
                Some(up) => self.serve(up).await,
                None => {
                    self.state.send_replace(State::Starting);
                    let outcome = tokio::select! {
                        biased;
                        _ = closing.wait_for(|closing| *closing) => None,
                        outcome = bring_up(&self.plan) => Some(outcome),
                    };
                    self.attempts.fetch_add(1, Ordering::Release);
                    match outcome {
                        Some(Ok(up)) => {
                            self.restarts.fetch_add(1, Ordering::Relaxed);
                            tracing::info!(driver = self.driver(), pid = up.link.pid, "the driver was started again");
                            self.state.send_replace(State::Up(Arc::clone(&up.link)));
                            next = Some(up);
                            continue;
                        }
                        Some(Err(failure)) => {
                            let why = one_line(&format!("stage {}: found {}", failure.stage, failure.found));
                            tracing::error!(driver = self.driver(), "the driver did not come up again: {why}");
                            self.fall(&End::NotStarted { why }, Duration::ZERO).0
                        }
                        None => self.fall(&End::Closed, Duration::ZERO).0,
                    }
                }
            };
            match state {
                State::Closed => return self.plan.threads.close(),
                State::Waiting { until, .. } | State::Open { until, .. } => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until.into()) => {}
                        () = self.restart.notified() => self.forget_ends(),
                        _ = closing.wait_for(|closing| *closing) => {}
                    }
                }
                State::Up(_) | State::Starting => {}
            }
        }
    }

    /// Waits for the end of a process and closes its books.
    async fn serve(&self, up: Up) -> State {
        let Up { link, mut process, .. } = up;
        let end = process.ended(|| link.verdict()).await;
        let asked = *self.closing.borrow() && matches!(end, End::Exited { code: 0 });
        let end = if asked { End::Closed } else { end };
        if !end.was_asked_for() {
            let line = process.last_line();
            tracing::error!(driver = self.driver(), pid = link.pid, end = end.as_str(), output = %line, "the driver ended: {end}");
        }
        // Whoever is told that a call failed must not find the link that has ended.
        let (state, wait) = self.fall(&end, link.started.elapsed());
        link.close_books(&end, wait);
        state
    }

    /// Takes note of an end; answers what comes now, and when the next start is due if there is one.
    fn fall(&self, end: &End, served: Duration) -> (State, Option<Duration>) {
        let Supervision { stable, most_ends, open_for, .. } = self.plan.supervision;
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if served >= stable || end.was_asked_for() {
            ends.in_a_row = 0;
            ends.backoff.reset();
        }
        if !end.was_asked_for() {
            ends.in_a_row += 1;
            self.figures.note_end(end.as_str(), &format!("the driver ended: {end}"));
        }
        let why = end.to_string();
        let (state, wait) = if *self.closing.borrow() {
            (State::Closed, None)
        } else if end.was_asked_for() {
            (State::Starting, Some(Duration::ZERO))
        } else if ends.in_a_row >= most_ends {
            tracing::error!(
                driver = self.driver(),
                "the driver ended {} times in a row and is tried again in {} s only; `capstan driver restart` starts it now",
                ends.in_a_row,
                open_for.as_secs()
            );
            let why = format!("{why}, and ended {} times in a row", ends.in_a_row);
            (State::Open { until: Instant::now() + open_for, why }, Some(open_for))
        } else {
            let wait = ends.backoff.wait();
            (State::Waiting { until: Instant::now() + wait, why }, Some(wait))
        };
        self.state.send_replace(state.clone());
        (state, wait)
    }

    fn forget_ends(&self) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.in_a_row = 0;
        ends.backoff.reset();
    }

    /// Ends the process, whatever it does, and starts another; closes an open circuit. Answers when the next one serves.
    pub async fn restart(&self) -> Result<(), DriverError> {
        let before = self.attempts.load(Ordering::Acquire);
        let mut state = self.state.subscribe();
        match self.state() {
            State::Up(link) => link.kill(End::Restarted),
            State::Waiting { .. } | State::Open { .. } => self.restart.notify_one(),
            State::Starting => {}
            State::Closed => return Err(DriverError::unavailable("the driver has been closed").retry(Retry::Never)),
        }
        let settled = state.wait_for(|state| {
            let tried = self.attempts.load(Ordering::Acquire) > before && !matches!(state, State::Starting);
            tried || matches!(state, State::Closed)
        });
        let refused = |why: &str| {
            Err(DriverError::unavailable("the driver did not come up again")
                .retry(Retry::Never)
                .for_operator(one_line(why)))
        };
        match settled.await.as_deref() {
            Ok(State::Up(_)) => Ok(()),
            Ok(State::Waiting { why, .. } | State::Open { why, .. }) => refused(why),
            _ => refused("it was closed meanwhile"),
        }
    }

    /// Waits until no call is out, closes the instance and its process; at `deadline` the process is killed.
    pub async fn close(&self, deadline: Instant) -> Result<(), String> {
        self.closing.send_replace(true);
        let State::Up(link) = self.state() else {
            let mut state = self.state.subscribe();
            let _closed = state.wait_for(|state| matches!(state, State::Closed)).await;
            return Ok(());
        };
        let ending = FromHost { ending: Some(Ending {}), ..FromHost::default() };
        let _an_end_is_seen_below = frame(&ending).map(|bytes| link.send(bytes));
        let drained = link.drained(deadline).await;
        if link.is_condemned() {
            // It was being killed already, and that has been told.
            link.ended().await;
            return Ok(());
        }
        if drained {
            let state = self.plan.services.calls.begin("close".into(), "", deadline);
            let message = FromHost { close: Some(CallId { id: state.id }), ..FromHost::default() };
            let bytes = frame(&message).map_err(|error| error.to_string())?;
            // The answer and the end come together; the end is what counts.
            let asked = link.request(state.id, "close".into(), Pass::default(), bytes);
            if asked.is_ok() && tokio::time::timeout_at(deadline.into(), link.ended()).await.is_ok() {
                return Ok(());
            }
        }
        let out = link.calls_out();
        link.kill(End::Closed);
        link.ended().await;
        Err(if drained {
            "`close` did not return in time, so the process was killed".to_owned()
        } else {
            format!("{out} calls were still out, so the process was killed")
        })
    }

    /// Ends everything at once.
    pub fn abandon(&self) {
        self.closing.send_replace(true);
        self.plan.threads.close();
        if let State::Up(link) = self.state() {
            link.kill(End::Closed);
        }
    }
}

/// The error of a call that comes while no process serves.
pub(super) fn away(why: &str, until: Instant) -> DriverError {
    let left = until.saturating_duration_since(Instant::now());
    DriverError::unavailable("the driver is being started again; it has not seen the call")
        .retry(Retry::After(left))
        .for_operator(one_line(why))
}
