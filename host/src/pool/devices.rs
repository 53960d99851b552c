//! What the API server says of the nodes that it was told of.

use std::{collections::HashMap, ops::ControlFlow};

use capstan_plugin_api::{DriverError, mgm::Device};

use super::{
    Pool,
    api::{DELETED, SPARE},
    hold::{delete_unless_held, of_node},
    records::{Node, Spare, State},
    shared::{ensure_job, note},
};
use crate::store::{Error, Transaction};

/// Rows that are read at once.
const PAGE: usize = 1000;

impl Pool {
    /// Learns which nodes are in use. Spare ones that the API server does not know any more are registered again.
    pub(super) async fn sync_devices(&self) -> Result<Result<(), DriverError>, Error> {
        if !self.api().lists() {
            return Ok(Ok(()));
        }
        // Read before the server is asked: what is registered meanwhile is not missed in its answer.
        let mut unseen = self.spare_nodes().await?;
        let spare = unseen.len();
        // Most devices are as their rows say, or nobody's of ours; only the others are kept.
        let mut differing = Vec::new();
        let listed = self.api().devices(|page| {
            for device in page {
                if let Some(node) = unseen.remove(&device.name)
                    && (device.status != SPARE || node.device.as_ref() != Some(&device.id))
                {
                    differing.push((node, device));
                }
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = listed.await {
            return Ok(Err(error));
        }
        for (node, device) in differing {
            self.change_spare(node, move |tx, node| follow(tx, node, &device)).await?;
        }
        // A server that has forgotten all at once is more likely at fault than right.
        if super::breaker::is_too_many(&self.settings(), unseen.len(), spare) {
            let missing = unseen.len();
            tracing::error!(missing, spare, "the API server does not know most spare nodes; they are left as they are");
            return Ok(Ok(()));
        }
        for (name, node) in unseen {
            // A list that changes while it is walked may pass over some.
            match self.api().by_id(node.device.as_deref(), &name).await {
                Ok(Some(device)) => self.change_spare(node, move |tx, node| follow(tx, node, &device)).await?,
                Ok(None) => self.change_spare(node, register_again).await?,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// The spare nodes by name, which they give up for it.
    async fn spare_nodes(&self) -> Result<HashMap<String, Spare>, Error> {
        let mut all = HashMap::new();
        let mut after = String::new();
        loop {
            let page = self.store().read(move |tx| Node::spare(tx, &after, PAGE)).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = last.id.clone();
            all.extend(page.into_iter().map(|mut node| (std::mem::take(&mut node.name), node)));
        }
    }

    /// Changes a spare node, unless somebody else has changed it meanwhile; then theirs counts.
    async fn change_spare(
        &self,
        spare: Spare,
        change: impl Fn(&mut Transaction<'_>, &mut Node) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.store()
            .write(move |tx| match Node::find(tx, &spare.id)? {
                Some(mut node) if node.version == spare.version => change(tx, &mut node),
                _ => Ok(()),
            })
            .await
    }
}

/// The API server has another id for a spare node than its row, or another status.
fn follow(tx: &mut Transaction<'_>, node: &mut Node, device: &Device) -> Result<(), Error> {
    if device.status == DELETED {
        return delete_unless_held(tx, node, "the API server wants it deleted").map(drop);
    }
    let is_known = node.device.as_ref() == Some(&device.id);
    node.device = Some(device.id.clone());
    if device.status == SPARE {
        return if is_known { Ok(()) } else { node.save(tx) };
    }
    node.state = State::Taken;
    node.reason = format!("it is {} on the API server", device.status);
    node.save(tx)?;
    note(tx, node, "in_use")
}

/// The API server does not know a spare node.
fn register_again(tx: &mut Transaction<'_>, node: &mut Node) -> Result<(), Error> {
    if of_node(tx, node)?.is_some() {
        return Ok(());
    }
    node.state = State::Registering;
    node.device = None;
    "the API server does not know it any more; it is registered again".clone_into(&mut node.reason);
    node.save(tx)?;
    note(tx, node, "registered_again")?;
    ensure_job(tx, node)
}
