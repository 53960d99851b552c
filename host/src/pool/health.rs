//! Asking spare nodes how they are, and replacing those that are not well for long.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Pool, breaker,
    build::now,
    diagnostics::{self, Verdict},
    hold::of_node,
    records::{Loss, Node, State},
    shared::begin_delete,
};
use crate::store::Error;

/// Nodes that are asked at one time.
const AT_ONCE: usize = 32;

impl Pool {
    /// Asks every spare node. When too many are not well the round says more about the network than about them, and nothing is
    /// counted against them.
    pub(super) async fn check_health(&self) -> Result<(), Error> {
        let settings = self.settings();
        let Some(client) = self.nodes_client(&settings).cloned() else { return Ok(()) };
        let ready = self.store().read(|tx| Node::in_state(tx, State::Ready, "", 1_000_000)).await?;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut asking = JoinSet::new();
        let total = ready.len();
        for node in ready {
            let (client, places, timeout) = (client.clone(), Arc::clone(&places), settings.diagnostics_timeout);
            asking.spawn(async move {
                let _place = places.acquire_owned().await;
                let verdict = diagnostics::ask(&client, &node.name, timeout).await;
                (node, verdict)
            });
        }
        let mut well = Vec::new();
        let mut unwell = Vec::new();
        while let Some(answer) = asking.join_next().await {
            match answer {
                Ok((node, Verdict::Good)) => well.push(node),
                Ok((node, Verdict::Bad(reason))) => unwell.push((node, reason)),
                // The job servers are away: that says nothing of the node.
                Ok((node, Verdict::Unasked(reason))) => {
                    tracing::warn!(node = node.name, reason, "a spare node cannot be asked")
                }
                Err(_) => {}
            }
        }
        if breaker::is_too_many(&settings, unwell.len(), total) {
            tracing::error!(
                unwell = unwell.len(),
                total,
                "most spare nodes do not answer well; nothing is held against them"
            );
            return Ok(());
        }
        for node in well {
            // Only what changes is written, or a large stock would be rewritten each round.
            if node.health_failures > 0 {
                self.change(node, |tx, node| {
                    node.health_failures = 0;
                    node.checked_at = Some(now());
                    node.reason.clear();
                    node.save(tx)
                })
                .await?;
            }
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
        Ok(())
    }
}
