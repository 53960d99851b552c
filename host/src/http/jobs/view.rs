//! A job as callers see it.

use serde::Serialize;
use serde_json::Value;

use crate::{
    http::time::Time,
    store::jobs::{Job, State},
};

/// As many attempts are a job's that is tried until it is done.
const UNBOUNDED: u32 = u32::MAX;

/// A job as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)] // as in the store's job
pub struct JobView {
    pub id: String,
    pub kind: String,
    pub object: Option<String>,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    pub state: &'static str,
    pub progress: ProgressView,
    pub attempt: u32,
    /// None for one that is tried until it is done.
    pub max_attempts: Option<u32>,
    pub cancel_requested: bool,
    pub created: Time,
    /// Not begun before this time; of a job that waits.
    pub next_run: Option<Time>,
    pub deadline: Option<Time>,
    pub finished: Option<Time>,
    pub spec: Value,
    pub result: Value,
    pub error: Option<String>,
    pub request_id: Option<String>,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)] // as in the store's job
pub struct ProgressView {
    pub percent: Option<u8>,
    pub text: Option<String>,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        // What a room stores is JSON; should it not be, it is shown as the text it is.
        let json = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self {
            id: job.id,
            kind: job.kind,
            object: job.object,
            state: job.state.as_str(),
            progress: ProgressView { percent: job.progress.percent, text: job.progress.text },
            attempt: job.attempt,
            max_attempts: Some(job.max_attempts).filter(|most| *most < UNBOUNDED),
            cancel_requested: job.cancel_requested,
            created: Time(job.created_at),
            next_run: (job.state == State::Queued).then_some(Time(job.next_run)),
            deadline: job.deadline.map(Time),
            finished: job.finished_at.map(Time),
            spec: json(job.spec),
            result: job.result.map_or(Value::Null, json),
            error: job.error,
            request_id: job.request_id,
        }
    }
}

impl JobView {
    /// It goes no further by itself.
    pub fn is_final(&self) -> bool {
        self.finished.is_some()
    }
}
