//! Handing out a spare node: one conditional change of a row, so that nobody gets what somebody else has.

mod drain;
mod error;
mod meant;
mod reservation;

use capstan_plugin_api::DriverError;
use serde::Serialize;

pub use self::error::TakeError;
pub(super) use self::meant::unknown;
use self::reservation::{confirm, reserve};
use super::{
    Pool,
    api::{SPARE, USED},
    diagnostics::{self, Verdict},
    records::{Node, State, Trouble},
};
use crate::{failpoint, store::Error};

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
}
