//! Asking the cloud for a node, so that no crash makes it two.
//!
//! Whether the cloud was asked is written before it is asked. Whoever finds that written and no answer looks for a node of that name
//! first, for `search_seconds`: a node may show up late. Only then is the cloud asked again, once; after a second search in vain the
//! build has failed.

use std::time::Duration;

use capstan_plugin_api::{DriverError, ErrorCode, cloud::Node as CloudNode};

use super::Step;
use crate::{
    drivers::CallOptions,
    failpoint,
    pool::{
        Pool, cloud,
        cloud::Made,
        fault::Fault,
        hold,
        records::{Node, Origin, State},
    },
    store::{
        Error,
        runner::{Next, Running, Stop},
    },
};

/// From one search for a node to the next.
const SEARCH_PAUSE: Duration = Duration::from_secs(2);
/// So many searches in vain, each after the cloud was asked, end a build. One may be a reply that was lost with its request.
const SEARCHES: u32 = 2;
/// What a node's row says when nobody heard the cloud's answer: the daemon ended before it came.
const UNANSWERED: &str = "the cloud did not answer";
/// How long a build waits whose cloud has no room for its calls.
const BUSY: Duration = Duration::from_secs(5);

impl Pool {
    pub(super) async fn create(&self, running: &Running, mut node: Node) -> Result<Step, Error> {
        let cloud = match self.cloud(&node.cloud) {
            Ok(cloud) => cloud,
            Err(reason) => return Ok(Step::End(self.not_made(running, node, Fault::NoCloud, &reason).await?)),
        };
        if node.asked_at.is_some() || self.may_have_been_asked(&node) {
            node.asked_at = node.asked_at.or_else(|| Some(now()));
            return self.search(running, node).await;
        }
        let rest = cloud.resting();
        if !rest.is_zero() {
            let why = format!("the cloud {} asked for rest", cloud.name);
            return Ok(Step::End(Next::Later { after: rest, why }));
        }
        if node.origin == Origin::Stock
            && let Some(hold) = self.held(&node).await?
        {
            return Ok(Step::End(Next::Later { after: hold::LOOK, why: hold::told(&hold) }));
        }
        failpoint::reached("pool.create.before");
        let request = self.request(&node).await?;
        node.asked_at = Some(now());
        let node = self.save(running, node, Some("asked")).await?;
        failpoint::reached("pool.create.asked");
        let options = self.pending_options(running, &node);
        match cloud.create(&request, options).await {
            Ok(found) => {
                failpoint::reached("pool.create.answered");
                self.adopt(running, node, &found).await
            }
            Err(error) => self.not_created(running, node, error).await,
        }
    }

    /// A row that came out of a backup says less than was done: what it only planned may have been built since.
    fn may_have_been_asked(&self, node: &Node) -> bool {
        node.missed == 0 && self.store().restored().is_some_and(|restored| node.created < restored.at)
    }

    /// A call that goes on in the driver is found again after a restart by its token.
    fn pending_options(&self, running: &Running, node: &Node) -> CallOptions {
        let keep = running.handle_keeper();
        CallOptions {
            deadline: self.settings().stock(&node.stock).map(|stock| stock.build_timeout),
            request_id: running.job.request_id.clone().unwrap_or_else(|| running.job.id.clone()),
            on_pending: Some(std::sync::Arc::new(move |pending| {
                keep(Some(pending.token.clone().into_bytes()));
                failpoint::reached("pool.create.pending");
            })),
            ..CallOptions::default()
        }
    }

    async fn not_created(&self, running: &Running, mut node: Node, error: DriverError) -> Result<Step, Error> {
        if Made::by(&error) == Made::Perhaps {
            tracing::warn!(node = node.name, cloud = node.cloud, %error, "the cloud may have made a node; it is searched");
            node.reason = format!("{error} ({})", error.code);
            let node = self.save(running, node, None).await?;
            return self.search(running, node).await;
        }
        node.asked_at = None;
        if error.code == ErrorCode::RATE_LIMITED {
            self.save(running, node, None).await?;
            return Ok(Step::End(Next::Later { after: BUSY, why: error.to_string() }));
        }
        let reason = format!("Error creating node: {error} ({})", error.code);
        Ok(Step::End(self.not_made(running, node, Fault::of_create(&error), &reason).await?))
    }

    /// Looks for a node that the cloud may have made.
    async fn search(&self, running: &Running, node: Node) -> Result<Step, Error> {
        let settings = self.settings();
        let asked_at = node.asked_at.unwrap_or_default();
        let limit = i64::try_from(settings.search_time.as_millis()).unwrap_or(i64::MAX);
        if let Some(token) = running.job.handle.as_deref().and_then(|handle| std::str::from_utf8(handle).ok())
            && let Ok(cloud) = self.cloud(&node.cloud)
            && cloud.has("recover")
            && let Ok(found) = cloud.recover(token, self.pending_options(running, &node)).await
        {
            return self.adopt(running, node, &found).await;
        }
        loop {
            let cloud = match self.cloud(&node.cloud) {
                Ok(cloud) => cloud,
                Err(why) => return Ok(Step::End(Next::Later { after: settings.failed_interval, why })),
            };
            let outcome = cloud.named(&node.name).await;
            match outcome {
                Ok(found) => {
                    if let Some(found) = found.iter().find(|found| self.is_ours(found, &node)) {
                        failpoint::reached("pool.create.found");
                        return self.adopt(running, node, found).await;
                    }
                    // Time in which the cloud could not be searched does not count.
                    if now().saturating_sub(asked_at) >= limit {
                        return self.not_found(running, node).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(node = node.name, cloud = node.cloud, %error, "the cloud cannot be searched for a node");
                }
            }
            match running.pause(SEARCH_PAUSE.min(settings.search_time / 4)).await {
                Some(Stop::Ending) => return Ok(Step::End(Next::Released)),
                Some(Stop::Cancelled) => {
                    return Ok(Step::End(
                        self.give_up(running, node, Fault::Cancelled, "the build was cancelled").await?,
                    ));
                }
                None => {}
            }
        }
    }

    /// A search was in vain: the cloud is asked once more, or the build has failed. It is deleted like a node that is there, which looks
    /// for it again; should it show up later still, it is an orphan.
    async fn not_found(&self, running: &Running, mut node: Node) -> Result<Step, Error> {
        node.missed += 1;
        if node.missed < SEARCHES {
            node.asked_at = None;
            return Ok(Step::On(Box::new(self.save(running, node, Some("not_found")).await?)));
        }
        let said = if node.reason.is_empty() { UNANSWERED } else { node.reason.as_str() };
        let reason =
            format!("Error creating node: {said}; the cloud was searched {SEARCHES} times and has none of that name");
        Ok(Step::End(self.give_up(running, node, Fault::NotMade, &reason).await?))
    }

    /// The cloud has the node: its id is written down.
    async fn adopt(&self, running: &Running, mut node: Node, found: &CloudNode) -> Result<Step, Error> {
        node.node = Some(found.id.clone());
        node.host = cloud::host(found);
        node.asked_at = None;
        node.building_since = Some(now());
        node.missed = 0;
        node.reason.clear();
        node.state = State::Building;
        let node = self.save(running, node, Some("building")).await?;
        failpoint::reached("pool.create.recorded");
        Ok(Step::On(Box::new(node)))
    }
}

/// By this machine's clock, as the rows are compared with nothing but themselves.
pub(in crate::pool) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
