//! Everything that is known about one object of the pool, and what happens to it next by itself: a node, a stock, a job.

use std::{collections::BTreeMap, time::Duration};

use capstan_plugin_api::DriverError;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Pool, StockStatus, cloud, hold,
    records::{Node, ScheduleRecord, State, StockRecord},
    shared::object,
};
use crate::{
    config::Stock,
    http::{HoldView, JobView, Retries, Time},
    store::{
        Error,
        events::{self, Event},
        jobs as work,
    },
};

/// How long a cloud or the API server may take to be asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that are told.
const EVENTS: u32 = 10;

/// What is known about an object.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Kind and id, as in `node/0193…`.
    pub object: String,
    /// Its name, for people.
    pub name: String,
    /// What is wanted of it.
    pub desired: Value,
    /// What was seen of it just now, by whom.
    pub observed: Vec<Observation>,
    /// The job that is at work on it, or that it is.
    pub job: Option<JobView>,
    /// What was last in the way.
    pub last_error: Option<String>,
    /// What holds it.
    pub hold: Option<HoldView>,
    /// What happens next by itself.
    pub next: Step,
    /// What happened, newest first.
    pub events: Vec<Happening>,
    /// What a job is about.
    pub about: Option<Box<Explanation>>,
}

/// What one of those who know says.
#[derive(Clone, Debug, Serialize)]
pub struct Observation {
    /// `row`, `cloud NAME` or the API server's driver.
    pub by: String,
    /// What it says; null when it knows nothing of the object.
    pub what: Value,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// What happens next by itself.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// In a sentence.
    pub what: String,
    /// Not before this time, where one is known.
    pub at: Option<Time>,
}

/// An event.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // as in the store's event
pub struct Happening {
    pub at: Time,
    pub kind: String,
    pub detail: Value,
}

impl Step {
    fn never(what: impl Into<String>) -> Self {
        Self { what: what.into(), at: None }
    }
}

impl Observation {
    fn of(by: impl Into<String>, answer: Result<Value, String>) -> Self {
        let (what, error) = match answer {
            Ok(what) => (what, None),
            Err(error) => (Value::Null, Some(error)),
        };
        Self { by: by.into(), what, error }
    }
}

impl Pool {
    /// Explains the stock, the node or the job of this id or name; none when there is none. Clouds and the API server are asked now.
    ///
    /// # Errors
    /// The store's.
    pub async fn explain(&self, word: &str) -> Result<Option<Explanation>, Error> {
        let stock = word.strip_prefix("stock/").unwrap_or(word);
        if let Some(stock) = self.settings().stock(stock) {
            return self.explain_stock(stock).await.map(Some);
        }
        if let Some((node, job)) = self.show(word.strip_prefix("node/").unwrap_or(word)).await? {
            return self.explain_node(node, job).await.map(Some);
        }
        let id = word.strip_prefix("job/").unwrap_or(word).to_owned();
        match self.store().read(move |tx| work::get(tx, &id)).await? {
            Some(job) => self.explain_job(job).await.map(Some),
            None => Ok(None),
        }
    }

