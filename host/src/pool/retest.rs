//! Testing again what was built and was not fit for the stock: libra's table (its failed nodes, later its `submit`).

use std::time::Duration;

use capstan_plugin_api::cloud::node_state;

use super::{
    Pool,
    build::now,
    records::{Node, State},
    shared::{begin_delete, ensure_job, note, object},
};
use crate::{
    failpoint,
    store::{Error, jobs},
};

/// A node that is still being built after so many times the time for it is given up.
const PATIENCE: u32 = 10;

impl Pool {
    /// Looks at one node: gone, it is forgotten; running, it goes on towards the stock; being built still, it is kept for a while;
    /// anything else, it is deleted. When the cloud cannot be asked it is kept.
    pub(super) async fn retest(&self, node: Node) -> Result<(), Error> {
        if self.held(&node).await?.is_some() {
            return Ok(());
        }
        let Ok(cloud) = self.cloud(&node.cloud) else { return Ok(()) };
        let Some(id) = node.node.clone() else {
            return self.change(node, |tx, node| begin_delete(tx, node, "it failed before the cloud named it")).await;
        };
        let found = match cloud.get(&id, &node.name).await {
            Ok(found) => found.filter(|found| self.is_ours(found, &node)),
            Err(error) => {
                tracing::warn!(node = node.name, %error, "a failed node cannot be tested; it is kept");
                return Ok(());
            }
        };
        match found.as_ref().map(|found| found.state.as_str()) {
            Some(node_state::RUNNING) => {
                let changed = self.change(node, |tx, node| {
                    // The job that found it unfit has not ended yet, and would be taken for one that leads it on.
                    if !jobs::live_of_object(tx, &object(&node.id))?.is_empty() {
                        return Ok(());
                    }
                    node.state = if node.address.is_some() { State::Checking } else { State::Building };
                    node.building_since = Some(tx.now());
                    node.save(tx)?;
                    note(tx, node, "retested")?;
                    ensure_job(tx, node)
                });
                changed.await?;
                failpoint::reached("pool.retest.recorded");
                Ok(())
            }
            Some(node_state::PENDING | node_state::REBOOTING | node_state::UNKNOWN) => {
                let timeout =
                    self.settings().stock(&node.stock).map_or(Duration::from_secs(120), |stock| stock.build_timeout);
                let limit = timeout.saturating_mul(PATIENCE);
                let age = now().saturating_sub(node.building_since.unwrap_or(node.created));
                if age < i64::try_from(limit.as_millis()).unwrap_or(i64::MAX) {
                    return Ok(());
                }
                // It counts against the stock and costs money for as long as it is kept.
                let reason = format!("it did not get up within {} s", limit.as_secs());
                self.change(node, move |tx, node| begin_delete(tx, node, &reason)).await
            }
            // Also one that is gone: that it is must be said twice before it is forgotten.
            _ => self.change(node, |tx, node| begin_delete(tx, node, "it failed and did not recover")).await,
        }
    }

    /// Changes a row, unless somebody else has changed it meanwhile; then theirs counts.
    pub(super) async fn change(
        &self,
        node: Node,
        change: impl Fn(&mut crate::store::Transaction<'_>, &mut Node) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let outcome = self
            .store()
            .write(move |tx| {
                let mut node = node.clone();
                change(tx, &mut node)
            })
            .await;
        match outcome {
            Err(Error::Contended(why)) => {
                tracing::debug!(why, "somebody else was first");
                Ok(())
            }
            other => other,
        }
    }
}
