//! Taking a job on.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Job, model};
use crate::store::{Error, Transaction};

/// Within which bounds there is one job of a kind with a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unique {
    /// As long as the job is kept, also once it has ended: for requests that may arrive twice.
    WhileKept(String),
    /// Until it ends: for what is to be done by one at a time.
    WhileLive(String),
}

/// A job to be accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewJob {
    /// A ULID of now, or the client's own.
    pub id: String,
    /// What is to be done.
    pub kind: String,
    /// How it is to be done, as JSON.
    pub spec: String,
    /// Whether another one of the same key takes its place.
    pub unique: Option<Unique>,
    /// What it is about: the kind and the id, as in `node/01J…`.
    pub object: Option<String>,
    /// The generation of that object.
    pub generation: i64,
    /// How often it may be begun; at least 1.
    pub max_attempts: u32,
    /// Not before this time, in milliseconds since 1970; at once if none is given.
    pub not_before: Option<i64>,
    /// It fails when this time has come, in milliseconds since 1970.
    pub deadline: Option<i64>,
    /// The request that brought it about.
    pub request_id: Option<String>,
}

impl NewJob {
    /// A job with an id of its own, to be begun at once, and up to 5 times.
    pub fn new(kind: impl Into<String>, spec: impl Into<String>) -> Self {
        Self {
            id: new_id(),
            kind: kind.into(),
            spec: spec.into(),
            unique: None,
            object: None,
            generation: 0,
            max_attempts: 5,
            not_before: None,
            deadline: None,
            request_id: None,
        }
    }
}

/// What became of a job that was to be accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// There is one with this id or this key already, as it now is. Whether it was to do the same, `spec` tells.
    Known(Box<Job>),
    /// It is queued.
    New {
        /// Its id.
        id: String,
    },
}

impl Accepted {
    /// The id of the job that does what was asked for.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Known(job) => &job.id,
            Self::New { id } => id,
        }
    }
}

/// Queues a job, unless there is one with its id or key. It is safe to ask for the same job again.
///
/// # Errors
/// The store's.
pub fn accept(transaction: &mut Transaction<'_>, new: &NewJob) -> Result<Accepted, Error> {
    let now = transaction.now();
    let (key, while_live) = match &new.unique {
        None => (None, false),
        Some(Unique::WhileKept(key)) => (Some(key), false),
        Some(Unique::WhileLive(key)) => (Some(key), true),
    };
    let next_run = new.not_before.unwrap_or(now);
    let stored = transaction.execute(
        "INSERT INTO jobs (id, kind, unique_key, unique_while_live, object, spec, generation, state, attempt, max_attempts, \
         fence, next_run, deadline, cancel_requested, request_id, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued', 0, $8, 0, $9, $10, 0, $11, $12) ON CONFLICT DO NOTHING",
        &[
            &new.id,
            &new.kind,
            &key,
            &while_live,
            &new.object,
            &new.spec,
            &new.generation,
            &new.max_attempts.max(1),
            &next_run,
            &new.deadline,
            &new.request_id,
            &now,
        ],
    )?;
    if stored == 1 {
        transaction.brings_jobs();
        return Ok(Accepted::New { id: new.id.clone() });
    }
    let known = transaction.query(
        "SELECT * FROM jobs WHERE id = $1 UNION ALL \
         SELECT * FROM jobs WHERE kind = $2 AND unique_key = $3 AND id <> $1",
        &[&new.id, &new.kind, &key],
    )?;
    let known = known.first().ok_or_else(|| Error::NotFound(format!("job {}", new.id)))?;
    Ok(Accepted::Known(Box::new(model::job(known)?)))
}

/// Sorts by time, which keeps the rows that are written together close together.
fn new_id() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    ulid::Ulid::from_parts(milliseconds, uuid::Uuid::new_v4().as_u128()).to_string()
}
