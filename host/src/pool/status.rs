//! How the pool stands, for people and programs.

use serde::Serialize;

use super::{
    Pool,
    build::now,
    hold,
    records::{CloudRecord, Counts, Node, Orphan, ScheduleRecord, State, StockRecord},
};
use crate::{
    http::HoldView,
    store::{Error, Transaction, jobs as work},
};

/// The pool as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Each stock.
    pub stocks: Vec<StockStatus>,
    /// Each cloud.
    pub clouds: Vec<CloudStatus>,
    /// Nodes of ours that no row explains.
    pub orphans: Vec<Orphan>,
    /// What is held: nothing is done there by itself.
    pub holds: Vec<HoldView>,
    /// When the schedules ran.
    pub schedules: Vec<ScheduleRecord>,
    /// Age of the oldest job that waits or runs, in seconds.
    pub oldest_job_seconds: Option<i64>,
}

/// A stock.
#[derive(Clone, Debug, Serialize)]
pub struct StockStatus {
    /// Its name.
    pub name: String,
    /// The cloud that it is built in.
    pub cloud: String,
    /// Spare nodes that are wanted; 0 of a stock that the configuration does not have any more.
    pub wanted: usize,
    /// Nodes by their state.
    pub counts: Counts,
    /// What is remembered between two checks.
    #[serde(flatten)]
    pub record: StockRecord,
    /// Nothing is done for it by itself.
    pub is_held: bool,
    /// Why the stock is not full, in one line; empty when it is.
    pub why: String,
}

impl StockStatus {
    /// How a stock stands; `wanted` is none when the configuration does not have it any more.
    fn find(tx: &mut Transaction<'_>, name: &str, cloud: &str, wanted: Option<usize>) -> Result<Self, Error> {
        let (counts, record) = (Node::counts(tx, name)?, StockRecord::find(tx, name)?);
        let hold = hold::of_stock(tx, name)?;
        let why = match (&hold, wanted) {
            (Some(hold), _) => hold::told(hold),
            (None, Some(wanted)) => why(wanted, counts, &record),
            (None, None) => "not in the configuration any more; its nodes stay until `capstan pool retire`".to_owned(),
        };
        let (name, cloud, wanted) = (name.to_owned(), cloud.to_owned(), wanted.unwrap_or_default());
        Ok(Self { name, cloud, wanted, counts, record, is_held: hold.is_some(), why })
    }
}

/// A cloud.
#[derive(Clone, Debug, Serialize)]
pub struct CloudStatus {
    /// When it was last compared with the rows, and what came of it.
    #[serde(flatten)]
    pub record: CloudRecord,
    /// For how long it is left alone, in seconds: it asked for rest.
    pub resting_seconds: u64,
}

impl Pool {
    /// How the pool stands.
    ///
    /// # Errors
    /// The store's.
    pub async fn status(&self) -> Result<Status, Error> {
        let settings = self.settings();
        let clouds: Vec<_> =
            self.inner.clouds.values().map(|cloud| (cloud.name.clone(), cloud.resting().as_secs())).collect();
        self.store()
            .read(move |tx| {
                let mut all = Vec::new();
                for stock in &settings.stocks {
                    all.push(StockStatus::find(tx, &stock.name, &stock.cloud, Some(stock.nodes))?);
                }
                for (name, cloud) in Node::stocks(tx)? {
                    if settings.stock(&name).is_none() {
                        all.push(StockStatus::find(tx, &name, &cloud, None)?);
                    }
                }
                let mut of_clouds = Vec::new();
                for (name, resting_seconds) in &clouds {
                    of_clouds
                        .push(CloudStatus { record: CloudRecord::find(tx, name)?, resting_seconds: *resting_seconds });
                }
                let sql = "SELECT MIN(created_at) AS oldest FROM jobs WHERE kind LIKE 'pool.%' AND finished_at IS NULL";
                let oldest: Option<i64> = tx.query_one(sql, &[])?.map_or(Ok(None), |row| row.get("oldest"))?;
                Ok(Status {
                    stocks: all,
                    clouds: of_clouds,
                    orphans: Orphan::all(tx)?,
                    holds: hold::all(tx)?.into_iter().map(HoldView::from).collect(),
                    schedules: ScheduleRecord::all(tx)?,
                    oldest_job_seconds: oldest.map(|at| (tx.now() - at) / 1000),
                })
            })
            .await
    }

    /// Nodes that are not deleted, after an id; at most so many.
    ///
    /// # Errors
    /// The store's.
    pub async fn nodes(
        &self,
        state: Option<State>,
        stock: Option<String>,
        after: &str,
        most: usize,
    ) -> Result<Vec<Node>, Error> {
        let after = after.to_owned();
        self.store().read(move |tx| Node::list(tx, state, stock.as_deref(), &after, most)).await
    }

    /// The names of the stocks, for people.
    pub(super) fn stock_names(&self) -> String {
        let settings = self.settings();
        let names: Vec<_> = settings.stocks.iter().map(|stock| stock.name.as_str()).collect();
        names.join(", ")
    }

    /// A node by its id or its name, with the job that is at work on it.
    ///
    /// # Errors
    /// The store's.
    pub async fn show(&self, id: &str) -> Result<Option<(Node, Option<work::Job>)>, Error> {
        let id = id.to_owned();
        self.store()
            .read(move |tx| {
                let found = match Node::find(tx, &id)? {
                    Some(node) => Some(node),
                    None => Node::named(tx, &id)?,
                };
                let Some(node) = found else { return Ok(None) };
                let job = work::live_of_object(tx, &super::shared::object(&node.id))?.pop();
                Ok(Some((node, job)))
            })
            .await
    }
}

fn why(wanted: usize, counts: Counts, record: &StockRecord) -> String {
    if let Some(reason) = &record.paused {
        return format!("paused: {reason}");
    }
    if counts.ready >= wanted {
        return String::new();
    }
    if !record.last_error.is_empty() {
        let wait = record.not_before - now();
        return if wait > 0 {
            format!("{}; next attempt in {} s", record.last_error, wait / 1000)
        } else {
            record.last_error.clone()
        };
    }
    if counts.building > 0 {
        return format!("{} being built", counts.building);
    }
    String::new()
}
