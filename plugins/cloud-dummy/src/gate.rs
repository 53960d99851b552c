//! What the cloud's API takes at once and per second.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use capstan_plugin_api::{ConfigSchema, DriverError, ErrorCode, Retry};
use serde::Deserialize;

/// Limits of the API; what goes beyond is answered `rate_limited` and does nothing.
#[derive(Clone, Debug, Default, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Calls at the same time. Default: any number.
    concurrent_calls: Option<u32>,
    /// Calls per second, over all methods. Default: any number.
    calls_per_second: Option<f64>,
    /// Calls that may come at once after a quiet time. Default: those of one second.
    burst: Option<u32>,
    /// Milliseconds that a refused caller is told to wait. Default: until there is room again.
    retry_after_ms: Option<u64>,
}

impl Limits {
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.concurrent_calls == Some(0) || self.burst == Some(0) {
            return Err(
                "limits.concurrent_calls and limits.burst must be at least 1, else no call is ever taken".into()
            );
        }
        match self.calls_per_second {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => {
                Err(format!("limits.calls_per_second is {rate}; expected a number above 0"))
            }
            _ => Ok(()),
        }
    }
}

/// Counts the calls.
pub(crate) struct Gate {
    limits: Limits,
    inside: AtomicU32,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// A call that was let in.
pub(crate) struct Pass<'a>(&'a AtomicU32);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a caller is told to wait when all places are taken and nothing else is set.
const UNTIL_A_PLACE_IS_FREE: Duration = Duration::from_millis(100);

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        let tokens = limits.most_tokens();
        Self { limits, inside: AtomicU32::new(0), bucket: Mutex::new(Bucket { tokens, filled: Instant::now() }) }
    }

    pub(crate) fn enter(&self) -> Result<Pass<'_>, DriverError> {
        let most = self.limits.concurrent_calls.unwrap_or(u32::MAX);
        let one_more = |inside: u32| (inside < most).then(|| inside + 1);
        if self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Err(self.refusal(format!("the API takes {most} calls at a time"), UNTIL_A_PLACE_IS_FREE));
        }
        let pass = Pass(&self.inside);
        if let Some(rate) = self.limits.calls_per_second
            && let Some(wait) = self.take(rate, Instant::now())
        {
            return Err(self.refusal(format!("the API takes {rate} calls per second"), wait));
        }
        Ok(pass)
    }

    /// The time until there is a token, when there is none.
    fn take(&self, rate: f64, now: Instant) -> Option<Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * rate).min(self.limits.most_tokens());
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return None;
        }
        Some(Duration::try_from_secs_f64((1.0 - bucket.tokens) / rate).unwrap_or(Duration::MAX))
    }

    fn refusal(&self, message: String, wait: Duration) -> DriverError {
        let wait = self.limits.retry_after_ms.map_or(wait, Duration::from_millis);
        DriverError::new(ErrorCode::RATE_LIMITED, message).retry(Retry::After(wait))
    }
}

impl Limits {
    fn most_tokens(&self) -> f64 {
        let second = self.calls_per_second.unwrap_or_default().max(1.0);
        self.burst.map_or(second, f64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Limits {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn calls_beyond_the_rate_are_told_when_to_come_back() {
        let gate = Gate::new(limits(r#"{ "calls_per_second": 10, "burst": 3 }"#));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..3 {
            assert_eq!(gate.take(10.0, at(0)), None);
        }
        let wait = gate.take(10.0, at(0)).unwrap();
        assert!((90..=100).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(gate.take(10.0, at(110)), None);
        assert!(gate.take(10.0, at(110)).is_some());
        assert_eq!(
            (0..9).filter(|_| gate.take(10.0, at(60_000)).is_none()).count(),
            3,
            "a quiet time saves up the burst"
        );
    }

    #[test]
    fn places_are_given_back() {
        let gate = Gate::new(limits(r#"{ "concurrent_calls": 2, "retry_after_ms": 7 }"#));
        let (first, _second) = (gate.enter().unwrap(), gate.enter().unwrap());
        let refused = gate.enter().err().unwrap();
        assert_eq!((refused.code, refused.retry), (ErrorCode::RATE_LIMITED, Retry::After(Duration::from_millis(7))));
        drop(first);
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn limits_that_let_nothing_in_are_refused() {
        for json in [r#"{ "concurrent_calls": 0 }"#, r#"{ "burst": 0 }"#, r#"{ "calls_per_second": 0 }"#] {
            assert!(limits(json).check().is_err(), "{json}");
        }
    }
}
