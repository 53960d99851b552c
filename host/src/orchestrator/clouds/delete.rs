//! Removing a node, as a job: asked for until the cloud says that it is gone.

use std::{future::Future, pin::Pin, time::Duration};

use capstan_plugin_api::{
    ErrorCode,
    cloud::{NodeRequest, node_state},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Clouds;
use crate::{
    drivers::CallOptions,
    store::{
        Error,
        runner::{Handler, Next, Running, Stop},
    },
};

/// From one look at a node to the next.
const LOOK: Duration = Duration::from_secs(2);
/// The wait after a refusal; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// What a job is to remove.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// Name of the cloud in the farm.
    pub cloud: String,
    /// The cloud's id of the node.
    pub node: String,
}

/// Runs jobs of kind `cloud.delete_node`.
pub(super) struct Deleter(pub Clouds);

impl Handler for Deleter {
    fn run(&self, running: Running) -> Pin<Box<dyn Future<Output = Result<Next, Error>> + Send + '_>> {
        Box::pin(async move { Ok(self.delete(&running).await) })
    }
}

impl Deleter {
    async fn delete(&self, running: &Running) -> Next {
        let Ok(Spec { cloud, node }) = serde_json::from_str(&running.job.spec) else {
            return Next::Failed("what is to be removed cannot be read".to_owned());
        };
        let later =
            |why: String| Next::Later { after: FIRST_WAIT.saturating_mul(1 << running.job.attempt.min(6)), why };
        let cloud = match self.0.cloud(&cloud) {
            Ok(cloud) => cloud,
            Err(problem) => return later(problem.detail().to_owned()),
        };
        loop {
            match running.stop() {
                Some(Stop::Ending) => return Next::Released,
                Some(Stop::Cancelled) => return Next::Cancelled("cancelled; the cloud may have been asked".to_owned()),
                None => {}
            }
            match cloud.node(&node).await {
                Ok(Some(found)) if found.state != node_state::TERMINATED => {}
                Ok(_) => {
                    running.progress(None, format!("{node} is gone")).await;
                    return Next::Done(json!({ "cloud": cloud.name, "node": node }));
                }
                Err(error) => return later(format!("the cloud cannot be asked: {error} ({})", error.code)),
            }
            let options = CallOptions { request_id: running.job.id.clone(), ..CallOptions::default() };
            match cloud.call::<_, ()>("destroy_node", &NodeRequest { id: node.clone() }, options).await {
                Err(error) if error.code != ErrorCode::NOT_FOUND => {
                    return later(format!("the cloud does not remove the node: {error} ({})", error.code));
                }
                _ => {}
            }
            running.progress(None, "waiting until the cloud says that it is gone").await;
            let _looked_at_above = running.pause(LOOK).await;
        }
    }
}
