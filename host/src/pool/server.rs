//! The schedules of the pool manager, in the seed's words.
//!
//! Each schedule is armed again only after its run has ended, so runs of one never overlap, and they share a turn, so runs of two do
//! not either. A run that fails is told of and the schedule goes on. With several daemons on one store, one at a time runs
//! them: the holder of the lease `pool`.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use tracing::{error, info, warn};

use super::{
    Pool, breaker,
    build::now,
    hold,
    records::{Counts, Loss, Node, Origin, ScheduleRecord, Spec, State, StockRecord},
    settings::Settings,
    shared::{StockKey, ensure_job, note, plan},
    take::TakeError,
};
use crate::{
    config::Stock,
    failpoint,
    store::{
        Error, Transaction,
        leases::{self, Acquired, Lease},
    },
};

/// The lease under which the schedules run.
const LEASE: &str = "pool";
/// Nodes that are planned in one transaction.
const PLANNED_AT_ONCE: usize = 256;

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

/// A schedule, and when it runs next.
struct Schedule {
    name: &'static str,
    interval: fn(&Settings) -> Duration,
    /// So much of the interval, more or less, is drawn by chance, so that daemons do not march in step.
    share: f64,
    next: Instant,
}

impl Schedule {
    /// All of them, due now.
    fn all() -> [Self; 4] {
        let next = Instant::now();
        [
            Self { name: "check_nodes", interval: |settings| settings.check_interval, share: 0.0, next },
            Self { name: "failed_nodes", interval: |settings| settings.failed_interval, share: 0.0, next },
            Self { name: "reconcile", interval: |settings| settings.reconcile_interval, share: 0.2, next },
            Self { name: "health", interval: |settings| settings.health_interval, share: 0.0, next },
        ]
    }

