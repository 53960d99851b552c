//! Making a node, as a job. That the cloud is about to be asked is stored first; whoever finds that looks for the node before asking
//! again, by its name and by a tag with the job's id.

use std::{future::Future, pin::Pin, time::Duration};

use capstan_plugin_api::{
    DriverError, ErrorCode, Secret, Token,
    cloud::{CreateNode, List, Node, node_state},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Clouds, farm::Cloud};
use crate::{
    drivers::CallOptions,
    store::{
        Error, Transaction, jobs as work,
        runner::{Handler, Next, Running, Stop},
    },
};

/// Tag: the job that made a node.
pub(super) const REQUEST: &str = "capstan-request";
/// What the job's handle says once the cloud is about to be asked.
const ASKED: &[u8] = b"asked";
/// What stands before a driver's token in it.
const TOKEN: &str = "token:";
/// How long a create may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// After a create without an answer the cloud is searched for so long.
const SEARCH: Duration = Duration::from_secs(60);
/// How long a create waits whose cloud asked for patience.
const BUSY: Duration = Duration::from_secs(5);
/// From one look at a node to the next.
const LOOK: Duration = Duration::from_secs(2);

/// What a job is to make.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// Name of the cloud in the farm.
    pub cloud: String,
    /// Everything but the user data, which is no business of who reads jobs.
    pub node: CreateNode,
}

/// Runs jobs of kind `cloud.create_node`.
pub(super) struct Creator(pub Clouds);

/// What is stored beside a job: what a node gets at its first start may hold a secret, and goes when the node is made.
pub(super) fn keep_user_data(tx: &mut Transaction<'_>, job: &str, text: &str) -> Result<(), Error> {
    tx.execute("INSERT INTO clouds_user_data (job, text) VALUES ($1, $2) ON CONFLICT DO NOTHING", &[&job, &text])?;
    Ok(())
}

fn user_data(tx: &mut Transaction<'_>, job: &str) -> Result<Secret, Error> {
    let row = tx.query_one("SELECT text FROM clouds_user_data WHERE job = $1", &[&job])?;
    row.map_or_else(|| Ok(Secret::default()), |row| row.get::<String>("text").map(Secret::new))
}

impl Handler for Creator {
    fn run(&self, running: Running) -> Pin<Box<dyn Future<Output = Result<Next, Error>> + Send + '_>> {
        Box::pin(async move {
            let next = self.create(&running).await?;
            if !matches!(next, Next::Released | Next::Later { .. }) {
                let job = running.job.id.clone();
                running
                    .write(move |tx| tx.execute("DELETE FROM clouds_user_data WHERE job = $1", &[&job]).map(drop))
                    .await?;
            }
            Ok(next)
        })
    }
}

impl Creator {
    async fn create(&self, running: &Running) -> Result<Next, Error> {
        let Ok(Spec { cloud, mut node }) = serde_json::from_str(&running.job.spec) else {
            return Ok(Next::Failed("what is to be made cannot be read".to_owned()));
        };
        let cloud = match self.0.cloud(&cloud) {
            Ok(cloud) => cloud,
            Err(problem) => {
                return Ok(Next::Later { after: Duration::from_secs(10), why: problem.detail().to_owned() });
            }
        };
        let job = running.job.id.clone();
        node.user_data = running.store().read(move |tx| user_data(tx, &job)).await?;
        let asked = running.job.handle.clone();
        let made = match asked {
            None => self.ask(running, &cloud, &node).await?,
            Some(handle) => match self.search(running, &cloud, &node, &handle).await? {
                Ok(None) => self.ask(running, &cloud, &node).await?,
                Ok(Some(found)) => Ok(found),
                Err(next) => Err(next),
            },
        };
        match made {
            Ok(made) => Ok(wait(running, &cloud, made).await),
            Err(next) => Ok(next),
        }
    }

    /// Asks the cloud. The inner error is how the run ends.
    async fn ask(&self, running: &Running, cloud: &Cloud, node: &CreateNode) -> Result<Result<Node, Next>, Error> {
        if running.stop() == Some(Stop::Cancelled) {
            return Ok(Err(Next::Cancelled("cancelled before the cloud was asked".to_owned())));
        }
        let lease = running.job.lease();
        running.write(move |tx| work::save_handle(tx, &lease, Some(ASKED))).await?;
        running.progress(None, format!("asking the cloud {}", cloud.name)).await;
        let keep = running.handle_keeper();
        let options = CallOptions {
            deadline: Some(PATIENCE),
            request_id: running.job.request_id.clone().unwrap_or_else(|| running.job.id.clone()),
            on_pending: Some(std::sync::Arc::new(move |pending| {
                keep(Some(format!("{TOKEN}{}", pending.token).into_bytes()));
            })),
            ..CallOptions::default()
        };
        match cloud.call("create_node", node, options).await {
            Ok(made) => Ok(Ok(made)),
            Err(error) if is_refusal(&error) => {
                // It need not be looked for.
                let lease = running.job.lease();
                running.write(move |tx| work::save_handle(tx, &lease, None)).await?;
                let is_passing = error.code == ErrorCode::RATE_LIMITED;
                Ok(Err(if is_passing { Next::Later { after: BUSY, why: error.to_string() } } else { failed(&error) }))
            }
            Err(error) => {
                tracing::warn!(node = node.name, cloud = cloud.name, %error, "the cloud may have made a node; it is looked for");
                match self.search(running, cloud, node, ASKED).await? {
                    Ok(Some(found)) => Ok(Ok(found)),
                    Ok(None) => Ok(Err(failed(&error))),
                    Err(next) => Ok(Err(next)),
                }
            }
        }
    }

