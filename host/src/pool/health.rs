//! Asking spare nodes how they are, and replacing those that are not well for long.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Pool, breaker,
    build::now,
    diagnostics::{self, Verdict},
    hold::of_node,
    records::{Loss, Node, State},
    shared::begin_delete,
};
use crate::{jobs::Client, store::Error};

/// Nodes that are asked at one time.
const AT_ONCE: usize = 32;
/// Rows that are read at once.
const PAGE: usize = 1000;

impl Pool {
    /// Asks every spare node. When too many are not well the round says more about the network than about them, and nothing is
    /// counted against them, which is answered for people.
    pub(super) async fn check_health(&self) -> Result<String, Error> {
        let settings = self.settings();
        let Some(client) = self.nodes_client(&settings).cloned() else { return Ok(String::new()) };
        let (mut total, mut recovered, mut unwell) = (0, Vec::new(), Vec::new());
        let mut after = String::new();
        loop {
            let page = self.store().read(move |tx| Node::in_state(tx, State::Ready, &after, PAGE)).await?;
            let Some(last) = page.last() else { break };
            after = last.id.clone();
            total += page.len();
            for (node, verdict) in ask_all(page, &client, settings.diagnostics_timeout).await {
                match verdict {
                    // Only what changes is written, or a large stock would be rewritten each round.
                    Verdict::Good if node.health_failures == 0 => {}
                    Verdict::Good => recovered.push(node),
                    Verdict::Bad(reason) => unwell.push((node, reason)),
                    // The job servers are away: that says nothing of the node.
                    Verdict::Unasked(reason) => {
                        tracing::warn!(node = node.name, reason, "a spare node cannot be asked");
                    }
                }
            }
        }
        // Of a small stock all at once are too many as well.
        let is_epidemic = total > 1 && unwell.len() == total;
        if is_epidemic || breaker::is_too_many(&settings, unwell.len(), total) {
            let (number, reason) = (unwell.len(), unwell.first().map(|(_, reason)| reason.clone()).unwrap_or_default());
            tracing::error!(
                unwell = number,
                total,
                reason,
                "most spare nodes do not answer well; nothing is held against them"
            );
            return Ok(format!(
                "{number} of {total} spare nodes did not answer at once, which is not held against them: {reason}"
            ));
        }
        for node in recovered {
            self.change(node, |tx, node| {
                node.health_failures = 0;
                node.checked_at = Some(now());
                node.reason.clear();
                node.save(tx)
            })
            .await?;
        }
        let limit = settings.health_limit;
        for (node, reason) in unwell {
            tracing::warn!(
                node = node.name,
                failures = node.health_failures + 1,
                limit,
                reason,
                "a spare node is not well"
            );
            self.change(node, move |tx, node| {
                node.health_failures += 1;
                node.checked_at = Some(now());
                node.reason.clone_from(&reason);
                if node.health_failures < limit {
                    return node.save(tx);
                }
                if of_node(tx, node)?.is_some() {
                    return node.save(tx);
                }
                Loss::note(tx, node, &reason)?;
                begin_delete(tx, node, &format!("not well {limit} times in a row: {reason}"))
            })
            .await?;
        }
        Ok(String::new())
    }
}

/// What each of these nodes says, in the order of their answers.
async fn ask_all(nodes: Vec<Node>, client: &Client, timeout: Duration) -> Vec<(Node, Verdict)> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    for node in nodes {
        let (client, places) = (client.clone(), Arc::clone(&places));
        asking.spawn(async move {
            let _place = places.acquire_owned().await;
            let verdict = diagnostics::ask(&client, &node.name, timeout).await;
            (node, verdict)
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asking.join_next().await {
        // A panic is in the log and says nothing of the node.
        answers.extend(answer.ok());
    }
    answers
}
