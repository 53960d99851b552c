//! How long to wait before something is tried again.

use std::time::Duration;

/// Doubles from the first wait to the limit. Each wait is drawn from the upper half of its span, so that all who lost the same
/// thing do not come back in the same moment.
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
    limit: Duration,
}

impl Backoff {
    pub fn new(first: Duration, limit: Duration) -> Self {
        let first = first.min(limit);
        Self { first, next: first, limit }
    }

    /// It went well: the next loss starts from the beginning.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let span = self.next;
        self.next = (span * 2).min(self.limit);
        let (draw, _) = uuid::Uuid::new_v4().as_u64_pair();
        // 53 random bits, which a float holds exactly.
        let share = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        span.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // G50
    #[test]
    fn waits_grow_to_the_limit_and_are_never_longer() {
        let limit = Duration::from_secs(2);
        let first = Duration::from_millis(100);
        let mut backoff = Backoff::new(first, limit);
        let mut span = first;
        for _ in 0..50 {
            let wait = backoff.wait();
            assert!(wait >= span / 2 && wait <= span, "{wait:?} of {span:?}");
            span = (span * 2).min(limit);
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
        assert!(Backoff::new(first, Duration::from_millis(10)).wait() <= Duration::from_millis(10));
    }
}
