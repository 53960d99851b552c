//! The way of a call: limits, faults, latency, the cloud's contents, and what becomes of the answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use capstan_plugin_api::{CallContext, DriverError, ErrorCode, Health, Retry};

use crate::{
    call_log::{CallLog, Ended},
    config::{DEFAULT_LATENCY, Settings},
    faults::{Armed, Control, Fault, Fired, Rule},
    gate::Gate,
    journal::Journal,
    random::Random,
    world::{Plan, Turn, World},
};

/// One open cloud.
pub(crate) struct Service {
    settings: Settings,
    gate: Gate,
    desk: Mutex<Desk>,
    store: Mutex<Store>,
    call_log: Option<CallLog>,
}

/// Counts calls and finds their faults.
struct Desk {
    counts: HashMap<&'static str, u64>,
    faults: Armed,
    control: Option<Control>,
}

struct Store {
    world: World,
    journal: Option<Journal>,
    /// Why the file could not be written anew, last time.
    complaint: Option<String>,
}

/// A wait looks around so often.
const LOOK_AROUND: Duration = Duration::from_millis(10);

impl Service {
    pub(crate) fn open(settings: Settings) -> Result<Self, DriverError> {
        let failed =
            |wrong: String| DriverError::invalid_argument(format!("the dummy cloud cannot be opened: {wrong}"));
        let (journal, world) = match &settings.file {
            None => (None, World::begun(settings.contents, now())),
            Some(path) => {
                let (journal, world) = Journal::open(path, settings.contents, settings.sync, now()).map_err(failed)?;
                (Some(journal), world)
            }
        };
        let call_log = settings.call_log.as_deref().map(CallLog::open).transpose().map_err(failed)?;
        let control = settings.control.clone().map(|path| Control::new(path, settings.seed));
        let faults = Armed::new(settings.seed, "faults", &settings.faults);
        Ok(Self {
            gate: Gate::new(settings.limits.clone()),
            desk: Mutex::new(Desk { counts: HashMap::new(), faults, control }),
            store: Mutex::new(Store { world, journal, complaint: None }),
            call_log,
            settings,
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn health(&self) -> Health {
        Health { message: held(&self.store).complaint.clone().unwrap_or_default() }
    }

    /// A call that only looks. `subject` is the name of the node to create, or the id of what the call is about.
    pub(crate) fn look<T>(
        &self,
        call: &CallContext,
        method: &'static str,
        subject: &str,
        act: impl FnOnce(&World, &Turn<'_>) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.change(call, method, subject, |world, turn| act(world, turn).map(|answer| (Vec::new(), answer)))
    }

    /// A call that may change something.
    pub(crate) fn change<T>(
        &self,
        call: &CallContext,
        method: &'static str,
        subject: &str,
        act: impl FnOnce(&World, &Turn<'_>) -> Plan<T>,
    ) -> Result<T, DriverError> {
        let began = Instant::now();
        let mut fired = Fired::default();
        let answer = self.go(call, method, subject, &mut fired, act);
        if let Some(log) = &self.call_log {
            let (error, request_id) = (answer.as_ref().err(), call.request_id());
            log.write(&Ended { at: now(), began, method, subject, request_id, fired: &fired, error });
        }
        answer
    }

    fn go<T>(
        &self,
        call: &CallContext,
        method: &'static str,
        subject: &str,
        fired: &mut Fired,
        act: impl FnOnce(&World, &Turn<'_>) -> Plan<T>,
    ) -> Result<T, DriverError> {
        let _pass = self.gate.enter()?;
        let count = held(&self.desk).meet(method, subject, fired)?;
        let slow = fired.find(Fault::Slow).map_or(0, Rule::delay);
        wait(call, self.latency(method, count) + slow as f64)?;
        if let Some(rule) = fired.find(Fault::RateLimited).or_else(|| fired.find(Fault::Error)) {
            return Err(refusal(rule, "the cloud refuses the call"));
        }
        let answer = held(&self.store).act(&self.settings, fired, self.build_time(method, count), act)?;
        match fired.find(Fault::ReplyLost) {
            None => Ok(answer),
            Some(rule) => {
                wait(call, rule.delay() as f64)?;
                Err(refusal(rule, "the cloud's reply was lost"))
            }
        }
    }

    fn latency(&self, method: &str, count: u64) -> f64 {
        let latency = &self.settings.latency;
        let distribution = latency.get(method).or_else(|| latency.get(DEFAULT_LATENCY));
        distribution.map_or(0.0, |latency| latency.draw(&mut Random::of(self.settings.seed, method, count)))
    }

    fn build_time(&self, method: &str, count: u64) -> i64 {
        let purpose = format!("build time of {method}");
        self.settings.build_time.draw(&mut Random::of(self.settings.seed, &purpose, count)) as i64
    }
}

impl Desk {
    /// The how-manieth call of the method it is.
    fn meet(&mut self, method: &'static str, subject: &str, fired: &mut Fired) -> Result<u64, DriverError> {
        let count = self.counts.entry(method).or_default();
        *count += 1;
        self.faults.meet(method, subject, fired);
        if let Some(control) = &mut self.control {
            control.meet(method, subject, fired)?;
        }
        Ok(*count)
    }
}

impl Store {
    fn act<T>(
        &mut self,
        settings: &Settings,
        fired: &Fired,
        build_ms: i64,
        act: impl FnOnce(&World, &Turn<'_>) -> Plan<T>,
    ) -> Result<T, DriverError> {
        let lost = |wrong: String| DriverError::unavailable("the cloud cannot reach what it keeps").for_operator(wrong);
        let _held =
            self.journal.as_mut().map(|journal| journal.take_turn(&mut self.world)).transpose().map_err(lost)?;
        let turn = Turn { settings, now: now(), build_ms, fired };
        self.world.settle(turn.now);
        let (changes, answer) = act(&self.world, &turn)?;
        if changes.is_empty() {
            return Ok(answer);
        }
        if let Some(journal) = &mut self.journal {
            journal.append(&changes).map_err(lost)?;
        }
        changes.into_iter().for_each(|change| self.world.apply(change));
        if let Some(journal) = &mut self.journal {
            self.complaint = journal.rewrite_when_due(&self.world).err();
        }
        Ok(answer)
    }
}

/// Until the time is over, or `Err` as soon as the call should stop.
fn wait(call: &CallContext, milliseconds: f64) -> Result<(), DriverError> {
    let began = Instant::now();
    let time = Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or(Duration::MAX);
    loop {
        call.check()?;
        let left = time.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK_AROUND).min(call.time_left()));
    }
}

fn refusal(rule: &Rule, usual: &str) -> DriverError {
    let code = rule.error_code();
    let retry = match rule.retry_after_ms {
        Some(time) => Retry::After(Duration::from_millis(time)),
        None if code == ErrorCode::RATE_LIMITED => Retry::After(Duration::from_secs(1)),
        None if code == ErrorCode::UNAVAILABLE => Retry::Now,
        None => Retry::Never,
    };
    DriverError::new(code, rule.message.as_deref().unwrap_or(usual)).retry(retry)
}

/// Whatever panicked while it held the lock had changed nothing by halves: a change is planned before it is applied.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
