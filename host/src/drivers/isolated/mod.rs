//! The executor in a process of the driver's own.
//!
//! The process is `capstan __driver` (see [`super::child`]), which speaks the frames of [`super::frames`]. [`bring_up`] starts
//! one, a [`link`] is one that runs, and [`supervisor`] has the next one started when it has ended.

mod asks;
mod bring_up;
mod end;
mod launch;
mod link;
mod outbox;
mod repeat;
mod supervisor;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use capstan_plugin_api::{DriverError, ErrorCode, Health, Manifest, Retry, call::Request};
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::Handle;

pub(super) use bring_up::{Expected, Judge, Patience};
pub(super) use launch::Launch;

use super::{
    Supervision,
    boundary::Answered,
    error::Failure,
    executor::{Answer, BoxFuture, Call, Condition, Executor, Standing, interpret},
    figures::Figures,
    frames::{self, FromHost},
    gate::Pass,
    host_services::{CallState, HostServices},
    in_process::read_health,
};
use bring_up::{Plan, bring_up};
use link::{Link, Receiver, Unseen};
use supervisor::{State, Supervisor};

/// A driver in a process of its own.
pub(super) struct Isolated {
    supervisor: Arc<Supervisor>,
    cancel_grace: Duration,
    figures: Arc<Figures>,
    services: Arc<HostServices>,
    runtime: Handle,
}

/// What an isolated driver is started with.
pub(super) struct Start {
    pub launch: Launch,
    pub services: Arc<HostServices>,
    /// The driver's own section.
    pub config: serde_json::Value,
    pub expected: Expected,
    pub patience: Patience,
    pub cancel_grace: Duration,
    pub supervision: Supervision,
    pub figures: Arc<Figures>,
    pub runtime: Handle,
}

impl Isolated {
    /// Starts the process and waits until its instance is open and healthy. Blocks, so it may not be called on a thread of the
    /// runtime.
    pub fn start(start: Start) -> Result<(Self, Arc<Manifest>), Failure> {
        let Start { launch, services, config, expected, patience, cancel_grace, supervision, figures, runtime } = start;
        let config: Box<RawValue> = to_raw_value(&config).map_err(|error| {
            Failure::new(super::Stage::Open, error.to_string(), "a configuration that can be sent", "correct it")
        })?;
        let threads = asks::threads(&launch.driver);
        let config = Arc::from(config);
        let mut plan =
            Plan { launch, services: Arc::clone(&services), config, expected, patience, supervision, threads };
        let up = runtime.block_on(bring_up(&plan))?;
        // The next process is the same driver as this one.
        let manifest = Arc::clone(&up.manifest);
        plan.expected = Expected::Same(Arc::clone(&manifest));
        let supervisor = Supervisor::start(plan, up, Arc::clone(&figures), &runtime);
        Ok((Self { supervisor, cancel_grace, figures, services, runtime }, manifest))
    }

    /// Sends what belongs to `state` and waits for what comes of it, at most for the deadline and the grace.
    async fn exchange(
        &self,
        state: &Arc<CallState>,
        pass: Pass,
        message: impl FnOnce() -> Result<Vec<u8>, DriverError>,
    ) -> Result<Answered, DriverError> {
        let link = self.supervisor.link(state.deadline).await?;
        let frame = message()?;
        let mut receiver = match link.request(state.id, Arc::clone(&state.method), pass, frame) {
            Ok(receiver) => receiver,
            Err(unseen) => return Err(self.turned_away(&link, unseen, state.deadline).await),
        };
        let mut abandoned = Abandoned { executor: self, call: Some((link, Arc::clone(state))) };
        let answered = match tokio::time::timeout_at(state.deadline.into(), &mut receiver).await {
            Ok(answered) => Some(answered),
            Err(_elapsed) => self.wind_down(abandoned.link(), state, receiver).await,
        };
        abandoned.call = None;
        match answered {
            Some(Ok(answered)) => answered,
            // The books of a link are closed before it goes, so this is the time-out.
            Some(Err(_)) | None => {
                Err(DriverError::timeout("the driver did not answer in time").for_operator(format!(
                    "{}: no answer by the deadline nor {} ms after it was cancelled, so the driver was killed; what it did is \
                     not known",
                    state.method,
                    self.cancel_grace.as_millis()
                )))
            }
        }
    }

    /// The error of a call that was not handed over. When the process is ending, its end is waited for: only then is it known
    /// when the next one is due, and a caller that asks again and again at once would gain nothing.
    async fn turned_away(&self, link: &Link, unseen: Unseen, deadline: Instant) -> DriverError {
        if matches!(unseen, Unseen::Ending) {
            let _at_most_until_then = tokio::time::timeout_at(deadline.into(), link.ended()).await;
            if let State::Waiting { until, why } | State::Open { until, why } = self.supervisor.state() {
                return supervisor::away(&why, until);
            }
            return DriverError::from(unseen).retry(Retry::Now);
        }
        unseen.into()
    }

