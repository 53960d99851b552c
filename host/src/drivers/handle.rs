//! Calls to a driver, typed.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use capstan_plugin_api::{DriverError, ErrorCode, Health, Manifest, Pending, Retry, SerialBy, Token};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    boundary::LONGEST_BODY,
    executor::{Answer, Call},
    gate::Pass,
    generations::{Driver, Use},
    host_services::CallState,
    pipeline::Generation,
    turns::Turn,
};

/// A pending call is not asked more often than this.
const SHORTEST_POLL: Duration = Duration::from_millis(5);

/// A way to call one driver. Cheap to clone; it stays good across generations of the driver's file.
#[derive(Clone)]
pub struct DriverHandle {
    driver: Arc<Driver>,
    /// What the driver said when the handle was made; kept so that [`DriverHandle::manifest`] always has an answer.
    first: Arc<Manifest>,
    /// Noted at the driver for as long as a clone of the handle is there.
    _used: Option<Arc<Use>>,
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
        f.debug_tuple("DriverHandle").field(&self.driver.full_name()).finish()
    }
}

impl DriverHandle {
    pub(super) fn new(driver: Arc<Driver>, first: Arc<Manifest>) -> Self {
        Self { driver, first, _used: None }
    }

    /// The handle for a running service that needs these methods: as long as it or a clone of it is there, no generation without
    /// them takes over, and the entry cannot be removed from the table.
    #[must_use]
    pub fn used_by(self, service: &str, methods: &[&str]) -> Self {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        let used = Arc::new(Use { service: service.to_owned(), methods });
        self.driver.note_use(&used);
        Self { _used: Some(used), ..self }
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
        &self.driver.name
    }

    /// Deadline of a call that brings none, of the generation that serves now.
    pub fn call_timeout(&self) -> Option<Duration> {
        self.driver.generation.load().as_ref().map(|generation| generation.call_timeout)
    }

    /// Calls that run at the same time at most, of the generation that serves now; one while none does.
    pub fn max_concurrency(&self) -> usize {
        self.driver.generation.load().as_ref().map_or(1, |generation| generation.gate.most())
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
        self.driver.lineage.figures.note_call(method, started.elapsed(), outcome.as_ref().err());
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
        let params = raw(method, params)?;
        let (generation, deadline, pass) = self.admit(method, &options, started).await?;
        let turn = pass.turn.clone();
        let state = generation.calls.begin(method.into(), &options.request_id, deadline);
        let call = Call { method: Arc::clone(&state.method), params, state: Arc::clone(&state), pass };
        let answer = match generation.executor.invoke(call).await {
            Ok(Answer::Done(body)) => Ok(body),
            Ok(Answer::Pending(pending)) => follow(&generation, &state, pending, turn, &options).await,
            Err(error) => Err(error),
        };
        let body = answer.map_err(|error| if_cut_off(&generation, error))?;
        serde_json::from_slice(&body).map_err(|error| {
            DriverError::internal(format!("the driver's answer to {method} cannot be read"))
                .for_operator(format!("{method}: {error}"))
        })
    }

    /// The generation that takes the call, the call's deadline, and its place and turn. A call that waited goes to the generation
    /// that serves by then: the one before has not seen it.
    async fn admit(
        &self,
        method: &str,
        options: &CallOptions,
        started: Instant,
    ) -> Result<(Arc<Generation>, Instant, Pass), DriverError> {
        let mut generation = self.driver.ready()?;
        let deadline = started + options.deadline.unwrap_or(generation.call_timeout);
        let mut turn: Option<(SerialBy, Arc<Turn>)> = None;
        loop {
            if !options.is_unlisted && !generation.manifest.has(method) {
                return Err(DriverError::not_supported(method));
            }
            let by = generation.manifest.serial_by;
            let kept = match turn.take() {
                Some((kept_by, kept)) if kept_by == by => kept,
                // Given back first, or it would wait for itself.
                other => {
                    drop(other);
                    generation.gate.turn(by, options.serial_key.as_deref(), deadline).await?
                }
            };
            let place = generation.gate.place(deadline).await?;
            let now = self.driver.ready()?;
            if Arc::ptr_eq(&now, &generation) {
                return Ok((generation, deadline, Pass { place: Some(place), turn: Some(kept) }));
            }
            turn = Some((by, kept));
            generation = now;
        }
    }

    /// Asks for the driver's health, at most for `timeout`.
    ///
    /// # Errors
    /// As [`DriverHandle::call`].
    pub async fn health(&self, timeout: Duration) -> Result<Health, DriverError> {
        self.driver.ready()?.executor.health(timeout).await
    }
}

/// What a caller is told whose call was cancelled because its generation's time was over.
fn if_cut_off(generation: &Generation, error: DriverError) -> DriverError {
    if error.code != ErrorCode::CANCELLED || !generation.cut_off.load(Ordering::Acquire) {
        return error;
    }
    cut_off(generation, &error.to_string())
}

fn cut_off(generation: &Generation, last: &str) -> DriverError {
    DriverError::unavailable("the driver was replaced while the call was out").retry(Retry::Never).for_operator(
        format!(
            "generation {} had drivers.drain_timeout_seconds to end its calls; what this one did is not known ({last})",
            generation.number
        ),
    )
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
        if generation.cut_off.load(Ordering::Acquire) {
            return Err(cut_off(generation, &format!("its token: {}", super::error::one_line(&pending.token))));
        }
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
