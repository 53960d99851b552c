//! Waiting until a node runs: `build()` of the seed, which looks every 3 seconds for 2 minutes.

use std::time::Duration;

use capstan_plugin_api::cloud::node_state;

use super::{Step, create::now};
use crate::{
    failpoint,
    pool::{
        Pool, address, cloud,
        fault::Fault,
        records::{Node, State},
    },
    store::{
        Error,
        runner::{Next, Running, Stop},
    },
};

/// A node that was just made may not be listed yet; `search_seconds` may say less.
const SETTLING: Duration = Duration::from_secs(30);
/// A node that was seen is gone when the cloud says so often in a row that it is not there.
const SIGHTS: u32 = 2;

impl Pool {
    pub(super) async fn wait(&self, running: &Running, mut node: Node) -> Result<Step, Error> {
        let Some(id) = node.node.clone() else {
            // A row of this state has an id; without one it is asked for again, by way of the search.
            node.state = State::Planned;
            node.asked_at = node.asked_at.or(Some(now()));
            return Ok(Step::On(Box::new(self.save(running, node, None).await?)));
        };
        let settings = self.settings();
        let stock = settings.stock(&node.stock);
        let (timeout, poll) = stock.map_or((Duration::from_secs(120), Duration::from_secs(3)), |stock| {
            (stock.build_timeout, stock.poll_interval)
        });
        let since = node.building_since.unwrap_or_else(now);
        let settling = SETTLING.min(settings.search_time).min(timeout);
        let (mut was_seen, mut missed) = (false, 0);
        let mut last = String::from("it was never seen");
        loop {
            let cloud = match self.cloud(&node.cloud) {
                Ok(cloud) => cloud,
                Err(why) => return Ok(Step::End(Next::Later { after: settings.failed_interval, why })),
            };
            let age = Duration::from_millis(u64::try_from(now().saturating_sub(since)).unwrap_or_default());
            let looked = cloud.get(&id, &node.name).await;
            match &looked {
                Ok(Some(_)) => (was_seen, missed) = (true, 0),
                Ok(None) => missed += 1,
                Err(_) => {}
            }
            match looked {
                Ok(Some(found)) if !self.is_ours(&found, &node) => {
                    let reason = format!("the cloud gave the id {id} to another node");
                    return Ok(Step::End(self.give_up(running, node, Fault::Contract, &reason).await?));
                }
                Ok(Some(found)) => match found.state.as_str() {
                    node_state::RUNNING => match address::of(&found) {
                        Some(address) => {
                            node.address = Some(address.to_string());
                            node.host = cloud::host(&found).or(node.host);
                            node.state = State::Checking;
                            let node = self.save(running, node, Some("running")).await?;
                            failpoint::reached("pool.wait.running");
                            return Ok(Step::On(Box::new(node)));
                        }
                        None => last = "it runs without an address".to_owned(),
                    },
                    node_state::ERROR | node_state::TERMINATED | node_state::STOPPED => {
                        let fault = found.fault.unwrap_or_else(|| "the cloud does not say why".to_owned());
                        let reason = format!("Error spawning node: it is {} ({fault})", found.state);
                        return Ok(Step::End(self.give_up(running, node, Fault::NodeError, &reason).await?));
                    }
                    state => last = format!("it is {state}"),
                },
                Ok(None) if age >= settling || (was_seen && missed >= SIGHTS) => {
                    let reason = "it vanished while it was built";
                    return Ok(Step::End(self.give_up(running, node, Fault::Vanished, reason).await?));
                }
                Ok(None) => "the cloud does not list it yet".clone_into(&mut last),
                Err(error) => last = format!("the cloud cannot be asked: {error}"),
            }
            if age >= timeout {
                let reason = format!("Timeout creating node: after {} s {last}", age.as_secs());
                return Ok(Step::End(self.set_aside(running, node, Fault::Timeout, &reason).await?));
            }
            match running.pause(poll).await {
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
}
