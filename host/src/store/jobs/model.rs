//! A job as it is kept.

use crate::store::{Error, Row};

/// How far a job is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Ended because somebody asked for that.
    Cancelled,
    /// Ended well; the result is kept.
    Done,
    /// Ended badly; the reason is kept, and it can be queued again.
    Failed,
    /// Waits for its turn, or for its next attempt.
    Queued,
    /// Somebody has it.
    Running,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// The name in the store and towards people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Queued => "queued",
            Self::Running => "running",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == name)
    }

    /// It goes no further by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Cancelled | Self::Done | Self::Failed)
    }
}

/// How far a job is within its run, for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: Option<u8>,
    /// What is being done.
    pub text: Option<String>,
}

/// A job. Times are milliseconds since 1970.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Job {
    /// A ULID, or what the client chose.
    pub id: String,
    /// What is to be done.
    pub kind: String,
    /// There is one job of a kind with this key.
    pub unique_key: Option<String>,
    /// What it is about: the kind and the id, as in `node/01J…`.
    pub object: Option<String>,
    /// How it is to be done, as JSON.
    pub spec: String,
    /// The generation of the object that is meant; who applies it refuses an older one than it has seen.
    pub generation: i64,
    /// How far it is.
    pub state: State,
    /// How often it was begun.
    pub attempt: u32,
    /// How often it may be begun.
    pub max_attempts: u32,
    /// Who has it, while it runs.
    pub lease_owner: Option<String>,
    /// Until when, while it runs.
    pub lease_until: Option<i64>,
    /// The number of the last claim.
    pub fence: i64,
    /// Not before this time.
    pub next_run: i64,
    /// It fails when this time has come.
    pub deadline: Option<i64>,
    /// Whoever runs it is asked to stop.
    pub cancel_requested: bool,
    /// How far the run is.
    pub progress: Progress,
    /// Of a driver's call that is still going on; the next run asks the driver for it first.
    pub handle: Option<Vec<u8>>,
    /// What came of it, as JSON.
    pub result: Option<String>,
    /// Why the last attempt, or the whole, failed.
    pub error: Option<String>,
    /// The request that brought it about.
    pub request_id: Option<String>,
    /// When it was accepted.
    pub created_at: i64,
    /// When it ended.
    pub finished_at: Option<i64>,
}

/// The right to change a job that runs, as of one claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobLease {
    /// The job.
    pub id: String,
    /// Who has it.
    pub owner: String,
    /// The number of the claim.
    pub fence: i64,
}

impl Job {
    /// The right that comes with having claimed it.
    #[must_use]
    pub fn lease(&self) -> JobLease {
        JobLease { id: self.id.clone(), owner: self.lease_owner.clone().unwrap_or_default(), fence: self.fence }
    }
}

/// A row of `jobs`.
pub(super) fn job(row: &Row) -> Result<Job, Error> {
    let state: String = row.get("state")?;
    Ok(Job {
        id: row.get("id")?,
        kind: row.get("kind")?,
        unique_key: row.get("unique_key")?,
        object: row.get("object")?,
        spec: row.get("spec")?,
        generation: row.get("generation")?,
        state: State::from_name(&state).ok_or_else(|| Error::Invalid(format!("found a job that is {state:?}")))?,
        attempt: row.get("attempt")?,
        max_attempts: row.get("max_attempts")?,
        lease_owner: row.get("lease_owner")?,
        lease_until: row.get("lease_until")?,
        fence: row.get("fence")?,
        next_run: row.get("next_run")?,
        deadline: row.get("deadline")?,
        cancel_requested: row.get("cancel_requested")?,
        progress: Progress { percent: row.get("progress_percent")?, text: row.get("progress_text")? },
        handle: row.get("handle")?,
        result: row.get("result")?,
        error: row.get("error")?,
        request_id: row.get("request_id")?,
        created_at: row.get("created_at")?,
        finished_at: row.get("finished_at")?,
    })
}
