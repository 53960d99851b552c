//! How fast a cloud is asked: so many calls in a second, and none while it asks for rest.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A bucket of calls that fills by itself, one second deep.
pub(super) struct Pace {
    state: Mutex<State>,
}

struct State {
    per_second: f64,
    calls: f64,
    at: Instant,
    rest_until: Instant,
}

impl Pace {
    pub fn new(per_second: u32) -> Self {
        let now = Instant::now();
        let per_second = f64::from(per_second);
        Self { state: Mutex::new(State { per_second, calls: per_second.max(1.0), at: now, rest_until: now }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a call may be made.
    pub async fn turn(&self) {
        loop {
            let Some(wait) = self.take(Instant::now()) else { return };
            tokio::time::sleep(wait).await;
        }
    }

    /// So many calls in a second from now on.
    pub fn at_most(&self, per_second: u32) {
        self.state().per_second = f64::from(per_second);
    }

    /// The cloud asked for rest.
    pub fn rest(&self, time: Duration) {
        let mut state = self.state();
        state.rest_until = state.rest_until.max(Instant::now() + time);
    }

    /// How long the cloud is still left alone.
    pub fn resting(&self) -> Duration {
        self.state().rest_until.saturating_duration_since(Instant::now())
    }

    /// Takes one call, or says how long to wait before the next attempt.
    fn take(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        if now < state.rest_until {
            return Some(state.rest_until - now);
        }
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.calls = (state.calls + passed * state.per_second).min(state.per_second.max(1.0));
        state.at = now;
        if state.calls >= 1.0 {
            state.calls -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - state.calls) / state.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_no_more_calls_than_agreed() {
        let pace = Pace::new(10);
        let start = Instant::now();
        let taken = (0..3000).filter(|ms| pace.take(start + Duration::from_millis(*ms)).is_none()).count();
        // One second's worth is there at once, then ten a second.
        assert!((39..=40).contains(&taken), "{taken}");
    }

    #[test]
    fn a_cloud_that_asks_for_rest_has_it() {
        let pace = Pace::new(10);
        pace.rest(Duration::from_secs(5));
        let now = Instant::now();
        assert!(pace.take(now).is_some_and(|wait| wait > Duration::from_secs(4)));
        assert!(pace.resting() > Duration::from_secs(4));
        assert!(pace.take(now + Duration::from_secs(6)).is_none());
    }
}
