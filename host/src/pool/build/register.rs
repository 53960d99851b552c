//! Telling the API server of a node.

use super::{Step, create::now};
use crate::{
    failpoint,
    pool::{
        Pool, api,
        cloud::Made,
        fault::Fault,
        records::{Node, State, StockRecord},
        shared::note,
    },
    store::{Error, runner::Running},
};

use capstan_plugin_api::ErrorCode;

impl Pool {
    pub(super) async fn register(&self, running: &Running, mut node: Node) -> Result<Step, Error> {
        // Asked before, without an answer: the server may have it.
        if node.asked_at.is_some() {
            match self.api().device(node.device.as_deref(), &node.name).await {
                Ok(Some(device)) => {
                    node.device = Some(device.id);
                    return self.registered(running, node).await;
                }
                Ok(None) => {}
                Err(error) => {
                    let reason = format!("the API server cannot be asked whether it has the node: {error}");
                    return Ok(Step::End(self.set_aside(running, node, Fault::Registration, &reason).await?));
                }
            }
        }
        failpoint::reached("pool.register.before");
        node.asked_at = Some(now());
        let mut node = self.save(running, node, None).await?;
        failpoint::reached("pool.register.asked");
        match self.api().add(&self.device(&node)).await {
            Ok(added) if added.accepted => {
                failpoint::reached("pool.register.answered");
                node.device = api::device_id(&added);
                self.registered(running, node).await
            }
            Ok(added) => {
                // One that was registered before and not found in the list is refused for its name.
                if let Ok(Some(device)) = self.api().device(None, &node.name).await {
                    node.device = Some(device.id);
                    return self.registered(running, node).await;
                }
                node.asked_at = None;
                let said = added.response.map_or_else(|| "nothing".to_owned(), |response| response.to_string());
                let reason = format!("the API server refused the node and said {said}");
                Ok(Step::End(self.set_aside(running, node, Fault::Registration, &reason).await?))
            }
            Err(error) if error.code == ErrorCode::ALREADY_EXISTS => self.registered(running, node).await,
            Err(error) => {
                if Made::by(&error) == Made::No {
                    node.asked_at = None;
                }
                let reason = format!("the API server did not take the node: {error}");
                Ok(Step::End(self.set_aside(running, node, Fault::Registration, &reason).await?))
            }
        }
    }

    /// The node is in stock. A stock whose build went well rests no longer.
    async fn registered(&self, running: &Running, mut node: Node) -> Result<Step, Error> {
        node.asked_at = None;
        node.state = State::Ready;
        node.ready_at = Some(now());
        node.reason.clear();
        let node = running
            .write(move |tx| {
                let mut node = node.clone();
                node.save(tx)?;
                note(tx, &node, "ready")?;
                let mut record = StockRecord::find(tx, &node.stock)?;
                if record.failures > 0 {
                    (record.failures, record.not_before) = (0, 0);
                    record.last_error.clear();
                    record.save(tx)?;
                }
                Ok(node)
            })
            .await?;
        failpoint::reached("pool.register.recorded");
        self.inner.tally.done(&node.stock);
        tracing::info!(node = node.name, stock = node.stock, address = node.address, "a node is in stock");
        Ok(Step::On(Box::new(node)))
    }
}
