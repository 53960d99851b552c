//! Handing out a spare node: one conditional change of a row, so that nobody gets what somebody else has.

use capstan_plugin_api::DriverError;
use serde::Serialize;

use super::{
    Pool,
    api::{SPARE, USED},
    diagnostics::{self, Verdict},
    records::{Node, ScheduleRecord, State, Trouble},
    shared::{note, order_delete},
};
use crate::{
    failpoint,
    store::{Error, Transaction},
};

/// Reservations that end in one check of the stock.
const EXPIRED_AT_ONCE: usize = 1000;
/// Spare nodes that are looked at for one that suits.
const CANDIDATES: usize = 64;

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Take {
    /// From which stock.
    pub stock: String,
    /// For whom; a repeated request of the same owner gets the same node.
    pub owner: String,
    /// Nodes, by id or name, with which it should not fail together.
    pub apart_from: Vec<String>,
    /// Whether it is asked how it is before it is handed out.
    pub check: bool,
}

/// What was handed out.
#[derive(Clone, Debug, Serialize)]
pub struct Taken {
    /// The node.
    pub node: Node,
    /// Whether it is on another host than those it should be apart from: `satisfied`, `impossible` (all spare nodes share a host with
    /// one of them), `unknown` (the cloud does not tell hosts).
    pub apart: &'static str,
}