    /// Looks for the node of this job, which may show up late. The inner error is how the run ends.
    async fn search(
        &self,
        running: &Running,
        cloud: &Cloud,
        node: &CreateNode,
        handle: &[u8],
    ) -> Result<Result<Option<Node>, Next>, Error> {
        let token = std::str::from_utf8(handle).ok().and_then(|handle| handle.strip_prefix(TOKEN));
        if let Some(token) = token
            && cloud.handle.has("recover")
            && let Ok(found) = cloud
                .call(
                    "recover",
                    &Token { token: token.to_owned() },
                    CallOptions { deadline: Some(PATIENCE), ..CallOptions::default() },
                )
                .await
        {
            return Ok(Ok(Some(found)));
        }
        let began = tokio::time::Instant::now();
        loop {
            let filter = List { name: Some(node.name.clone()), ..List::default() };
            let is_ours = |found: &Node| found.tags.get(REQUEST).is_some_and(|job| *job == running.job.id);
            let outcome =
                cloud.find("list_nodes", filter, |found: &Node| found.name == node.name && is_ours(found)).await;
            match outcome {
                Ok(Some(found)) => return Ok(Ok(Some(found))),
                Ok(None) if began.elapsed() >= SEARCH => return Ok(Ok(None)),
                Ok(None) => {}
                Err(error) => tracing::warn!(cloud = cloud.name, %error, "the cloud cannot be searched for a node"),
            }
            running.progress(None, format!("looking for {} in the cloud {}", node.name, cloud.name)).await;
            match running.pause(LOOK).await {
                Some(Stop::Ending) => return Ok(Err(Next::Released)),
                Some(Stop::Cancelled) => {
                    let why = format!("cancelled; whether the cloud made {} is not known, look for it", node.name);
                    return Ok(Err(Next::Cancelled(why)));
                }
                None => {}
            }
        }
    }
}

/// Waits until a node runs. One that does not is left as it is: whoever asked for it may look at it.
async fn wait(running: &Running, cloud: &Cloud, made: Node) -> Next {
    let began = tokio::time::Instant::now();
    let (id, mut last) = (made.id.clone(), made);
    loop {
        match last.state.as_str() {
            node_state::RUNNING => {
                running.progress(None, format!("{id} is {}", last.state)).await;
                return Next::Done(json!({ "cloud": cloud.name, "node": last }));
            }
            node_state::ERROR | node_state::TERMINATED | node_state::STOPPED => {
                let fault = last.fault.unwrap_or_else(|| "the cloud does not say why".to_owned());
                return Next::Failed(format!("the node {id} is {} ({fault}); it is left as it is", last.state));
            }
            _ => {}
        }
        if began.elapsed() >= PATIENCE {
            return Next::Failed(format!(
                "the node {id} is still {} after {} s; it is left as it is",
                last.state,
                PATIENCE.as_secs()
            ));
        }
        running.progress(None, format!("{id} is {}", last.state)).await;
        match running.pause(LOOK).await {
            Some(Stop::Ending) => return Next::Released,
            Some(Stop::Cancelled) => {
                return Next::Cancelled(format!("cancelled; the node {id} is there and is left as it is"));
            }
            None => {}
        }
        match cloud.node(&id).await {
            Ok(Some(found)) => last = found,
            Ok(None) if began.elapsed() > SEARCH => {
                return Next::Failed(format!("the node {id} vanished while it was built"));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(cloud = cloud.name, %error, "the cloud cannot be asked for a node"),
        }
    }
}

fn failed(error: &DriverError) -> Next {
    Next::Failed(format!("{error} ({})", error.code))
}

/// The cloud certainly made nothing.
fn is_refusal(error: &DriverError) -> bool {
    [
        ErrorCode::AUTH_FAILED,
        ErrorCode::QUOTA_EXCEEDED,
        ErrorCode::RATE_LIMITED,
        ErrorCode::INVALID_ARGUMENT,
        ErrorCode::NOT_SUPPORTED,
        ErrorCode::NOT_FOUND,
    ]
    .contains(&error.code)
}
