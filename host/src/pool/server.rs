//! The schedules of the pool manager, in the seed's words.
//!
//! Each schedule is armed again only after its run has ended, so runs of one never overlap, and they share a turn, so runs of two do
//! not either. A run that fails is told of and the schedule goes on. With several daemons on one store, one at a time runs
//! them: the holder of the lease `pool`.

mod check;
mod early;
mod lead;
mod schedule;

use std::time::Duration;

use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use tracing::{error, info};

use self::schedule::Schedule;
use super::{
    Pool,
    build::now,
    records::{Node, ScheduleRecord, State},
};
use crate::{
    http::Time,
    store::{Error, leases::Lease},
};

/// How soon after something has happened it is looked whether a stock is to be counted early: much may happen at once.
const SOON: Duration = Duration::from_millis(100);

/// Why the server ended: the exit code is 1 when an error did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It was told to.
    Safely,
    /// It could not go on.
    DueToError,
}

/// The pool manager as it runs.
pub struct Server {
    pool: Pool,
    /// Held by the schedule that runs.
    turn: Mutex<()>,
    holder: String,
    /// How long the lease holds without a sign of life.
    held: Duration,
    lease: Mutex<Option<Lease>>,
}

impl Server {
    /// A server that has not begun, whose lease holds so long without a sign of life.
    pub fn new(pool: Pool, held: Duration) -> Self {
        let holder = format!("{}/{}", std::process::id(), uuid::Uuid::new_v4());
        Self { pool, turn: Mutex::new(()), holder, held, lease: Mutex::new(None) }
    }

    /// Runs the schedules until `end` is true.
    pub async fn main(&self, mut end: watch::Receiver<bool>) -> Shutdown {
        let mut changes = self.pool.settings_changes();
        let settings = self.pool.settings();
        info!(
            stocks = settings.stocks.len(),
            nodes = settings.stocks.iter().map(|stock| stock.nodes).sum::<usize>(),
            "the pool manager runs"
        );
        drop(settings);
        if let Some(restored) = self.pool.store().restored() {
            let (at, backup_of) = (Time(restored.at).text(), Time(restored.backup_of).text());
            info!(at, backup_of, "the state was restored from a backup; nodes that it may not know are left alone");
        }
        // In the order of libra's modules: build, then submit.
        let mut schedules = Schedule::all();
        let news = &self.pool.inner.news;
        let mut look = Instant::now();
        loop {
            let next = schedules.iter().map(|schedule| schedule.next).fold(look, Instant::min);
            let ends = tokio::select! {
                _ = end.wait_for(|end| *end) => true,
                () = tokio::time::sleep_until(next) => false,
                // Other settings are followed at once, and not after an interval of the former ones.
                Ok(()) = changes.changed() => {
                    schedules = Schedule::all();
                    false
                }
                () = news.wants_count() => {
                    Schedule::count_now(&mut schedules);
                    false
                }
                () = news.any() => {
                    look = look.min(Instant::now() + SOON);
                    continue;
                }
            };
            if ends {
                return self.exit_handler().await;
            }
            let leads = self.lead().await;
            look = Instant::now() + self.held / 3;
            if leads {
                let early = self.look_early().await;
                if early.is_due {
                    Schedule::count_now(&mut schedules);
                }
                look = early.again.map_or(look, |again| look.min(again));
            }
            let now = Instant::now();
            for schedule in &mut schedules {
                if schedule.next > now {
                    continue;
                }
                let interval = (schedule.interval)(&self.pool.settings());
                if leads {
                    let ends = tokio::select! {
                        _ = end.wait_for(|end| *end) => true,
                        () = self.keep_leading(self.run(schedule.name, interval)) => false,
                    };
                    if ends {
                        return self.exit_handler().await;
                    }
                    // It may have found that a stock is short.
                    look = look.min(Instant::now() + SOON);
                }
                schedule.reset_scheduler(interval);
            }
        }
    }

    /// One run of a schedule, which nothing that goes wrong in it ends.
    async fn run(&self, name: &'static str, interval: Duration) {
        let _turn = self.turn.lock().await;
        let began_at = now();
        let before = self.pool.store().read(move |tx| ScheduleRecord::find(tx, name));
        let before = before.await.ok().flatten().map(|record| record.next_at);
        let outcome = match name {
            ScheduleRecord::COUNT => self.check_nodes().await.map(|()| String::new()),
            "failed_nodes" => self.failed_nodes().await.map(|()| String::new()),
            "reconcile" => self.pool.reconcile().await.map(|()| String::new()),
            _ => self.pool.check_health().await,
        };
        let mut record =
            ScheduleRecord { schedule: name.to_owned(), began_at, ended_at: now(), ..ScheduleRecord::default() };
        record.next_at = record.ended_at.saturating_add(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        record.last_error = outcome.unwrap_or_else(|error| {
            error!(schedule = name, %error, "a run of the pool manager failed; the next one comes as planned");
            error.to_string()
        });
        // That it cannot be written is told by what else cannot; whoever could want a count could not write that either.
        let _told_elsewhere = self.pool.store().write(move |tx| record.clone().ran(tx, before)).await;
    }

    /// Tests the nodes that were built and were not fit for the stock.
    ///
    /// # Errors
    /// The store's.
    pub async fn failed_nodes(&self) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let from = after.clone();
            let nodes = self.pool.store().read(move |tx| Node::in_state(tx, State::Failed, &from, 100)).await?;
            let Some(last) = nodes.last() else { return Ok(()) };
            after.clone_from(&last.id);
            for node in nodes {
                self.pool.retest(node).await?;
            }
        }
    }

    /// Ends: gives the lease back, so that another daemon need not wait for its end.
    async fn exit_handler(&self) -> Shutdown {
        self.give_back().await;
        self.shutdown(false)
    }

    /// What is told at the end.
    fn shutdown(&self, error: bool) -> Shutdown {
        if error {
            error!("the pool manager ends due to an error");
            return Shutdown::DueToError;
        }
        info!("the pool manager ends safely");
        Shutdown::Safely
    }
}