/// Why nothing was handed out.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// There is none.
    #[error("the stock {stock} has no spare node; `capstan pool status` says why")]
    Empty {
        /// The stock.
        stock: String,
    },
    /// There are some, and none that is well.
    #[error(
        "the {count} spare nodes of the stock {stock} do not answer: {reason}; `capstan pool nodes --stock {stock} --state ready` lists them"
    )]
    Unfit {
        /// The stock.
        stock: String,
        /// How many are ready.
        count: usize,
        /// What was last found wrong with one.
        reason: String,
    },
    /// No such stock.
    #[error("there is no stock {stock:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        stock: String,
        /// What there is.
        known: String,
    },
    /// No such node, or it is not in the state for this.
    #[error("{0}")]
    NotThere(String),
    /// The API server was asked and did not agree.
    #[error("the API server does not give the node: {error}")]
    Api {
        /// Its driver, as `kind.name`.
        driver: String,
        /// What it answered.
        error: DriverError,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Pool {
    /// Takes a spare node for an owner: reserves it, asks it how it is if that is wanted, tells the API server, confirms.
    ///
    /// # Errors
    /// [`TakeError`].
    pub async fn take(&self, wanted: &Take) -> Result<Taken, TakeError> {
        if self.settings().stock(&wanted.stock).is_none() {
            return Err(TakeError::Unknown { stock: wanted.stock.clone(), known: self.stock_names() });
        }
        loop {
            let request = wanted.clone();
            let hold = self.hold();
            let reserved = self.store().write(move |tx| reserve(tx, &request, hold)).await?;
            let Some((node, apart)) = reserved else {
                return Err(self.nothing_spare(&wanted.stock).await?);
            };
            failpoint::reached("pool.take.reserved");
            if node.state == State::Taken {
                // The same owner asked before.
                return Ok(Taken { node, apart });
            }
            let settings = self.settings();
            if wanted.check
                && let Some(client) = self.nodes_client(&settings)
                && let Verdict::Bad(reason) = diagnostics::ask(client, &node.name, settings.diagnostics_timeout).await
            {
                tracing::warn!(node = node.name, reason, "a spare node is not well and is not handed out");
                self.put_back(&node.id, true, &reason).await?;
                continue;
            }
            if let Some(refusal) = self.claim_device(&node).await? {
                self.put_back(&node.id, false, &refusal).await?;
                continue;
            }
            let id = node.id.clone();
            let node = self.store().write(move |tx| confirm(tx, &id)).await?;
            failpoint::reached("pool.take.confirmed");
            self.inner.news.count();
            tracing::info!(node = node.name, stock = node.stock, owner = node.owner, "a node was taken");
            return Ok(Taken { node, apart });
        }
    }

    /// Why a stock has nothing to hand out.
    async fn nothing_spare(&self, stock: &str) -> Result<TakeError, Error> {
        let stock = stock.to_owned();
        self.store()
            .read(move |tx| {
                let (count, stock) = (Node::counts(tx, &stock)?.unfit, stock.clone());
                if count == 0 {
                    return Ok(TakeError::Empty { stock });
                }
                let reason = Node::latest_trouble(tx, &stock, Trouble::Unfit)?.unwrap_or_default();
                Ok(TakeError::Unfit { stock, count, reason })
            })
            .await
    }

    /// How long a reservation holds, in milliseconds.
    fn hold(&self) -> i64 {
        i64::try_from(self.settings().reservation.as_millis()).unwrap_or(i64::MAX)
    }

    fn not_given(&self, error: DriverError) -> TakeError {
        TakeError::Api { driver: self.api().driver(), error }
    }

    /// Marks the device as used. Some text when the API server has given it to somebody else meanwhile.
    async fn claim_device(&self, node: &Node) -> Result<Option<String>, TakeError> {
        if !self.api().lists() {
            return Ok(None);
        }
        let device =
            self.api().device(node.device.as_deref(), &node.name).await.map_err(|error| self.not_given(error))?;
        match device {
            Some(device) if device.status == SPARE => {
                self.api().update(&device.id, USED, "taken").await.map_err(|error| self.not_given(error))?;
                Ok(None)
            }
            Some(device) => Ok(Some(format!("it is {} on the API server", device.status))),
            None => Ok(Some("the API server does not know it".to_owned())),
        }
    }

    /// Reservations whose time is over: back to the stock if the API server still counts the node as spare. Else their owner had it
    /// but for the last step, and has it now.
    pub(super) async fn expire_reservations(&self) -> Result<(), TakeError> {
        let over = self.store().read(|tx| Node::reserved_until(tx, tx.now(), EXPIRED_AT_ONCE));
        for node in over.await? {
            let is_spare = !self.api().lists()
                || self
                    .api()
                    .device(node.device.as_deref(), &node.name)
                    .await
                    .map_err(|error| self.not_given(error))?
                    .is_none_or(|device| device.status == SPARE);
            self.store()
                .write(move |tx| {
                    let mut node = node.clone();
                    node.held_until = None;
                    if is_spare {
                        node.state = State::Ready;
                        node.owner = None;
                    } else {
                        node.state = State::Taken;
                    }
                    node.save(tx)?;
                    note(tx, &node, "reservation_ended")
                })
                .await?;
        }
        Ok(())
    }

    /// A reserved node is not handed out after all: it goes back with a mark against it, or counts as used by somebody else.
    async fn put_back(&self, id: &str, is_unwell: bool, reason: &str) -> Result<(), Error> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.store()
            .write(move |tx| {
                let Some(mut node) = Node::find(tx, &id)?.filter(|node| node.state == State::Reserved) else {
                    return Ok(());
                };
                node.owner = None;
                node.held_until = None;
                node.reason.clone_from(&reason);
                if is_unwell {
                    node.state = State::Ready;
                    node.health_failures += 1;
                } else {
                    node.state = State::Taken;
                    ScheduleRecord::count_early(tx)?;
                }
                node.save(tx)
            })
            .await
            .inspect(|()| self.inner.news.count())
    }

    /// Takes a spare node out of the stock, to be looked at: it is in use from then on, and the stock builds another one. Whether it
    /// did: nothing is done with a node that somebody has already.
    ///
    /// # Errors
    /// [`TakeError`].
    pub async fn drain(&self, id: &str, reason: &str) -> Result<(Node, bool), TakeError> {
        let (id, reason, hold) = (id.to_owned(), reason.to_owned(), self.hold());
        let (node, is_drained) = self
            .store()
            .write(move |tx| {
                let mut node = known(tx, &id)?;
                match node.state {
                    State::Reserved | State::Taken => return Ok((node, false)),
                    State::Ready => {}
                    state => {
                        let what = state.as_str();
                        return Err(TakeError::NotThere(format!(
                            "node {} is {what}; only a spare one is drained",
                            node.name
                        )));
                    }
                }
                node.state = State::Reserved;
                node.owner = Some(format!("drained: {reason}"));
                node.held_until = Some(tx.now().saturating_add(hold));
                node.reason.clone_from(&reason);
                node.save(tx)?;
                note(tx, &node, "drained")?;
                Ok((node, true))
            })
            .await?;
        if !is_drained {
            return Ok((node, false));
        }
        let _in_use_all_the_same = self.claim_device(&node).await?;
        let id = node.id;
        let node = self.store().write(move |tx| confirm(tx, &id)).await?;
        self.inner.news.count();
        Ok((node, true))
    }

    /// Gives a node back that its owner no longer needs: it is not used again but replaced, since nobody knows what was done to it.
    ///
    /// # Errors
    /// [`TakeError`].
    pub async fn retire(&self, id: &str, reason: &str) -> Result<Node, TakeError> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.store()
            .write(move |tx| {
                let mut node = known(tx, &id)?;
                match node.state {
                    State::Deleted => {}
                    State::Deleting if node.ordered => {}
                    _ => {
                        // The row has one reason; what it said before is told by the events.
                        if !node.reason.is_empty() {
                            note(tx, &node, "given_back")?;
                        }
                        order_delete(tx, &mut node, &reason)?;
                    }
                }
                Ok(node)
            })
            .await
            .inspect(|_| {
                failpoint::reached("pool.delete.intended");
                self.inner.news.count();
            })
    }
}

