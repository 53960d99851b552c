//! Calls to a driver, typed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use capstan_plugin_api::{DriverError, ErrorCode, Health, Manifest, Pending, Retry, SerialBy, Token};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    DriverEntry, LoadError,
    boundary::LONGEST_BODY,
    executor::{Answer, Call},
    figures::Figures,
    gate::{Pass, Turn},
    host_services::CallState,
    pipeline::Generation,
};

/// A pending call is not asked more often than this.
const SHORTEST_POLL: Duration = Duration::from_millis(5);

/// One configured driver, loaded or not.
pub(super) struct Driver {
    pub entry: DriverEntry,
    pub call_timeout: Duration,
    pub figures: Arc<Figures>,
    pub generation: ArcSwapOption<Generation>,
    pub phase: arc_swap::ArcSwap<Phase>,
    /// What it said when it was last asked for its health; none while it is well.
    pub unwell: arc_swap::ArcSwap<Option<String>>,
}

/// How far a driver is; what its threads do is known to its executor.
pub(super) enum Phase {
    Declared,
    Loading,
    Loaded,
    Draining,
    Failed(LoadError),
}

/// A way to call one driver. Cheap to clone; it stays good across generations of the driver's file.
#[derive(Clone)]
pub struct DriverHandle {
    driver: Arc<Driver>,
    /// What the driver said when the handle was made; kept so that [`DriverHandle::manifest`] always has an answer.
    first: Arc<Manifest>,
}

/// Hook for the token of a pending call; see [`CallOptions::on_pending`].
pub type PendingHook = Arc<dyn Fn(&Pending) + Send + Sync>;

/// What belongs to a call besides method and parameters.
#[derive(Clone, Default)]
pub struct CallOptions {
    /// Time for the whole call, waiting and polling included; none means the driver's `call_timeout`.
    pub deadline: Option<Duration>,
    /// Id of the request that caused the call, for the logs.
    pub request_id: String,
    /// Name of the device that the call is about; calls of one name do not overlap when the manifest says `serial_by = "device"`.
    pub serial_key: Option<String>,
    /// Asks the driver even for a method that its manifest does not list: for the conformance kit.
    pub is_unlisted: bool,
    /// Told each time the driver answers that it goes on in the background, for whoever wants to `recover` after a restart.
    pub on_pending: Option<PendingHook>,
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("deadline", &self.deadline)
            .field("request_id", &self.request_id)
            .field("serial_key", &self.serial_key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DriverHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DriverHandle").field(&self.driver.entry.full_name()).finish()
    }
}

impl Driver {
    fn ready(&self) -> Result<Arc<Generation>, DriverError> {
        let unavailable = |reason: String| {
            Err(DriverError::unavailable("the driver is not available").retry(Retry::Never).for_operator(reason))
        };
        match (&**self.phase.load(), self.generation.load_full()) {
            (Phase::Loaded, Some(generation)) => Ok(generation),
            (Phase::Failed(error), _) => unavailable(error.to_string()),
            (Phase::Draining, _) => unavailable(format!("{} is being closed", self.entry.full_name())),
            _ => unavailable(format!("{} is not loaded yet", self.entry.full_name())),
        }
    }
}

impl DriverHandle {
    pub(super) fn new(driver: Arc<Driver>, first: Arc<Manifest>) -> Self {
        Self { driver, first }
    }

    /// The manifest of the generation that serves now.
    pub fn manifest(&self) -> Arc<Manifest> {
        let generation = self.driver.generation.load();
        generation.as_ref().map_or_else(|| Arc::clone(&self.first), |generation| Arc::clone(&generation.manifest))
    }

    /// The driver answers `method`.
    pub fn has(&self, method: &str) -> bool {
        self.manifest().has(method)
    }

    /// Name in `known_drivers`, without the kind.
    pub fn name(&self) -> &str {
        &self.driver.entry.name
    }

