//! Counting what each stock has, and writing down what is to be built.

use std::collections::BTreeMap;

use tracing::{error, info, warn};

use super::Server;
use crate::{
    config::Stock,
    failpoint,
    pool::{
        breaker,
        build::now,
        hold,
        records::{Counts, Loss, Node, Origin, StockRecord},
        settings::Settings,
        shared::{StockKey, ensure_job, note, plan},
        take::TakeError,
    },
    store::Error,
};

/// Nodes that are planned in one transaction.
const PLANNED_AT_ONCE: usize = 256;

impl Server {
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
            // What a server said to that, it says to this question too.
            Ok(false) => Err(match pool.api().free_count().await {
                Ok(_) => "no API server is online".to_owned(),
                Err(error) => format!("no API server is online: {error}"),
            }),
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
        self.pool
            .store()
            .read(|tx| {
                let stocks = Node::stocks(tx)?.into_iter();
                stocks.map(|(name, _)| Node::counts(tx, &name).map(|counts| (name, counts))).collect()
            })
            .await
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
            // The API server still counts those that are being deleted.
            let spare = free.min(counts.ready);
            pool.retire_stale(stale, spare.saturating_sub(stock.nodes)).await?;
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
            // Until when it rests stands beside it.
            return Ok(Err(record.last_error.clone()));
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
}
