//! A node: its row, what its cloud and the API server say of it, and what happens to it next.

use capstan_plugin_api::DriverError;
use serde_json::{Value, json};

use super::{EVENTS, Explanation, Happening, Observation, Step, at_schedule, awake, job::next_of_job, patiently};
use crate::{
    http::{HoldView, JobView, Time},
    pool::{
        Pool, hold,
        records::{Node, Origin, ScheduleRecord, State},
        shared::object,
    },
    store::{Error, events, jobs::Job},
};

impl Pool {
    pub(super) async fn explain_node(&self, node: Node, job: Option<Job>) -> Result<Explanation, Error> {
        let about = node.clone();
        let (held, schedules, events) = self
            .store()
            .read(move |tx| {
                let events = events::latest(tx, Some(&object(&about.id)), None, EVENTS)?;
                Ok::<_, Error>((hold::of_node(tx, &about)?, ScheduleRecord::all(tx)?, events))
            })
            .await?;
        let (in_cloud, at_api) = tokio::join!(patiently(self.seen_by_cloud(&node)), patiently(self.seen_by_api(&node)));
        let row = json!({
            "state": node.state, "since": Time(node.updated), "address": node.address, "host": node.host,
            "node": node.node, "device": node.device, "owner": node.owner, "reason": node.reason,
        });
        let reason = Some(node.reason.clone()).filter(|reason| !reason.is_empty());
        let job = job.map(JobView::from);
        let is_held = held.is_some() && !node.ordered;
        Ok(Explanation {
            object: object(&node.id),
            name: node.name.clone(),
            desired: json!({
                "state": wanted(&node), "stock": node.stock, "cloud": node.cloud, "origin": node.origin,
                "key": node.key, "spec": node.spec,
            }),
            observed: vec![
                Observation::of("row", Ok(row)),
                Observation::of(format!("cloud {}", node.cloud), in_cloud),
                Observation::of(self.api().driver(), at_api),
            ],
            last_error: job.as_ref().and_then(|job| job.error.clone()).or(reason),
            next: next_of_node(&node, job.as_ref(), is_held, &schedules),
            hold: held.map(HoldView::from),
            job,
            events: events.into_iter().map(Happening::from).collect(),
            about: None,
        })
    }

    async fn seen_by_cloud(&self, node: &Node) -> Result<Value, String> {
        let cloud = self.cloud(&node.cloud)?;
        awake(cloud)?;
        let found = match &node.node {
            Some(id) => cloud.get(id, &node.name).await,
            None => {
                cloud.named(&node.name).await.map(|found| found.into_iter().find(|found| self.is_ours(found, node)))
            }
        };
        let told = |error: DriverError| format!("{error} ({})", error.code);
        Ok(serde_json::to_value(found.map_err(told)?).unwrap_or_default())
    }

    async fn seen_by_api(&self, node: &Node) -> Result<Value, String> {
        if !self.api().lists() {
            return Err("its driver does not tell which devices there are".to_owned());
        }
        let found = self.api().device(node.device.as_deref(), &node.name).await;
        let found = found.map_err(|error| format!("{error} ({})", error.code))?;
        Ok(serde_json::to_value(found).unwrap_or_default())
    }
}

/// The state that everything works towards.
fn wanted(node: &Node) -> &'static str {
    match node.state {
        State::Deleting | State::Deleted => "deleted",
        State::Taken | State::Reserved | State::Lost => "taken",
        _ if node.origin == Origin::Message => "taken",
        _ => "ready",
    }
}

fn next_of_node(node: &Node, job: Option<&JobView>, is_held: bool, schedules: &[ScheduleRecord]) -> Step {
    if is_held && !matches!(node.state, State::Building | State::Checking | State::Registering) {
        return Step::never("nothing, as long as it is held");
    }
    if node.state.needs_a_job() {
        return match job {
            Some(job) => next_of_job(job),
            None => at_schedule("the next comparison with the clouds gives it a job", "reconcile", schedules),
        };
    }
    match node.state {
        State::Ready => at_schedule("it is asked how it is, and waits to be taken", "health", schedules),
        State::Reserved => Step {
            what: "it goes back to the stock unless whoever takes it confirms, and the API server is asked which"
                .to_owned(),
            at: node.held_until.map(Time),
        },
        State::Failed => at_schedule("it is tested again", "failed_nodes", schedules),
        State::Lost => Step::never("nothing: `capstan pool retire` closes it"),
        State::Taken => Step::never("nothing: it belongs to whoever took it"),
        _ => Step::never("nothing"),
    }
}
