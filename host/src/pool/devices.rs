//! What the API server says of the nodes that it was told of.

use std::collections::HashMap;

use capstan_plugin_api::DriverError;

use super::{
    Pool,
    api::{DELETED, SPARE},
    hold::{delete_unless_held, of_node},
    records::{Node, State},
    shared::note,
};
use crate::store::Error;

impl Pool {
    /// Learns which nodes are in use. Spare ones that the API server does not know any more are registered again.
    pub(super) async fn sync_devices(&self) -> Result<Result<(), DriverError>, Error> {
        if !self.api().lists() {
            return Ok(Ok(()));
        }
        // Read before the server is asked: what is registered meanwhile is not missed in its answer.
        let ready = self.store().read(|tx| Node::in_state(tx, State::Ready, "", 1_000_000)).await?;
        let mut devices: HashMap<String, (String, String)> = HashMap::new();
        let listed = self.api().devices(|page| {
            devices.extend(page.into_iter().map(|device| (device.name, (device.id, device.status))));
        });
        if let Err(error) = listed.await {
            return Ok(Err(error));
        }
        let missing = ready.iter().filter(|node| !devices.contains_key(&node.name)).count();
        // A server that has forgotten all at once is more likely at fault than right.
        let forgot = super::breaker::is_too_many(&self.settings(), missing, ready.len());
        if forgot {
            tracing::error!(
                missing,
                spare = ready.len(),
                "the API server does not know most spare nodes; they are left as they are"
            );
        }
        for node in ready {
            match devices.get(&node.name) {
                Some((id, status)) if status == SPARE => {
                    if node.device.as_ref() != Some(id) {
                        let id = id.clone();
                        self.change(node, move |tx, node| {
                            node.device = Some(id.clone());
                            node.save(tx)
                        })
                        .await?;
                    }
                }
                Some((_, status)) if status == DELETED => {
                    self.change(node, |tx, node| {
                        delete_unless_held(tx, node, "the API server wants it deleted").map(drop)
                    })
                    .await?;
                }
                Some((id, status)) => {
                    let (id, reason) = (id.clone(), format!("it is {status} on the API server"));
                    self.change(node, move |tx, node| {
                        node.device = Some(id.clone());
                        node.state = State::Taken;
                        node.reason.clone_from(&reason);
                        node.save(tx)?;
                        note(tx, node, "in_use")
                    })
                    .await?;
                }
                None if forgot => {}
                None => {
                    self.change(node, |tx, node| {
                        if of_node(tx, node)?.is_some() {
                            return Ok(());
                        }
                        node.state = State::Registering;
                        node.device = None;
                        "the API server does not know it any more; it is registered again".clone_into(&mut node.reason);
                        node.save(tx)?;
                        note(tx, node, "registered_again")?;
                        super::shared::ensure_job(tx, node)
                    })
                    .await?;
                }
            }
        }
        Ok(Ok(()))
    }
}