    /// Arms it again, from now on.
    fn reset_scheduler(&mut self, interval: Duration) {
        let share = self.share;
        let (draw, _) = uuid::Uuid::new_v4().as_u64_pair();
        // 53 random bits, which a float holds exactly.
        let chance = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        self.next = Instant::now() + interval.mul_f64(1.0 - share + 2.0 * share * chance);
    }
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
        // In the order of libra's modules: build, then submit.
        let mut schedules = Schedule::all();
        let mut renew = Instant::now();
        loop {
            let next = schedules.iter().map(|schedule| schedule.next).fold(renew, Instant::min);
            let ends = tokio::select! {
                _ = end.wait_for(|end| *end) => true,
                () = tokio::time::sleep_until(next) => false,
                // Other settings are followed at once, and not after an interval of the former ones.
                Ok(()) = changes.changed() => {
                    schedules = Schedule::all();
                    false
                }
            };
            if ends {
                return self.exit_handler().await;
            }
            let now = Instant::now();
            let leads = self.lead().await;
            renew = Instant::now() + self.held / 3;
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
                }
                schedule.reset_scheduler(interval);
            }
        }
    }

    /// One run of a schedule, which nothing that goes wrong in it ends.
    async fn run(&self, name: &'static str, interval: Duration) {
        let _turn = self.turn.lock().await;
        let began_at = now();
        let outcome = match name {
            "check_nodes" => self.check_nodes().await,
            "failed_nodes" => self.failed_nodes().await,
            "reconcile" => self.pool.reconcile().await,
            _ => self.pool.check_health().await,
        };
        let mut record =
            ScheduleRecord { schedule: name.to_owned(), began_at, ended_at: now(), ..ScheduleRecord::default() };
        record.next_at = record.ended_at.saturating_add(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        if let Err(error) = outcome {
            error!(schedule = name, %error, "a run of the pool manager failed; the next one comes as planned");
            record.last_error = error.to_string();
        }
        // For whoever asks when; that it cannot be written is told by what else cannot.
        let _only_for_people = self.pool.store().write(move |tx| record.save(tx)).await;
    }

    /// Renews the lease while a long run goes on.
    async fn keep_leading(&self, run: impl Future<Output = ()>) {
        tokio::pin!(run);
        loop {
            tokio::select! {
                () = &mut run => return,
                () = tokio::time::sleep(self.held / 3) => {
                    if !self.lead().await {
                        warn!("another daemon runs the schedules now; this run is given up");
                        return;
                    }
                }
            }
        }
    }

    /// Whether this daemon runs the schedules: takes the lease or renews it.
    async fn lead(&self) -> bool {
        let mut lease = self.lease.lock().await;
        let (held, holder, time) = (lease.clone(), self.holder.clone(), self.held);
        let outcome = self
            .pool
            .store()
            .write(move |tx| match &held {
                Some(held) => leases::renew(tx, held, time).map(Some),
                None => match leases::acquire(tx, LEASE, &holder, time)? {
                    Acquired::Taken(lease) => Ok(Some(lease)),
                    Acquired::Held { .. } => Ok(None),
                },
            })
            .await;
        match outcome {
            Ok(taken) => *lease = taken,
            Err(Error::LeaseLost { .. }) => *lease = None,
            Err(error) => {
                warn!(%error, "the pool manager cannot tell whether it runs the schedules; it does not");
                return false;
            }
        }
        lease.is_some()
    }

    /// Looks whether each stock needs nodes, and has them built.
    ///
    /// # Errors
    /// The store's. That the API server or a cloud does not answer is told of, and the next run looks again.
    pub async fn check_nodes(&self) -> Result<(), Error> {
        let pool = &self.pool;
        let settings = pool.settings();
        if let Err(error) = pool.expire_reservations().await {
            match error {
                TakeError::Store(error) => return Err(error),
                error => warn!(%error, "reservations whose time is over are looked at again later"),
            }
        }
        let mut counted = BTreeMap::new();
        let free = match pool.api().is_online().await {
            Ok(true) => {
                let url = pool.api().url().await;
                if let Err(error) = pool.sync_devices().await? {
                    warn!(url, %error, "the API server does not list its devices");
                }
                // Before the spare devices are counted: a node that is registered meanwhile counts twice now and is built by none,
                // where it would count not at all and be built once more.
                counted = self.counts().await?;
                match pool.api().free_count().await {
                    Ok(free) => {
                        info!(url, free, "the API server is online");
                        Ok(free)
                    }
                    Err(error) => Err(format!("the API server does not tell how many devices are free: {error}")),
                }
            }
            Ok(false) => Err("no API server is online".to_owned()),
            Err(error) => Err(format!("the API server cannot be asked whether it is online: {error}")),
        };
        // With one stock the API server's count is the truth, and includes devices that others registered; those of stocks that the
        // configuration does not have any more are none of the stock's. It cannot tell stocks apart, so with several each counts its own.
        let is_only = settings.stocks.len() == 1;
        for stock in &settings.stocks {
            match &free {
                Ok(free) => {
                    let counts = counted.remove(&stock.name).unwrap_or_default();
                    let elsewhere: usize = counted.values().map(|counts| counts.ready).sum();
                    let all = usize::try_from(*free).unwrap_or(usize::MAX);
                    let free = if is_only { all.saturating_sub(elsewhere) } else { counts.ready };
                    self.check_stock(&settings, stock, counts, free).await?;
                }
                Err(reason) => {
                    error!(stock = stock.name, reason, "nothing is built");
                    self.remember(stock, None, reason).await?;
                }
            }
        }
        Ok(())
    }

    /// How many nodes each stock has that has some, by its name.
    async fn counts(&self) -> Result<BTreeMap<String, Counts>, Error> {
        let count = |tx: &mut Transaction<'_>| {
            let stocks = Node::stocks(tx)?.into_iter();
            stocks.map(|(name, _)| Node::counts(tx, &name).map(|counts| (name, counts))).collect()
        };
        self.pool.store().read(count).await
    }

    async fn check_stock(&self, settings: &Settings, stock: &Stock, counts: Counts, free: usize) -> Result<(), Error> {
        let pool = &self.pool;
        let name = stock.name.clone();
        let (record, held) = pool
            .store()
            .read(move |tx| Ok::<_, Error>((StockRecord::find(tx, &name)?, hold::of_stock(tx, &name)?)))
            .await?;
        if let Some(hold) = held {
            let reason = hold::told(&hold);
            info!(stock = stock.name, reason, "nothing is built and nothing is replaced");
            return self.remember(stock, Some(free), &record.last_error).await;
        }
        let stale = pool.stale(settings, stock).await?;
        let exempt = stale.len().min(free);
        let needed = (stock.nodes + exempt).saturating_sub(free + counts.building + counts.failed);
        if needed > 0 {
            match self.may_build(settings, stock, &record, &counts).await? {
                Ok(()) => self.build_nodes(needed, settings, stock).await?,
                Err(reason) => {
                    warn!(stock = stock.name, needed, reason, "nothing is built");
                    return self.remember(stock, Some(free), &reason).await;
                }
            }
        } else {
            info!(
                stock = stock.name,
                free,
                wanted = stock.nodes,
                building = counts.building,
                "no new nodes are required"
            );
            pool.retire_stale(stale, free.saturating_sub(stock.nodes)).await?;
            self.remember(stock, Some(free), &record.last_error).await?;
        }
        Ok(())
    }

    /// Whether a stock may build now, or why not.
    async fn may_build(
        &self,
        settings: &Settings,
        stock: &Stock,
        record: &StockRecord,
        counts: &Counts,
    ) -> Result<Result<(), String>, Error> {
        if let Some(reason) = &record.paused {
            return Ok(Err(format!("paused: {reason}; `capstan pool resume {}` goes on", stock.name)));
        }
        if record.not_before > now() {
            let wait = record.not_before - now();
            return Ok(Err(format!(
                "the last {} builds failed ({}); the next attempt is in {} s",
                record.failures,
                record.last_error,
                wait / 1000
            )));
        }
        let (name, forgiven) = (stock.name.clone(), record.losses_forgiven);
        let window = i64::try_from(settings.loss_window.as_millis()).unwrap_or(i64::MAX);
        let lost = self
            .pool
            .store()
            .read(move |tx| {
                let after = tx.now().saturating_sub(window).max(forgiven);
                Loss::since(tx, &name, after)
            })
            .await?;
        let total = counts.ready + counts.reserved + counts.taken + lost;
        if breaker::is_too_many(settings, lost, total) {
            let reason = format!("{lost} of {total} nodes were lost within {} s", settings.loss_window.as_secs());
            error!(stock = stock.name, reason, "too many nodes are lost: replacement stops until somebody has looked");
            self.pool.pause(&stock.name, &reason).await?;
            return Ok(Err(format!("paused: {reason}; `capstan pool resume {}` goes on", stock.name)));
        }
        Ok(Ok(()))
    }

    async fn remember(&self, stock: &Stock, free: Option<usize>, error: &str) -> Result<(), Error> {
        let (name, error) = (stock.name.clone(), error.to_owned());
        self.pool
            .store()
            .write(move |tx| {
                let mut record = StockRecord::find(tx, &name)?;
                record.free = free.map(|free| u64::try_from(free).unwrap_or(u64::MAX));
                record.checked_at = Some(tx.now());
                record.last_error.clone_from(&error);
                record.save(tx)
            })
            .await
    }

    /// Writes down that so many nodes of a stock are to be built; jobs build them, several at a time.
    async fn build_nodes(&self, count: usize, settings: &Settings, stock: &Stock) -> Result<(), Error> {
        let spec = match self.pool.spec(settings, stock).await {
            Ok(spec) => spec,
            Err(reason) => {
                error!(stock = stock.name, reason, "nothing is built");
                return self.remember(stock, None, &reason).await;
            }
        };
        info!(stock = stock.name, count, "building nodes");
        let key = StockKey::of(&stock.cloud, &settings.driver, &spec);
        let mut left = count;
        while left > 0 {
            let some = left.min(PLANNED_AT_ONCE);
            let (stock, key, spec) = (stock.clone(), key.clone(), spec.clone());
            let nodes: Vec<Node> = (0..some).map(|_| plan(&stock, &key, spec.clone(), Origin::Stock, None)).collect();
            self.pool
                .store()
                .write(move |tx| {
                    for node in &nodes {
                        let mut node = node.clone();
                        node.insert(tx)?;
                        note(tx, &node, "planned")?;
                        ensure_job(tx, &node)?;
                    }
                    Ok::<_, Error>(())
                })
                .await?;
            failpoint::reached("pool.build.intended");
            left -= some;
        }
        Ok(())
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
        if let Some(lease) = self.lease.lock().await.take() {
            let released = self.pool.store().write(move |tx| leases::release(tx, &lease)).await;
            if let Err(error) = released {
                warn!(%error, "the pool manager's lease runs out by itself");
            }
        }
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

impl Pool {
    /// What the cloud is to be asked for, with names resolved to ids.
    pub(super) async fn spec(&self, settings: &Settings, stock: &Stock) -> Result<Spec, String> {
        let (cloud, fresh) = (self.cloud(&stock.cloud)?, settings.reconcile_interval);
        Ok(Spec {
            image: cloud.image(&stock.image, fresh).await.map_err(|error| format!("pool: image: {error}"))?,
            image_name: stock.image.clone(),
            size: cloud.size(&stock.size, fresh).await.map_err(|error| format!("pool: size: {error}"))?,
            location: stock.location.clone(),
            key_pair: stock.key_pair.clone(),
            security_groups: stock.security_groups.clone(),
            networks: stock.networks.clone(),
            // libra's rule: host names have no underscore.
            basename: stock.node_basename.clone().unwrap_or_default().replace('_', "-"),
            az: stock.az,
        })
    }

    /// Stops building for a stock until somebody resumes it.
    ///
    /// # Errors
    /// The store's.
    pub async fn pause(&self, stock: &str, reason: &str) -> Result<(), Error> {
        let (stock, reason) = (stock.to_owned(), reason.to_owned());
        self.store()
            .write(move |tx| {
                let mut record = StockRecord::find(tx, &stock)?;
                record.paused = Some(reason.clone());
                record.save(tx)
            })
            .await
    }

    /// Builds for a stock again. What was lost until now does not count any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self, stock: &str) -> Result<(), Error> {
        let stock = stock.to_owned();
        self.store()
            .write(move |tx| {
                let mut record = StockRecord::find(tx, &stock)?;
                record.paused = None;
                (record.failures, record.not_before) = (0, 0);
                record.last_error.clear();
                record.losses_forgiven = tx.now();
                record.save(tx)
            })
            .await
    }
}
