//! Figures of one driver: cheap to note, read for lists and metrics.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use capstan_plugin_api::{DriverError, ErrorCode};
use serde::Serialize;

use super::error::one_line;
use crate::telemetry::{self, Counter, Histogram, names};

/// Codes are an open set that the driver chooses from; more than these are counted as one.
const MOST_CODES: usize = 32;
const OTHER: &str = "other";
/// Methods are the host's own words; a driver cannot add to them.
const MOST_METHODS: usize = 256;

/// Calls that took at most so long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// Bound, in seconds.
    pub seconds: f64,
    /// Calls at or below the bound.
    pub calls: u64,
}

pub(super) struct Figures {
    labels: [String; 2],
    metrics: telemetry::Figures,
    methods: Mutex<BTreeMap<String, Method>>,
    calls: AtomicU64,
    panics: AtomicU64,
    failures: Mutex<Failures>,
    ends: Mutex<BTreeMap<String, u64>>,
    latency: Histogram,
}

/// What is counted of one method, found once.
#[derive(Clone)]
struct Method {
    well: Arc<Counter>,
    seconds: Arc<Histogram>,
}

#[derive(Default)]
struct Failures {
    by_code: BTreeMap<String, u64>,
    last: Option<String>,
}

impl Figures {
    /// Figures of the driver `kind.name`, none noted; also counted in `metrics`.
    pub fn new(kind: &str, name: &str, metrics: telemetry::Figures) -> Self {
        Self {
            labels: [kind.to_owned(), name.to_owned()],
            metrics,
            methods: Mutex::default(),
            calls: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            failures: Mutex::default(),
            ends: Mutex::default(),
            latency: Histogram::default(),
        }
    }

    /// Notes a call that has ended.
    pub fn note_call(&self, method: &str, took: Duration, failure: Option<&DriverError>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.latency.record(took);
        let counted = self.method(method);
        counted.seconds.record(took);
        let Some(error) = failure else { return counted.well.increment() };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let code = error.code.as_str();
        let known = failures.by_code.contains_key(code) || failures.by_code.len() < MOST_CODES && code.len() <= 64;
        let code = if known { code } else { OTHER };
        *failures.by_code.entry(code.to_owned()).or_default() += 1;
        if !is_callers(&error.code) {
            failures.last = Some(one_line(&format!("{method}: {}: {error}", error.code)));
        }
        drop(failures);
        let [kind, name] = &self.labels;
        self.metrics.counter(&names::DRIVER_CALLS, [kind, name, method, code]).increment();
    }

    fn method(&self, method: &str) -> Method {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = methods.get(method) {
            return known.clone();
        }
        let method = if methods.len() < MOST_METHODS { method } else { OTHER };
        let [kind, name] = &self.labels;
        let found = Method {
            well: self.metrics.counter(&names::DRIVER_CALLS, [kind, name, method, "ok"]),
            seconds: self.metrics.histogram(&names::DRIVER_CALL_SECONDS, [kind, name, method]),
        };
        methods.entry(method.to_owned()).or_insert(found).clone()
    }

    /// Notes that a process of the driver's ended, in a word and in a line.
    pub fn note_end(&self, end: &'static str, line: &str) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner).entry(end.to_owned()).or_default() += 1;
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).last = Some(one_line(line));
        let [kind, name] = &self.labels;
        self.metrics.counter(&names::DRIVER_ENDS, [kind, name, end]).increment();
    }

    /// Ends of processes by their word.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Methods that were called, whatever came of it.
    pub fn methods(&self) -> Vec<String> {
        self.methods.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub fn note_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub fn errors(&self) -> (BTreeMap<String, u64>, Option<String>) {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        (failures.by_code.clone(), failures.last.clone())
    }

    /// Seconds below which `share` (0 to 1) of the calls stayed; none without a call.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        self.latency.quantile(share).map(|time| time.as_secs_f64())
    }

    /// How many calls took at most so long, for each bound.
    pub fn latency(&self) -> Vec<Bucket> {
        self.latency.buckets().map(|(seconds, calls)| Bucket { seconds, calls }).collect()
    }

    /// Seconds spent in all calls.
    pub fn seconds(&self) -> f64 {
        self.latency.sum().as_secs_f64()
    }
}

/// What was asked was wrong, and the driver is well: a name that there is not, a node that is gone.
fn is_callers(code: &ErrorCode) -> bool {
    [
        ErrorCode::NOT_FOUND,
        ErrorCode::ALREADY_EXISTS,
        ErrorCode::INVALID_ARGUMENT,
        ErrorCode::CONFLICT,
        ErrorCode::NOT_SUPPORTED,
    ]
    .contains(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let metrics = telemetry::Figures::default();
        let figures = Figures::new("cloud", "acme", metrics.clone());
        figures.note_call("list_nodes", Duration::from_millis(2), None);
        figures.note_call("list_nodes", Duration::from_millis(2), Some(&DriverError::not_found("no\nnode")));
        assert_eq!(figures.calls(), 2);
        assert_eq!(figures.errors().0, BTreeMap::from([("not_found".to_owned(), 1)]));
        assert_eq!(figures.errors().1, None, "the caller's mistake is not the driver's");
        figures.note_call("get_node", Duration::ZERO, Some(&DriverError::internal("no\nidea")));
        figures.note_call("get_node", Duration::ZERO, Some(&DriverError::not_found("no node")));
        assert_eq!(figures.errors().1.as_deref(), Some("get_node: internal: no\\nidea"));
        let text = metrics.render();
        for line in [
            r#"capstan_driver_calls_total{kind="cloud",driver="acme",method="list_nodes",code="ok"} 1"#,
            r#"capstan_driver_calls_total{kind="cloud",driver="acme",method="list_nodes",code="not_found"} 1"#,
            r#"capstan_driver_call_seconds_count{kind="cloud",driver="acme",method="list_nodes"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_driver_cannot_fill_the_memory_with_codes() {
        let figures = Figures::new("cloud", "acme", telemetry::Figures::default());
        for number in 0..1000 {
            let code = format!("code_{number}").leak();
            let error = DriverError::new(ErrorCode::new(code), "no");
            figures.note_call("x", Duration::ZERO, Some(&error));
        }
        let (codes, _) = figures.errors();
        assert_eq!(codes.len(), MOST_CODES + 1);
        assert_eq!(codes.values().sum::<u64>(), 1000);
    }
}
