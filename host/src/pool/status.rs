//! How the pool stands, for people and programs.

use serde::Serialize;

use super::{
    Pool, hold,
    message::MESSAGE,
    records::{CloudRecord, Counts, Node, Orphan, ScheduleRecord, State, StockRecord, Trouble},
    shared::{BUILD, DELETE},
};
use crate::{
    http::{HoldView, Time},
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
    /// Spare nodes that can be handed out now: those that are ready and were well when they were last asked.
    pub free: usize,
    /// Nodes by their state.
    pub counts: Counts,
    /// What is remembered between two checks.
    #[serde(flatten)]
    pub record: StockRecord,
    /// Nothing is done for it by itself.
    pub is_held: bool,
    /// Why the stock is not full and when it is looked at again, and what is wrong with its nodes; empty when nothing is.
    pub why: String,
}

impl StockStatus {
    /// How a stock stands; `wanted` is none when the configuration does not have it any more.
    pub(super) fn find(
        tx: &mut Transaction<'_>,
        name: &str,
        cloud: &str,
        wanted: Option<usize>,
    ) -> Result<Self, Error> {
        let (counts, record) = (Node::counts(tx, name)?, StockRecord::find(tx, name)?);
        let hold = hold::of_stock(tx, name)?;
        let mut why = Vec::new();
        match (&hold, wanted) {
            (Some(hold), _) => why.push(hold::told(hold)),
            (None, Some(wanted)) => why.extend(why_short(tx, wanted, counts, &record)?),
            (None, None) => {
                why.push("not in the configuration any more; its nodes stay until `capstan pool retire`".to_owned());
            }
        }
        why.extend(troubles(tx, name, counts)?);
        let (name, cloud, wanted) = (name.to_owned(), cloud.to_owned(), wanted.unwrap_or_default());
        let free = counts.ready.saturating_sub(counts.unfit);
        Ok(Self { name, cloud, wanted, free, counts, record, is_held: hold.is_some(), why: why.join("; ") })
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
                    let mut status = StockStatus::find(tx, &stock.name, &stock.cloud, Some(stock.nodes))?;
                    let resting = clouds.iter().find(|(name, resting)| *name == stock.cloud && *resting > 0);
                    if let Some((cloud, resting)) = resting.filter(|_| !status.why.is_empty()) {
                        status.why = format!("{}; the cloud {cloud} asked for rest, {resting} s more", status.why);
                    }
                    all.push(status);
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
                let oldest = work::oldest_live(tx, &[BUILD, DELETE, MESSAGE])?;
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

    /// A node by its id, its name or the cloud's id, with the job that is at work on it.
    ///
    /// # Errors
    /// The store's.
    pub async fn show(&self, id: &str) -> Result<Option<(Node, Option<work::Job>)>, Error> {
        let id = id.to_owned();
        self.store()
            .read(move |tx| {
                let Some(node) = Node::meant(tx, &id)? else { return Ok(None) };
                let job = work::live_of_object(tx, &super::shared::object(&node.id))?.pop();
                Ok(Some((node, job)))
            })
            .await
    }
}

/// Why a stock is short, and what happens next by itself; nothing when it is full.
fn why_short(
    tx: &mut Transaction<'_>,
    wanted: usize,
    counts: Counts,
    record: &StockRecord,
) -> Result<Vec<String>, Error> {
    if let Some(reason) = &record.paused {
        return Ok(vec![format!("paused: {reason}")]);
    }
    if counts.ready >= wanted {
        return Ok(Vec::new());
    }
    let mut why: Vec<_> = Some(record.last_error.clone()).filter(|error| !error.is_empty()).into_iter().collect();
    if record.not_before > tx.now() {
        why.push(format!("resting until {}", Time(record.not_before).of_day()));
    } else if counts.building > 0 {
        let delayed = Node::latest_trouble(tx, &record.stock, Trouble::Delayed)?;
        let told = delayed.map(|reason| format!(" ({reason})")).unwrap_or_default();
        why.push(format!("{} being built{told}", counts.building));
    } else if counts.failed > 0 && counts.ready + counts.failed >= wanted {
        why.push(format!("{} failed, tested again {}", counts.failed, at_schedule(tx, "failed_nodes")?));
    } else {
        // The API server's count has devices that others registered, which the rows do not know.
        let others = record.free.filter(|free| usize::try_from(*free).is_ok_and(|free| free >= wanted));
        why.extend(
            others.map(|free| format!("the API server counted {free} spare devices, those of others with them")),
        );
        why.push(format!("counted again {}", at_schedule(tx, ScheduleRecord::COUNT)?));
    }
    Ok(why)
}

/// When a schedule runs next.
fn at_schedule(tx: &mut Transaction<'_>, schedule: &str) -> Result<String, Error> {
    let next = ScheduleRecord::find(tx, schedule)?.map(|record| record.next_at).filter(|next| *next > tx.now());
    Ok(next.map_or_else(|| "now".to_owned(), |next| format!("at {}", Time(next).of_day())))
}

/// What is wrong with nodes of a stock that stay as they are.
fn troubles(tx: &mut Transaction<'_>, stock: &str, counts: Counts) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    let health = ScheduleRecord::find(tx, "health")?.map(|record| record.last_error);
    all.extend(health.filter(|told| counts.ready > 0 && !told.is_empty()));
    if counts.unfit > 0 {
        let reason = Node::latest_trouble(tx, stock, Trouble::Unfit)?.unwrap_or_default();
        all.push(format!("{} of {} spare nodes do not answer: {reason}", counts.unfit, counts.ready));
    }
    if counts.in_error > 0 {
        let reason = Node::latest_trouble(tx, stock, Trouble::InError)?.unwrap_or_default();
        all.push(format!("{} of the nodes in use are in error: {reason}", counts.in_error));
    }
    Ok(all)
}
