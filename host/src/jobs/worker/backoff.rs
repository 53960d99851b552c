//! How long to wait before trying a server again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// Doubles from 100 ms to the limit. Each wait is drawn from the upper half of its span, so that the workers of a server
/// that comes back do not all arrive in the same moment.
pub(super) struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    pub fn new(limit: Duration) -> Backoff {
        Backoff { next: FIRST.min(limit), limit }
    }

    /// The server answered: the next loss starts from the beginning.
    pub fn reset(&mut self) {
        self.next = FIRST.min(self.limit);
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
        let mut backoff = Backoff::new(limit);
        let mut span = FIRST;
        for _ in 0..50 {
            let wait = backoff.wait();
            assert!(wait >= span / 2 && wait <= span, "{wait:?} of {span:?}");
            span = (span * 2).min(limit);
        }
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
        assert!(Backoff::new(Duration::from_millis(10)).wait() <= Duration::from_millis(10));
    }
}