/// The node that somebody means.
fn known(tx: &mut Transaction<'_>, id: &str) -> Result<Node, TakeError> {
    Node::meant(tx, id)?.ok_or_else(|| TakeError::NotThere(unknown(id)))
}

/// What is said of a node that the pool does not know.
pub(super) fn unknown(id: &str) -> String {
    format!(
        "there is no node {id:?} in the pool by its id, its name or an id of the cloud's that one node alone has; `capstan pool nodes` lists all"
    )
}

/// Reserves the best spare node, or finds the one that the owner has already.
fn reserve(tx: &mut Transaction<'_>, wanted: &Take, hold: i64) -> Result<Option<(Node, &'static str)>, TakeError> {
    if let Some(node) = Node::owned(tx, &wanted.stock, &wanted.owner)? {
        return Ok(Some((node, "unknown")));
    }
    let mut near = Vec::new();
    for id in &wanted.apart_from {
        near.extend(Node::meant(tx, id)?.and_then(|node| node.host));
    }
    let candidates = Node::fit(tx, &wanted.stock, CANDIDATES)?;
    let is_apart = |node: &&Node| node.host.as_ref().is_some_and(|host| !near.contains(host));
    let chosen = if wanted.apart_from.is_empty() {
        candidates.first().map(|node| (node, "satisfied"))
    } else if near.is_empty() {
        candidates.first().map(|node| (node, "unknown"))
    } else {
        candidates.iter().find(is_apart).map(|node| (node, "satisfied")).or_else(|| {
            // Told honestly, rather than refused: one node is better than none.
            let unknown = candidates.iter().find(|node| node.host.is_none()).map(|node| (node, "unknown"));
            unknown.or_else(|| candidates.first().map(|node| (node, "impossible")))
        })
    };
    let Some((node, apart)) = chosen else { return Ok(None) };
    let mut node = node.clone();
    node.state = State::Reserved;
    node.owner = Some(wanted.owner.clone());
    node.held_until = Some(tx.now().saturating_add(hold));
    node.save(tx)?;
    Ok(Some((node, apart)))
}

fn confirm(tx: &mut Transaction<'_>, id: &str) -> Result<Node, TakeError> {
    let node = Node::find(tx, id)?.filter(|node| node.state == State::Reserved);
    let Some(mut node) = node else {
        return Err(TakeError::NotThere(format!(
            "the reservation of node {id} ran out while it was prepared; ask again"
        )));
    };
    node.state = State::Taken;
    node.held_until = None;
    node.reason.clear();
    node.save(tx)?;
    note(tx, &node, "taken")?;
    ScheduleRecord::count_early(tx)?;
    Ok(node)
}