    async fn explain_node(&self, node: Node, job: Option<work::Job>) -> Result<Explanation, Error> {
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

    async fn explain_stock(&self, stock: &Stock) -> Result<Explanation, Error> {
        let (name, cloud, nodes) = (stock.name.clone(), stock.cloud.clone(), stock.nodes);
        let (status, held, schedules, events) = self
            .store()
            .read(move |tx| {
                let events = events::latest(tx, Some(&format!("stock/{name}")), None, EVENTS)?;
                let status = StockStatus::find(tx, &name, &cloud, Some(nodes))?;
                Ok::<_, Error>((status, hold::of_stock(tx, &name)?, ScheduleRecord::all(tx)?, events))
            })
            .await?;
        let in_cloud = async {
            let cloud = self.cloud(&stock.cloud)?;
            let tags = BTreeMap::from([
                (cloud::OWNER.to_owned(), self.store().deployment().to_owned()),
                (cloud::STOCK.to_owned(), stock.name.clone()),
            ]);
            let mut states: BTreeMap<String, u64> = BTreeMap::new();
            let listed = cloud.tagged(tags, |page| {
                for node in page {
                    *states.entry(node.state).or_default() += 1;
                }
                Ok(())
            });
            listed.await.map_err(|error| format!("{error} ({})", error.code))?;
            Ok(json!(states))
        };
        let at_api = async {
            let free = self.api().free_count().await.map_err(|error| format!("{error} ({})", error.code))?;
            Ok(json!({ "url": self.api().url().await, "free": free }))
        };
        let (in_cloud, at_api) = tokio::join!(patiently(in_cloud), patiently(at_api));
        let StockStatus { counts, record, why, .. } = status;
        let mut rows = json!(counts);
        rows["why"] = json!(why);
        Ok(Explanation {
            object: format!("stock/{}", stock.name),
            name: stock.name.clone(),
            desired: json!({
                "nodes": stock.nodes, "cloud": stock.cloud, "image": stock.image, "size": stock.size,
                "location": stock.location, "az": stock.az,
            }),
            observed: vec![
                Observation::of("rows", Ok(rows)),
                Observation::of(format!("cloud {}", stock.cloud), in_cloud),
                Observation::of(self.api().driver(), at_api),
            ],
            job: None,
            last_error: Some(record.last_error.clone()).filter(|error| !error.is_empty()),
            next: next_of_stock(&record, held.is_some(), &schedules),
            hold: held.map(HoldView::from),
            events: events.into_iter().map(Happening::from).collect(),
            about: None,
        })
    }

    async fn explain_job(&self, job: work::Job) -> Result<Explanation, Error> {
        let about = match job.object.as_deref().and_then(|object| object.strip_prefix("node/")) {
            Some(id) => match self.show(id).await? {
                Some((node, live)) => Some(Box::new(self.explain_node(node, live).await?)),
                None => None,
            },
            None => None,
        };
        let id = format!("job/{}", job.id);
        let object = id.clone();
        let (pool, asked) = (self.clone(), job.clone());
        let (events, refusal) = self
            .store()
            .read(move |tx| {
                Ok::<_, Error>((events::latest(tx, Some(&object), None, EVENTS)?, pool.refusal(tx, &asked)?))
            })
            .await?;
        let lease = job.lease_owner.clone().map(|owner| json!({ "owner": owner, "until": job.lease_until.map(Time) }));
        let job = JobView::from(job);
        Ok(Explanation {
            object: id,
            name: job.kind.clone(),
            desired: job.spec.clone(),
            observed: vec![Observation::of(
                "row",
                Ok(json!({
                    "state": job.state, "attempt": job.attempt, "progress": job.progress.text, "lease": lease,
                    "result": job.result,
                })),
            )],
            last_error: job.error.clone(),
            hold: about.as_ref().and_then(|about| about.hold.clone()),
            next: match refusal {
                Some(why) if ["failed", "cancelled"].contains(&job.state) => Step::never(format!("nothing: {why}")),
                _ => next_of_job(&job),
            },
            job: Some(job),
            events: events.into_iter().map(Happening::from).collect(),
            about,
        })
    }
}

impl From<Event> for Happening {
    fn from(event: Event) -> Self {
        // What rooms store is JSON; should it not be, it is shown as the text it is.
        let detail = serde_json::from_str(&event.detail).unwrap_or(Value::String(event.detail));
        Self { at: Time(event.at), kind: event.kind, detail }
    }
}

async fn patiently(asked: impl Future<Output = Result<Value, String>>) -> Result<Value, String> {
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s; it may have asked for rest", PATIENCE.as_secs())))
}

/// The state that everything works towards.
fn wanted(node: &Node) -> &'static str {
    match node.state {
        State::Deleting | State::Deleted => "deleted",
        State::Taken | State::Reserved | State::Lost => "taken",
        _ if node.origin == super::records::Origin::Message => "taken",
        _ => "ready",
    }
}

fn at_schedule(what: &str, schedule: &str, schedules: &[ScheduleRecord]) -> Step {
    let found = schedules.iter().find(|record| record.schedule == schedule);
    Step { what: what.to_owned(), at: found.map(|record| Time(record.next_at)) }
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

fn next_of_stock(record: &StockRecord, is_held: bool, schedules: &[ScheduleRecord]) -> Step {
    if is_held {
        return Step::never("nothing, as long as it is held");
    }
    if let Some(reason) = &record.paused {
        return Step::never(format!("nothing is built until `capstan pool resume {}`: {reason}", record.stock));
    }
    let mut step = at_schedule("it is counted, and what is missing is built", "check_nodes", schedules);
    if step.at.is_some_and(|at| at.0 < record.not_before) {
        step = Step {
            what: "builds failed, so it rests; then what is missing is built".to_owned(),
            at: Some(Time(record.not_before)),
        };
    }
    step
}

fn next_of_job(job: &JobView) -> Step {
    match (job.state, job.next_run) {
        ("queued", at) => Step { what: format!("the job {} goes on", job.id), at },
        ("running", _) => Step::never(format!(
            "the job {} is at it{}",
            job.id,
            job.progress.text.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
        )),
        ("done", _) => Step::never("nothing: it is done"),
        _ => Step::never("nothing: `capstan job retry` queues it again"),
    }
}
