//! Deleting one node: from the API server first, so that nobody takes it, then from the cloud, until the cloud has said twice that it
//! is gone. A refusal keeps the row; nothing is forgotten that may still cost money.

use std::{future::Future, pin::Pin, time::Duration};

use capstan_plugin_api::{ErrorCode, cloud::node_state};
use serde_json::json;

use super::{
    Pool,
    build::{now, subject},
    hold,
    records::{Node, Origin, ScheduleRecord, State},
};
use crate::{
    drivers::CallOptions,
    failpoint,
    store::{
        Error,
        runner::{Handler, Next, Running},
    },
};

/// From one look at a node that is being deleted to the next.
const LOOK: Duration = Duration::from_secs(3);
/// The first wait after a refusal; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait after a refusal.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The cloud has to say so often that the node is gone.
const SIGHTS: u32 = 2;

/// Runs jobs of kind `pool.delete`.
pub(super) struct Deleter(pub Pool);

impl Handler for Deleter {
    fn run(&self, running: Running) -> Pin<Box<dyn Future<Output = Result<Next, Error>> + Send + '_>> {
        Box::pin(async move {
            let outcome = self.0.delete(&running).await;
            self.0.inner.news.tell(&subject(&running));
            outcome
        })
    }
}

impl Pool {
    async fn delete(&self, running: &Running) -> Result<Next, Error> {
        let id = subject(running);
        let found = self.store().read({
            let id = id.clone();
            move |tx| Node::find(tx, &id)
        });
        let Some(node) = found.await? else {
            return Ok(Next::Failed(format!("there is no node {id} in the pool")));
        };
        if node.state != State::Deleting {
            return Ok(Next::Done(json!({ "node": node.id, "name": node.name, "state": node.state })));
        }
        if let Some(next) = self.held_back(&node).await? {
            return Ok(next);
        }
        failpoint::reached("pool.delete.before");
        let node = match self.unregister(running, node).await? {
            Ok(node) => node,
            Err(next) => return Ok(next),
        };
        self.destroy(running, node).await
    }

    /// A deletion that nobody asked for waits while it is held.
    async fn held_back(&self, node: &Node) -> Result<Option<Next>, Error> {
        if node.ordered {
            return Ok(None);
        }
        let hold = self.held(node).await?;
        Ok(hold.map(|hold| Next::Later { after: hold::LOOK, why: hold::told(&hold) }))
    }

    /// Takes the node off the API server, if it may be there.
    async fn unregister(&self, running: &Running, mut node: Node) -> Result<Result<Node, Next>, Error> {
        let may_be_there = node.origin == Origin::Stock && (node.ready_at.is_some() || node.device.is_some());
        if !may_be_there {
            return Ok(Ok(node));
        }
        let device = match &node.device {
            Some(device) => Some(device.clone()),
            None => match self.api().device(node.device.as_deref(), &node.name).await {
                Ok(device) => device.map(|device| device.id),
                Err(error) => return Ok(Err(later(running, format!("the API server cannot be asked: {error}")))),
            },
        };
        if let Some(device) = device
            && let Err(error) = self.api().delete(&device).await
        {
            let why = if error.code == ErrorCode::CONFLICT {
                format!("the API server still uses the node: {error}")
            } else {
                format!("the API server does not let go of the node: {error}")
            };
            return Ok(Err(later(running, why)));
        }
        node.device = None;
        node.ready_at = None;
        let node = running
            .write(move |tx| {
                let mut node = node.clone();
                node.save(tx)?;
                // Until now the API server counted it among the spare ones.
                ScheduleRecord::count_early(tx)?;
                Ok(node)
            })
            .await?;
        self.inner.news.count();
        failpoint::reached("pool.delete.unregistered");
        Ok(Ok(node))
    }

    async fn destroy(&self, running: &Running, mut node: Node) -> Result<Next, Error> {
        let cloud = match self.cloud(&node.cloud) {
            Ok(cloud) => cloud,
            Err(why) => return Ok(later(running, why)),
        };
        let settings = self.settings();
        let limit = i64::try_from(settings.search_time.as_millis()).unwrap_or(i64::MAX);
        let poll = settings.stock(&node.stock).map_or(LOOK, |stock| stock.poll_interval.min(LOOK));
        loop {
            if running.stop() == Some(crate::store::runner::Stop::Ending) {
                return Ok(Next::Released);
            }
            // A node whose id was never written down is looked for by its name, as long as it may still show up.
            let looked = match &node.node {
                Some(id) => cloud.get(id, &node.name).await,
                None => cloud
                    .named(&node.name)
                    .await
                    .map(|found| found.into_iter().find(|found| self.is_ours(found, &node))),
            };
            let found = match looked {
                Ok(found) => found,
                Err(error) => return Ok(later(running, format!("the cloud cannot be asked: {error}"))),
            };
            let there = found.filter(|found| self.is_ours(found, &node) && found.state != node_state::TERMINATED);
            match there {
                Some(found) => {
                    if let Some(next) = self.held_back(&node).await? {
                        return Ok(next);
                    }
                    node.missed = 0;
                    if node.node.as_ref() != Some(&found.id) {
                        node.node = Some(found.id.clone());
                        node = self.save(running, node, None).await?;
                    }
                    failpoint::reached("pool.delete.asked");
                    let options = CallOptions { request_id: running.job.id.clone(), ..CallOptions::default() };
                    if let Err(error) = cloud.destroy(&found.id, options).await {
                        return Ok(later(running, format!("the cloud does not delete the node: {error}")));
                    }
                    failpoint::reached("pool.delete.answered");
                }
                None => {
                    node.missed += 1;
                    let may_show_up = node.node.is_none() && node.asked_at.is_some_and(|asked| now() - asked < limit);
                    if node.missed >= SIGHTS && !may_show_up {
                        node.state = State::Deleted;
                        let node = self.save(running, node, Some("deleted")).await?;
                        failpoint::reached("pool.delete.recorded");
                        tracing::info!(node = node.name, stock = node.stock, reason = node.reason, "a node is deleted");
                        return Ok(Next::Done(json!({ "node": node.id, "name": node.name, "state": node.state })));
                    }
                    node = self.save(running, node, None).await?;
                    failpoint::reached("pool.delete.missed");
                }
            }
            let _a_cancel_does_not_bring_it_back = running.pause(poll).await;
        }
    }
}

fn later(running: &Running, why: String) -> Next {
    let doubled = 1_u32.checked_shl(running.job.attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    Next::Later { after: FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT), why }
}