    /// Cancels, waits for the grace, and kills.
    async fn wind_down(
        &self,
        link: Option<&Arc<Link>>,
        state: &CallState,
        receiver: Receiver,
    ) -> Option<Result<Result<Answered, DriverError>, tokio::sync::oneshot::error::RecvError>> {
        let link = link?;
        state.cancel();
        link.cancel(state.id);
        match tokio::time::timeout(self.cancel_grace, receiver).await {
            Ok(answered) => Some(answered),
            Err(_elapsed) => {
                link.give_up(state.id);
                None
            }
        }
    }
}

/// Cancels a call whose caller goes away; a driver that holds on to it beyond deadline and grace is killed as for any other.
struct Abandoned<'a> {
    executor: &'a Isolated,
    call: Option<(Arc<Link>, Arc<CallState>)>,
}

impl Abandoned<'_> {
    fn link(&self) -> Option<&Arc<Link>> {
        self.call.as_ref().map(|(link, _)| link)
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some((link, state)) = self.call.take() else { return };
        state.cancel();
        link.cancel(state.id);
        let last = state.deadline + self.executor.cancel_grace;
        self.executor.runtime.spawn(async move {
            tokio::select! {
                _ = link.ended() => {}
                () = tokio::time::sleep_until(last.into()) => link.give_up(state.id),
            }
        });
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        // A process that was closed has ended by now; the threads that looked into its questions go too.
        self.supervisor.abandon();
    }
}

impl Executor for Isolated {
    fn invoke(&self, call: Call) -> BoxFuture<'_, Result<Answer, DriverError>> {
        Box::pin(async move {
            let Call { method, params, state, pass } = call;
            let message = || frame_of(&state, &method, &params);
            let answered = self.exchange(&state, pass, message).await?;
            let mut panicked = false;
            let answer = interpret(&method, answered, &mut panicked);
            if panicked {
                self.figures.note_panic();
            }
            answer.map_err(|error| {
                // A driver may see the deadline before our own timer does.
                let by_deadline = error.code == ErrorCode::CANCELLED && Instant::now() >= state.deadline;
                if by_deadline { DriverError { code: ErrorCode::TIMEOUT, ..error } } else { error }
            })
        })
    }

    fn cancel(&self, state: &Arc<CallState>) {
        state.cancel();
        if let State::Up(link) = self.supervisor.state() {
            link.cancel(state.id);
        }
    }

    fn health(&self, timeout: Duration) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async move {
            let state = self.services.calls.begin("health".into(), "", Instant::now() + timeout);
            let message = FromHost { health: Some(frames::CallId { id: state.id }), ..FromHost::default() };
            let message = || frames::frame(&message).map_err(|error| DriverError::internal(error.to_string()));
            read_health(self.exchange(&state, Pass::default(), message).await?)
        })
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.supervisor.close(Instant::now() + grace).await })
    }

    fn restart(&self) -> Option<BoxFuture<'_, Result<(), DriverError>>> {
        Some(Box::pin(self.supervisor.restart()))
    }

    fn condition(&self) -> Condition {
        let (standing, pid) = match self.supervisor.state() {
            State::Up(link) => match link.verdict() {
                Some(end) => (Standing::Restarting(end.to_string()), Some(link.pid)),
                None => (Standing::Serving, Some(link.pid)),
            },
            State::Starting => (Standing::Restarting("it is being started again".to_owned()), None),
            State::Waiting { until, why } => {
                let left = until.saturating_duration_since(Instant::now());
                (Standing::Restarting(format!("{why}; it is started again in {} ms", left.as_millis())), None)
            }
            State::Open { until, why } => {
                let left = until.saturating_duration_since(Instant::now());
                let driver = self.supervisor.driver();
                let next = format!(
                    "it is tried again in {} s, and at once by `capstan driver restart {driver}`",
                    left.as_secs()
                );
                (Standing::CircuitOpen(format!("{why}; {next}")), None)
            }
            State::Closed => (Standing::Serving, None),
        };
        Condition { lost_threads: 0, standing, pid, restarts: self.supervisor.restarts() }
    }
}

/// The frame of one call; the time left is that of this moment.
fn frame_of(state: &CallState, method: &str, params: &RawValue) -> Result<Vec<u8>, DriverError> {
    let left = state.deadline.saturating_duration_since(Instant::now());
    let request = Request {
        deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        request_id: Cow::Borrowed(&state.request_id),
        params: Some(params),
    };
    let unwritable = |error: &dyn std::fmt::Display| {
        DriverError::invalid_argument(format!("the parameters of {method} cannot be sent: {error}")).retry(Retry::Never)
    };
    let request = to_raw_value(&request).map_err(|error| unwritable(&error))?;
    let call = frames::Call { id: state.id, method: method.into(), request: &request };
    frames::frame(&FromHost { call: Some(call), ..FromHost::default() }).map_err(|error| unwritable(&error))
}