    /// Calls `method` and waits for the answer, following a pending one through `poll` until the deadline. A method that the
    /// manifest does not list is `not_supported` without a call. Dropping the future cancels the call; the driver then has
    /// a grace to stop. Needs a tokio runtime with its clock.
    ///
    /// # Errors
    /// What the driver answered; `unavailable` when it is not loaded, full, quarantined or closing; `timeout` when the deadline
    /// passed (the answer comes at the latest one grace after it); `internal` when the answer cannot be read.
    pub async fn call<P, R>(&self, method: &str, params: &P, options: CallOptions) -> Result<R, DriverError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let started = Instant::now();
        let outcome = self.try_call(method, params, options, started).await;
        self.driver.figures.note_call(method, started.elapsed(), outcome.as_ref().err());
        outcome
    }

    async fn try_call<P, R>(
        &self,
        method: &str,
        params: &P,
        options: CallOptions,
        started: Instant,
    ) -> Result<R, DriverError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let generation = self.driver.ready()?;
        if !options.is_unlisted && !generation.manifest.has(method) {
            return Err(DriverError::not_supported(method));
        }
        let params = raw(method, params)?;
        let deadline = started + options.deadline.unwrap_or(self.driver.call_timeout);
        let key = match generation.manifest.serial_by {
            SerialBy::Device => options.serial_key.as_deref(),
            SerialBy::None => None,
            _ => Some(""),
        };
        let pass = generation.gate.enter(key, deadline).await?;
        let turn = pass.turn.clone();
        let state = generation.calls.begin(method.into(), &options.request_id, deadline);
        let call = Call { method: Arc::clone(&state.method), params, state: Arc::clone(&state), pass };
        let body = match generation.executor.invoke(call).await? {
            Answer::Done(body) => body,
            Answer::Pending(pending) => follow(&generation, &state, pending, turn, &options).await?,
        };
        serde_json::from_slice(&body).map_err(|error| {
            DriverError::internal(format!("the driver's answer to {method} cannot be read"))
                .for_operator(format!("{method}: {error}"))
        })
    }

    /// Asks for the driver's health, at most for `timeout`.
    ///
    /// # Errors
    /// As [`DriverHandle::call`].
    pub async fn health(&self, timeout: Duration) -> Result<Health, DriverError> {
        self.driver.ready()?.executor.health(timeout).await
    }
}

fn raw<P: Serialize + ?Sized>(method: &str, params: &P) -> Result<Box<RawValue>, DriverError> {
    let raw = to_raw_value(params).map_err(|error| {
        DriverError::invalid_argument(format!("the parameters of {method} cannot be written: {error}"))
    })?;
    // The envelope is small, but it counts.
    if raw.get().len() > LONGEST_BODY - (64 << 10) {
        return Err(DriverError::invalid_argument(format!(
            "the parameters of {method} have {} bytes, at most {} are passed on",
            raw.get().len(),
            LONGEST_BODY - (64 << 10)
        )));
    }
    Ok(raw)
}

/// Cancels a pending call when nobody waits for it any longer.
struct Abandoned<'a> {
    generation: &'a Generation,
    state: &'a Arc<CallState>,
    is_done: bool,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.generation.executor.cancel(self.state);
        }
    }
}

/// Polls until the driver is done. The turn stays taken: the work goes on in the driver.
async fn follow(
    generation: &Generation,
    state: &Arc<CallState>,
    mut pending: Pending,
    turn: Option<Arc<Turn>>,
    options: &CallOptions,
) -> Result<Vec<u8>, DriverError> {
    let method = &state.method;
    let mut abandoned = Abandoned { generation, state, is_done: false };
    if !generation.manifest.has("poll") {
        return Err(DriverError::internal(format!("the driver answered {method} as pending but has no poll")));
    }
    loop {
        if let Some(hook) = &options.on_pending {
            hook(&pending);
        }
        let left = state.deadline.saturating_duration_since(Instant::now());
        let wait = Duration::from_millis(pending.poll_after_ms).max(SHORTEST_POLL);
        if wait >= left {
            tokio::time::sleep(left).await;
            return Err(DriverError::timeout("the driver was not done in time").for_operator(format!(
                "{method} was still pending at its deadline and has been cancelled; its token: {}",
                super::error::one_line(&pending.token)
            )));
        }
        tokio::time::sleep(wait).await;
        let params = raw("poll", &Token { token: pending.token.clone() })?;
        let place = generation.gate.place(state.deadline).await?;
        let poll = generation.calls.begin("poll".into(), &options.request_id, state.deadline);
        let pass = Pass { place: Some(place), turn: turn.clone() };
        let call = Call { method: Arc::clone(&poll.method), params, state: poll, pass };
        match generation.executor.invoke(call).await {
            Ok(Answer::Done(body)) => {
                abandoned.is_done = true;
                return Ok(body);
            }
            Ok(Answer::Pending(next)) => pending = next,
            // Being told to come back later is no end of the work.
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                abandoned.is_done = true;
                return Err(error);
            }
        }
    }
}

fn is_passing(error: &DriverError) -> bool {
    error.code == ErrorCode::RATE_LIMITED && error.retry != Retry::Never
}
