//! Small statistics: rounds of single measurements, kept whole, in nanoseconds.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// The measurements of one round, in nanoseconds.
pub type Round = Vec<u64>;

/// Everything measured of one thing, round by round.
#[derive(Clone, Debug)]
pub struct Series {
    /// What was measured.
    pub name: String,
    rounds: Vec<Round>,
    sorted: Vec<u64>,
}

impl Series {
    /// Nothing measured yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: Vec::new(), sorted: Vec::new() }
    }

    /// Takes a round; an empty one is a mistake of the benchmark.
    pub fn add(&mut self, round: Round) {
        assert!(!round.is_empty(), "{}: a round without a measurement", self.name);
        self.sorted.extend(&round);
        self.sorted.sort_unstable();
        self.rounds.push(round);
    }

    /// Measurements over all rounds.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Rounds.
    pub fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Median over all rounds, in nanoseconds.
    pub fn p50(&self) -> f64 {
        quantile(&self.sorted, 0.5)
    }

    /// 99th percentile over all rounds, in nanoseconds.
    pub fn p99(&self) -> f64 {
        quantile(&self.sorted, 0.99)
    }

    /// The fastest, in nanoseconds.
    pub fn min(&self) -> f64 {
        quantile(&self.sorted, 0.0)
    }

    /// The slowest, in nanoseconds.
    pub fn max(&self) -> f64 {
        quantile(&self.sorted, 1.0)
    }

    /// Mean over all rounds, in nanoseconds.
    pub fn mean(&self) -> f64 {
        self.sorted.iter().map(|nanoseconds| *nanoseconds as f64).sum::<f64>() / self.count() as f64
    }

    /// Lowest and highest median of a round: what the machine's noise is worth.
    pub fn spread(&self) -> (f64, f64) {
        let medians = self.rounds.iter().map(|round| {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            quantile(&sorted, 0.5)
        });
        medians.fold((f64::INFINITY, 0.0), |(low, high), median| (low.min(median), high.max(median)))
    }
}

/// Nearest rank.
fn quantile(sorted: &[u64], share: f64) -> f64 {
    let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[rank - 1] as f64
}

/// The median of rates and their like.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Runs `work` for `warm_up` and then `count` times, each timed by itself.
pub fn each<T>(warm_up: usize, count: usize, mut work: impl FnMut() -> T) -> Round {
    for _ in 0..warm_up {
        black_box(work());
    }
    (0..count)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            nanoseconds(start.elapsed())
        })
        .collect()
}

/// As [`each`], for work of a few nanoseconds: every measurement is the mean of `batch` runs.
pub fn batched<T>(batch: u32, count: usize, mut work: impl FnMut() -> T) -> Round {
    each(1, count, || (0..batch).for_each(|_| drop(black_box(work()))))
        .into_iter()
        .map(|nanoseconds| nanoseconds / u64::from(batch))
        .collect()
}

/// A duration in nanoseconds.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One thing that takes part in a comparison.
pub struct Contender<'a> {
    series: Series,
    run: Box<dyn FnMut() -> Round + 'a>,
}

impl<'a> Contender<'a> {
    /// `run` makes one round, its own warm-up aside.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Round + 'a) -> Self {
        Self { series: Series::new(name), run: Box::new(run) }
    }
}

/// Runs all contenders in each round, every second round in the other order, so that whatever else the machine does meets all.
pub fn alternate<const N: usize>(rounds: usize, mut contenders: [Contender<'_>; N]) -> [Series; N] {
    for round in 0..rounds {
        for place in 0..N {
            let contender = &mut contenders[if round % 2 == 0 { place } else { N - 1 - place }];
            contender.series.add((contender.run)());
        }
    }
    contenders.map(|contender| contender.series)
}
