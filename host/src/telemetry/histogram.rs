//! Distributions of times, with quantiles that can be read back.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets in nanoseconds: 1, 2, 5 per decade from 1 us, up to a minute.
pub(super) const BOUNDS: [u64; 25] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Each bucket is kept in this many equal parts, so that quantiles are nearer than the buckets shown outside.
const PARTS: usize = 5;

/// A distribution of durations. Recording takes no lock and may be done from any thread.
#[derive(Debug)]
pub struct Histogram {
    parts: [AtomicU64; BOUNDS.len() * PARTS],
    beyond: AtomicU64,
    sum_nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum_nanos: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        part_of(nanos).and_then(|part| self.parts.get(part)).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.parts.iter().chain([&self.beyond]).map(|part| part.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed))
    }

    /// The duration below which this share (0 to 1) of all lies, within a fifth of a bucket; `None` when there are none.
    /// What took longer than a minute counts as a minute.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.parts.iter().map(|part| part.load(Ordering::Relaxed)).collect();
        let total = counts.iter().sum::<u64>() + self.beyond.load(Ordering::Relaxed);
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a rank, not an account
        let rank = ((share.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (part, count) in counts.iter().enumerate() {
            below += count;
            if below >= rank {
                let (low, high) = limits(part);
                return Some(Duration::from_nanos(low.midpoint(high)));
            }
        }
        BOUNDS.last().copied().map(Duration::from_nanos)
    }

    /// How many lie at or below each bound, the bound in seconds. What is beyond the last is in [`Histogram::count`] only.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.iter().map(|bound| Duration::from_nanos(*bound).as_secs_f64()).zip(self.cumulative())
    }

    /// How many lie at or below each bound.
    pub(super) fn cumulative(&self) -> [u64; BOUNDS.len()] {
        let mut below = 0;
        std::array::from_fn(|bucket| {
            let parts = self.parts.iter().skip(bucket * PARTS).take(PARTS);
            below += parts.map(|part| part.load(Ordering::Relaxed)).sum::<u64>();
            below
        })
    }
}

fn part_of(nanos: u64) -> Option<usize> {
    let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
    let (low, high) = bucket_limits(bucket)?;
    // A bound belongs to the bucket below it, hence the part by distance above the lower bound less one.
    let above = nanos.saturating_sub(low).saturating_sub(1);
    let part = usize::try_from(above * PARTS as u64 / (high - low)).unwrap_or(0).min(PARTS - 1);
    Some(bucket * PARTS + part)
}

fn bucket_limits(bucket: usize) -> Option<(u64, u64)> {
    let high = *BOUNDS.get(bucket)?;
    let low = bucket.checked_sub(1).and_then(|below| BOUNDS.get(below)).copied().unwrap_or(0);
    Some((low, high))
}

fn limits(part: usize) -> (u64, u64) {
    let (low, high) = bucket_limits(part / PARTS).unwrap_or((0, 0));
    let width = (high - low) / PARTS as u64;
    let low = low + width * (part % PARTS) as u64;
    (low, low + width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_back_near_what_was_recorded() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (0.1, 100.0)] {
            let found = histogram.quantile(share).unwrap().as_secs_f64() * 1e6;
            assert!((found - micros).abs() / micros < 0.2, "{share}: {found}");
        }
        assert_eq!(histogram.count(), 1000);
        assert_eq!(histogram.sum(), Duration::from_micros(500_500));
    }

    #[test]
    fn bounds_count_what_is_at_them() {
        let histogram = Histogram::default();
        for bound in BOUNDS {
            histogram.record(Duration::from_nanos(bound));
        }
        let expected: [u64; BOUNDS.len()] = std::array::from_fn(|bucket| bucket as u64 + 1);
        assert_eq!(histogram.cumulative(), expected);
    }

    #[test]
    fn the_extremes_are_counted() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(3600));
        assert_eq!((histogram.count(), histogram.cumulative()[0], histogram.cumulative()[24]), (2, 1, 1));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_secs(60)));
    }
}
