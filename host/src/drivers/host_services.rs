//! The host as one instance sees it: state, secrets, figures, progress, notices, programs and the log.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use capstan_plugin_api::{
    DriverError, ErrorCode, Secret, abi,
    host::service::{Metric, Notify, Progress, SecretGet},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Kind,
    boundary::HostSide,
    error::one_line,
    hooks::{LogHook, Notification, NotifyHook},
    instance_state::InstanceState,
    programs::Programs,
};

/// Names of figures that one driver may have.
const MOST_FIGURES: usize = 64;
/// Notices that are kept for `driver info`.
const KEPT_NOTICES: usize = 16;
/// Lines of the log in a second; so many more may come in a burst.
const LINES_A_SECOND: f64 = 200.0;
const BURST: f64 = 1000.0;

/// One call, shared by caller, executor and services; found by its id for as long as anybody holds it.
pub(super) struct CallState {
    pub id: u64,
    pub method: Arc<str>,
    pub request_id: String,
    pub deadline: Instant,
    pub started: Instant,
    cancelled: AtomicBool,
    progress: Mutex<Option<Progress>>,
    table: Arc<CallTable>,
}

#[derive(Default)]
pub(super) struct CallTable {
    calls: Mutex<HashMap<u64, Weak<CallState>>>,
}

impl CallState {
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) || Instant::now() >= self.deadline
    }

    pub fn progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.table.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl CallTable {
    /// Enters a call.
    pub fn begin(self: &Arc<Self>, method: Arc<str>, request_id: &str, deadline: Instant) -> Arc<CallState> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let state = Arc::new(CallState {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            method,
            request_id: request_id.to_owned(),
            deadline,
            started: Instant::now(),
            cancelled: AtomicBool::new(false),
            progress: Mutex::new(None),
            table: Arc::clone(self),
        });
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(state.id, Arc::downgrade(&state));
        state
    }

    fn find(&self, id: u64) -> Option<Arc<CallState>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(Weak::upgrade)
    }

    /// Calls that are out, the oldest first.
    pub fn all(&self) -> Vec<Arc<CallState>> {
        // The lock must be free again before the calls are let go: the last holder of one takes it.
        let mut all: Vec<_> = {
            let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.values().filter_map(Weak::upgrade).collect()
        };
        all.sort_by_key(|call| call.id);
        all
    }
}

/// What the host does for one instance.
pub(super) struct HostServices {
    pub kind: Kind,
    pub name: String,
    pub calls: Arc<CallTable>,
    pub state: Arc<InstanceState>,
    pub programs: Programs,
    pub secrets: BTreeMap<String, Secret>,
    pub on_notify: Option<NotifyHook>,
    pub on_log: Option<LogHook>,
    pub kept: Arc<Kept>,
    /// See [`HostServices::end`].
    pub ending: AtomicBool,
}

impl HostServices {
    /// A line that the driver's process printed.
    pub fn printed(&self, line: &str) {
        self.log(0, abi::LOG_WARN, "output", line, "");
    }

    /// Lets the instance know that it is to end: `open` ran out of time, or `close` is coming.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }
}

/// What the generations of a driver leave for `driver info`.
#[derive(Default)]
pub(super) struct Kept {
    figures: Mutex<BTreeMap<String, f64>>,
    notices: Mutex<VecDeque<Notification>>,
    log: Mutex<Allowance>,
}

impl Kept {
    pub fn figures(&self) -> BTreeMap<String, f64> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn notices(&self) -> Vec<Notification> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

struct Allowance {
    lines: f64,
    at: Instant,
    dropped: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { lines: BURST, at: Instant::now(), dropped: 0 }
    }
}

impl Allowance {
    /// Whether a line may be written, and how many were dropped before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.lines = (self.lines + passed * LINES_A_SECOND).min(BURST);
        self.at = now;
        if self.lines < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.lines -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }
}

fn read<T: DeserializeOwned>(service: &str, body: &[u8]) -> Result<T, DriverError> {
    serde_json::from_slice(body)
        .map_err(|error| DriverError::invalid_argument(format!("the parameters of {service} cannot be read: {error}")))
}

fn write<T: Serialize>(value: Result<T, DriverError>) -> Result<Vec<u8>, DriverError> {
    serde_json::to_vec(&value?).map_err(|error| DriverError::internal(format!("an answer cannot be written: {error}")))
}

