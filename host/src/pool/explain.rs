//! Everything that is known about one object of the pool, and what happens to it next by itself: a node, a stock, a job.

mod job;
mod node;
mod stock;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{Cloud, Pool, records::ScheduleRecord};
use crate::{
    http::{HoldView, JobView, Time},
    store::{Error, events::Event, jobs},
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
        match self.store().read(move |tx| jobs::get(tx, &id)).await? {
            Some(job) => self.explain_job(job).await.map(Some),
            None => Ok(None),
        }
    }
}

impl From<Event> for Happening {
    fn from(event: Event) -> Self {
        // What rooms store is JSON; should it not be, it is shown as the text it is.
        let detail = serde_json::from_str(&event.detail).unwrap_or(Value::String(event.detail));
        Self { at: Time(event.at), kind: event.kind, detail }
    }
}

/// A cloud that asked for rest is not asked.
fn awake(cloud: &Cloud) -> Result<(), String> {
    let rest = cloud.resting();
    if rest.is_zero() { Ok(()) } else { Err(format!("it asked for rest, {} s more", rest.as_secs() + 1)) }
}

async fn patiently(asked: impl Future<Output = Result<Value, String>>) -> Result<Value, String> {
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s; it may have asked for rest", PATIENCE.as_secs())))
}

/// What a schedule does the next time that it runs.
fn at_schedule(what: &str, schedule: &str, schedules: &[ScheduleRecord]) -> Step {
    let found = schedules.iter().find(|record| record.schedule == schedule);
    Step { what: what.to_owned(), at: found.map(|record| Time(record.next_at)) }
}
