//! Figures of one driver: cheap to note, read for lists and metrics.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use capstan_plugin_api::DriverError;

use super::error::one_line;

/// Codes are an open set that the driver chooses from; more than these are counted as one.
const MOST_CODES: usize = 32;
const OTHER_CODES: &str = "other";
/// Four steps for each power of two, from 1 ns to more than an hour.
const STEPS: usize = 42 * 4;

pub(super) struct Figures {
    calls: AtomicU64,
    panics: AtomicU64,
    failures: Mutex<Failures>,
    latency: Histogram,
}

#[derive(Default)]
struct Failures {
    by_code: BTreeMap<String, u64>,
    last: Option<String>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            failures: Mutex::default(),
            latency: Histogram::default(),
        }
    }
}

impl Figures {
    /// Notes a call that has ended.
    pub fn note_call(&self, took: Duration, failure: Option<(&str, &DriverError)>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.latency.note(took);
        let Some((method, error)) = failure else { return };
        let line = one_line(&format!("{method}: {}: {error}", error.code));
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let code = error.code.as_str();
        let known = failures.by_code.contains_key(code) || failures.by_code.len() < MOST_CODES && code.len() <= 64;
        *failures.by_code.entry(if known { code } else { OTHER_CODES }.to_owned()).or_default() += 1;
        failures.last = Some(line);
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

    pub fn latency(&self) -> &Histogram {
        &self.latency
    }
}

/// Counts by the logarithm of the time, without a lock.
pub(super) struct Histogram {
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: (0..STEPS).map(|_| AtomicU64::new(0)).collect(), sum_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(step_of(nanos)).or(self.counts.last()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Seconds below which `share` (0 to 1) of the calls stayed, to the next quarter of a power of two; none without a call.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (step, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(upper(step));
            }
        }
        None
    }

    /// Seconds spent in all calls.
    pub fn sum(&self) -> f64 {
        self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// Calls that took at most so many seconds, for each bound.
    pub fn buckets(&self, bounds: &[f64]) -> Vec<(f64, u64)> {
        let mut totals: Vec<(f64, u64)> = bounds.iter().map(|bound| (*bound, 0)).collect();
        for (step, count) in self.counts.iter().enumerate() {
            let (count, above) = (count.load(Ordering::Relaxed), upper(step));
            for (_, total) in totals.iter_mut().filter(|(bound, _)| above <= *bound) {
                *total += count;
            }
        }
        totals
    }
}

fn step_of(nanos: u64) -> usize {
    let power = nanos.max(4).ilog2() as usize;
    let quarter = (nanos.max(4) >> (power - 2)) as usize & 3;
    (power * 4 + quarter).min(STEPS - 1)
}

fn upper(step: usize) -> f64 {
    let (power, quarter) = ((step / 4) as i32, (step % 4) as f64);
    2_f64.powi(power) * (1.0 + (quarter + 1.0) / 4.0) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter() {
        let histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.note(Duration::from_micros(micros));
        }
        let p50 = histogram.quantile(0.5).unwrap();
        let p99 = histogram.quantile(0.99).unwrap();
        assert!((500e-6..630e-6).contains(&p50), "{p50}");
        assert!((990e-6..1240e-6).contains(&p99), "{p99}");
        assert_eq!(histogram.buckets(&[1.0])[0].1, 1000);
        assert!((histogram.sum() - 0.5005).abs() < 1e-9);
        histogram.note(Duration::MAX);
        histogram.note(Duration::ZERO);
        assert!(histogram.quantile(1.0).unwrap() > 3600.0);
    }

    #[test]
    fn a_driver_that_invents_codes_does_not_fill_the_memory() {
        let figures = Figures::default();
        for number in 0..1000 {
            let error: DriverError =
                serde_json::from_value(serde_json::json!({ "code": format!("c{number}"), "message": "x" })).unwrap();
            figures.note_call(Duration::ZERO, Some(("apply", &error)));
        }
        let (codes, last) = figures.errors();
        assert_eq!(codes.len(), MOST_CODES + 1);
        assert_eq!(codes[OTHER_CODES], 1000 - MOST_CODES as u64);
        assert_eq!(last.unwrap(), "apply: c999: x");
    }
}
