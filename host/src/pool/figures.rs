//! The pool in figures: what is counted as it happens, and what is looked up in the store from time to time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Pool, Status, fault::Fault};
use crate::telemetry::{Figures, names};

/// How often the store is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The label of a stock.
const STOCK: &str = "stock";
/// The word of a build that went well.
const DONE: &str = "done";

/// How builds ended since the daemon started, by stock and word.
#[derive(Default)]
pub(super) struct Tally(Mutex<BTreeMap<(String, &'static str), u64>>);

impl Tally {
    /// A node is built.
    pub fn done(&self, stock: &str) {
        self.count(stock, DONE);
    }

    /// A build failed.
    pub fn failed(&self, stock: &str, fault: Fault) {
        self.count(stock, fault.as_str());
    }

    fn count(&self, stock: &str, word: &'static str) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *ends.entry((stock.to_owned(), word)).or_default() += 1;
    }

    fn of(&self, stock: &str, word: &'static str) -> u64 {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ends.get(&(stock.to_owned(), word)).copied().unwrap_or_default()
    }
}

impl Pool {
    /// Sets what this daemon has counted, just before it is read. Each word is there from the start, so that its rise can be seen.
    pub fn show_counts(&self, figures: &Figures) {
        for stock in &self.settings().stocks {
            for word in Fault::ALL.map(Fault::as_str).into_iter().chain([DONE]) {
                let ends = self.inner.tally.of(&stock.name, word);
                figures.counter(&names::POOL_BUILDS, [&stock.name, word]).raise_to(ends);
            }
        }
        for cloud in self.inner.clouds.values() {
            let (calls, rests) = cloud.counts();
            figures.counter(&names::POOL_CLOUD_CALLS, [&cloud.name]).raise_to(calls);
            figures.counter(&names::POOL_CLOUD_RESTS, [&cloud.name]).raise_to(rests);
            figures.gauge(&names::POOL_CLOUD_RESTING, [&cloud.name]).set((!cloud.resting().is_zero()).into());
        }
    }

    /// Keeps the figures of what is stored up to date until `end` is true. While the store cannot be read they stay as they are,
    /// which readiness tells of.
    pub async fn keep_gauges(self, figures: Figures, mut end: watch::Receiver<bool>) {
        let mut shown = BTreeSet::new();
        loop {
            if let Ok(status) = self.status().await {
                show(&figures, &status);
                let stocks: BTreeSet<_> = status.stocks.into_iter().map(|stock| stock.name).collect();
                for gone in shown.difference(&stocks) {
                    figures.forget(&[(STOCK, gone.as_str())]);
                }
                shown = stocks;
            }
            tokio::select! {
                _ = end.wait_for(|end| *end) => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

fn show(figures: &Figures, status: &Status) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    for stock in &status.stocks {
        let (name, counts) = (stock.name.as_str(), stock.counts);
        figures.gauge(&names::POOL_WANTED, [name]).set(number(stock.wanted));
        for (state, count) in [
            ("building", counts.building),
            ("ready", counts.ready),
            ("reserved", counts.reserved),
            ("taken", counts.taken),
            ("failed", counts.failed),
            ("lost", counts.lost),
            ("deleting", counts.deleting),
        ] {
            figures.gauge(&names::POOL_NODES, [name, state]).set(number(count));
        }
        figures.gauge(&names::POOL_UNFIT, [name]).set(number(counts.unfit));
        figures.gauge(&names::POOL_IN_ERROR, [name]).set(number(counts.in_error));
        figures.gauge(&names::POOL_PAUSED, [name]).set(stock.record.paused.is_some().into());
        figures.gauge(&names::POOL_HELD, [name]).set(stock.is_held.into());
        figures.gauge(&names::POOL_FAILURES_IN_A_ROW, [name]).set(stock.record.failures.into());
    }
    for cloud in &status.clouds {
        let name = cloud.record.cloud.as_str();
        let orphans = status.orphans.iter().filter(|orphan| orphan.cloud == name).count();
        figures.gauge(&names::POOL_ORPHANS, [name]).set(number(orphans));
        figures.gauge(&names::POOL_CLOUD_FAILING, [name]).set((!cloud.record.last_error.is_empty()).into());
    }
    for schedule in &status.schedules {
        let name = schedule.schedule.as_str();
        figures.gauge(&names::POOL_SCHEDULE_LAST_RUN, [name]).set(schedule.ended_at / 1000);
        figures.gauge(&names::POOL_SCHEDULE_OVERDUE, [name]).set(overdue(schedule.next_at));
    }
    figures.gauge(&names::POOL_OLDEST_JOB_AGE, []).set(status.oldest_job_seconds.unwrap_or_default());
    figures.gauge(&names::POOL_HOLDS, []).set(number(status.holds.len()));
}

/// Seconds since a time; 0 while it is still to come.
fn overdue(at: i64) -> i64 {
    ((super::build::now() - at) / 1000).max(0)
}