impl HostServices {
    fn metric(&self, figure: Metric) -> Result<(), DriverError> {
        let Metric { name, value } = figure;
        let well_formed = (1..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !well_formed || !value.is_finite() {
            return Err(DriverError::invalid_argument(
                "a figure has a name of a-z, 0-9 and _ (a letter first, at most 64) and a finite value",
            ));
        }
        let mut figures = self.kept.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if figures.len() >= MOST_FIGURES && !figures.contains_key(&name) {
            return Err(DriverError::new(
                ErrorCode::QUOTA_EXCEEDED,
                format!("the driver has {MOST_FIGURES} figures already, which is the most"),
            ));
        }
        *figures.entry(name).or_default() += value;
        Ok(())
    }

    fn notify(&self, notice: Notify) -> Result<(), DriverError> {
        if notice.what.is_empty() || notice.what.len() > 64 {
            return Err(DriverError::invalid_argument("`what` has 1 to 64 bytes"));
        }
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let notification =
            Notification { kind: self.kind, name: self.name.clone(), what: notice.what, detail: notice.detail, at };
        if let Some(hook) = &self.on_notify {
            hook(&notification);
        }
        let mut notices = self.kept.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() == KEPT_NOTICES {
            notices.pop_front();
        }
        notices.push_back(notification);
        Ok(())
    }

    fn progress(&self, call_id: u64, progress: Progress) -> Result<(), DriverError> {
        let call = self.calls.find(call_id).ok_or_else(|| DriverError::invalid_argument("progress outside a call"))?;
        let progress = Progress { what: one_line(&progress.what), ..progress };
        tracing::debug!(
            driver = %self.full_name(), request_id = %call.request_id, method = %call.method,
            done = progress.done, total = progress.total, "{}", progress.what
        );
        *call.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        Ok(())
    }

    fn secret(&self, name: &str) -> Result<&Secret, DriverError> {
        self.secrets.get(name).ok_or_else(|| {
            DriverError::not_found("the driver's configuration names no such secret").for_operator(one_line(name))
        })
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }
}

impl HostSide for HostServices {
    fn call(&self, call_id: u64, service: &str, body: &[u8]) -> Result<Vec<u8>, DriverError> {
        match service {
            "state.get" => write(self.state.get(&read(service, body)?)),
            "state.put" => write(self.state.put(&read(service, body)?)),
            "state.delete" => write(self.state.delete(&read(service, body)?)),
            "state.list" => write(self.state.list(&read(service, body)?)),
            "secret.get" => write(self.secret(&read::<SecretGet>(service, body)?.name)),
            "metric" => write(self.metric(read(service, body)?)),
            "progress" => write(self.progress(call_id, read(service, body)?)),
            "notify" => write(self.notify(read(service, body)?)),
            "program.start" => write(self.programs.start(&read(service, body)?)),
            "program.stop" => write(self.programs.stop(&read(service, body)?)),
            "program.find" => write(self.programs.find(&read(service, body)?)),
            _ => Err(DriverError::new(
                ErrorCode::NOT_SUPPORTED,
                format!("this host has no service {:?}", one_line(service)),
            )),
        }
    }

    fn log(&self, call_id: u64, level: u32, target: &str, message: &str, fields: &str) {
        if let Some(hook) = &self.on_log {
            hook(&format!("{target} {message} {fields}"));
        }
        // What nobody reads costs the driver nothing of its allowance.
        let is_read = match level {
            abi::LOG_ERROR => tracing::enabled!(tracing::Level::ERROR),
            abi::LOG_WARN => tracing::enabled!(tracing::Level::WARN),
            abi::LOG_INFO => tracing::enabled!(tracing::Level::INFO),
            abi::LOG_DEBUG => tracing::enabled!(tracing::Level::DEBUG),
            _ => tracing::enabled!(tracing::Level::TRACE),
        };
        if !is_read {
            return;
        }
        let dropped = {
            let mut log = self.kept.log.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(dropped) = log.take(Instant::now()) else { return };
            dropped
        };
        let driver = self.full_name();
        if dropped > 0 {
            tracing::warn!(driver = %driver, dropped, "the driver logs too fast; lines were dropped");
        }
        let request_id = self.calls.find(call_id).map(|call| call.request_id.clone()).unwrap_or_default();
        let (message, from, fields) = (one_line(message), one_line(target), one_line(fields));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(driver = %driver, request_id = %request_id, from = %from, fields = %fields, "{message}")
            };
        }
        match level {
            abi::LOG_ERROR => line!(error),
            abi::LOG_WARN => line!(warn),
            abi::LOG_INFO => line!(info),
            abi::LOG_DEBUG => line!(debug),
            _ => line!(trace),
        }
    }

    fn cancelled(&self, call_id: u64) -> bool {
        if call_id == 0 {
            return self.ending.load(Ordering::Acquire);
        }
        // An id that nobody holds belongs to a call that has ended: whoever still works for it may stop.
        self.calls.find(call_id).is_none_or(|call| call.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let mut log = Allowance::default();
        let now = Instant::now();
        let written = (0..5000).filter(|_| log.take(now).is_some()).count();
        assert_eq!(written, 1000);
        assert_eq!(log.take(now + Duration::from_secs(1)), Some(4000));
        assert_eq!(log.take(now + Duration::from_secs(1)), Some(0));
    }
}
