//! Asking a node that runs how it is, before anybody relies on it.

use std::time::Duration;

use super::{Step, create::now};
use crate::{
    failpoint,
    pool::{
        Pool,
        diagnostics::{self, Verdict},
        fault::Fault,
        records::{Node, Origin, State},
    },
    store::{
        Error,
        runner::{Next, Running, Stop},
    },
};

impl Pool {
    pub(super) async fn check(&self, running: &Running, mut node: Node) -> Result<Step, Error> {
        let settings = self.settings();
        if let Some(client) = self.nodes_client(&settings) {
            let timeout = settings.diagnostics_timeout;
            let build = settings.stock(&node.stock).map_or(timeout, |stock| stock.build_timeout);
            // Its worker may come up after the node does: it is asked until the time for the build is over, and once at least.
            let since = node.building_since.unwrap_or_else(now);
            loop {
                let verdict = diagnostics::ask(client, &node.name, timeout).await;
                let age = Duration::from_millis(u64::try_from(now().saturating_sub(since)).unwrap_or_default());
                match verdict {
                    Verdict::Good => break,
                    Verdict::Bad(reason) if age >= build => {
                        let reason = format!("DIAGNOSTICS: {reason}");
                        return Ok(Step::End(self.give_up(running, node, Fault::Diagnostics, &reason).await?));
                    }
                    Verdict::Unasked(reason) if age >= build => {
                        let reason = format!("DIAGNOSTICS could not be asked for: {reason}");
                        return Ok(Step::End(self.set_aside(running, node, Fault::Unasked, &reason).await?));
                    }
                    Verdict::Bad(reason) | Verdict::Unasked(reason) => {
                        running.progress(None, format!("waiting for the worker on the node: {reason}")).await;
                    }
                }
                match running.pause(Duration::from_secs(1)).await {
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
        failpoint::reached("pool.check.good");
        node.checked_at = Some(now());
        match node.origin {
            Origin::Stock => node.state = State::Registering,
            // Who asked registers it; an orphan is never built.
            Origin::Message | Origin::Orphan => {
                node.state = State::Taken;
                node.ready_at = Some(now());
                self.inner.tally.done(&node.stock);
            }
        }
        let kind = if node.origin == Origin::Stock { "good" } else { "handed_over" };
        Ok(Step::On(Box::new(self.save(running, node, Some(kind)).await?)))
    }
}
