//! How a run ends.

use std::time::Duration;

use super::{Job, JobLease, State, claim::held, model};
use crate::store::{Error, Transaction, leases::after};

/// The wait after a first failed attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Whether a failed attempt is followed by another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// After this time, if there are attempts left.
    After(Duration),
    /// After 1 s, doubled with each attempt, up to 5 min, if there are attempts left.
    Backoff,
    /// No.
    Never,
}

const END: &str = "UPDATE jobs SET state = $1, result = $2, error = $3, finished_at = $4, lease_owner = NULL, \
     lease_until = NULL, unique_key = CASE WHEN unique_while_live = 1 THEN NULL ELSE unique_key END \
     WHERE id = $5 AND fence = $6";

/// The job is done. Its result is kept until it is trimmed.
///
/// # Errors
/// [`Error::LeaseLost`]: somebody else may have it now; nothing is stored.
pub fn complete(transaction: &mut Transaction<'_>, lease: &JobLease, result: Option<&str>) -> Result<(), Error> {
    let now = transaction.now();
    let sql = format!("{END} AND state = 'running'");
    let none: Option<&str> = None;
    let changed = transaction.execute(&sql, &[&State::Done.as_str(), &result, &none, &now, &lease.id, &lease.fence])?;
    held(lease, changed)
}

/// The attempt failed: the job waits for its next one, or it has failed for good. One that was asked to stop is cancelled. Gives
/// the state it is in now.
///
/// # Errors
/// [`Error::LeaseLost`]: somebody else may have it now; nothing is stored.
pub fn fail(transaction: &mut Transaction<'_>, lease: &JobLease, reason: &str, retry: Retry) -> Result<State, Error> {
    let job = running(transaction, lease)?;
    let wait = match retry {
        Retry::After(wait) => Some(wait),
        Retry::Backoff => Some(backoff(job.attempt)),
        Retry::Never => None,
    };
    let next_run = wait.map(|wait| after(transaction.now(), wait));
    settle(transaction, &job, reason, next_run)
}

/// The run has stopped because it was asked to.
///
/// # Errors
/// [`Error::LeaseLost`]: somebody else may have it now; nothing is stored.
pub fn cancelled(transaction: &mut Transaction<'_>, lease: &JobLease, reason: &str) -> Result<(), Error> {
    let job = running(transaction, lease)?;
    end(transaction, &job, State::Cancelled, reason)
}

/// Gives a job back that was begun by nobody or left whole, at a shutdown: it is due at once, and the attempt does not count.
///
/// # Errors
/// [`Error::LeaseLost`]: somebody else may have it now; nothing is stored.
pub fn release(transaction: &mut Transaction<'_>, lease: &JobLease) -> Result<(), Error> {
    let job = running(transaction, lease)?;
    if job.cancel_requested {
        return end(transaction, &job, State::Cancelled, "cancelled before it was begun again");
    }
    transaction.execute(
        "UPDATE jobs SET state = 'queued', attempt = attempt - 1, lease_owner = NULL, lease_until = NULL, next_run = $1 \
         WHERE id = $2 AND fence = $3",
        &[&transaction.now(), &job.id, &job.fence],
    )?;
    transaction.brings_jobs();
    Ok(())
}

/// The lease of a running job ran out.
pub(super) fn owner_lost(transaction: &mut Transaction<'_>, job: &Job) -> Result<(), Error> {
    let owner = job.lease_owner.as_deref().unwrap_or_default();
    let reason =
        format!("{owner} did not renew its lease; it ended or hung in attempt {} of {}", job.attempt, job.max_attempts);
    let next_run = transaction.now();
    settle(transaction, job, &reason, Some(next_run)).map(drop)
}

/// The deadline of a queued job has come.
pub(super) fn overdue(transaction: &mut Transaction<'_>, job: &Job) -> Result<(), Error> {
    let reason = match &job.error {
        Some(error) => format!("not done by its deadline; the last attempt failed: {error}"),
        None => "not begun by its deadline".to_owned(),
    };
    end(transaction, job, State::Failed, &reason)
}

/// Where a running job goes from an attempt that came to nothing.
fn settle(transaction: &mut Transaction<'_>, job: &Job, reason: &str, next_run: Option<i64>) -> Result<State, Error> {
    if job.cancel_requested {
        end(transaction, job, State::Cancelled, reason)?;
        return Ok(State::Cancelled);
    }
    let Some(next_run) = next_run.filter(|_| job.attempt < job.max_attempts) else {
        end(transaction, job, State::Failed, reason)?;
        return Ok(State::Failed);
    };
    if job.deadline.is_some_and(|deadline| deadline <= next_run) {
        let reason = format!("{reason}; its deadline comes before another attempt");
        end(transaction, job, State::Failed, &reason)?;
        return Ok(State::Failed);
    }
    transaction.execute(
        "UPDATE jobs SET state = 'queued', lease_owner = NULL, lease_until = NULL, next_run = $1, error = $2 \
         WHERE id = $3 AND fence = $4",
        &[&next_run, &reason, &job.id, &job.fence],
    )?;
    transaction.brings_jobs();
    Ok(State::Queued)
}

pub(super) fn end(transaction: &mut Transaction<'_>, job: &Job, state: State, reason: &str) -> Result<(), Error> {
    let now = transaction.now();
    transaction.execute(END, &[&state.as_str(), &job.result, &reason, &now, &job.id, &job.fence])?;
    Ok(())
}

fn running(transaction: &mut Transaction<'_>, lease: &JobLease) -> Result<Job, Error> {
    let sql =
        format!("SELECT * FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running'{}", transaction.for_update());
    let row = transaction.query_one(&sql, &[&lease.id, &lease.fence])?;
    held(lease, u64::from(row.is_some()))?;
    row.as_ref().map(model::job).transpose()?.ok_or(Error::NotFound(format!("job {}", lease.id)))
}

fn backoff(attempt: u32) -> Duration {
    let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT)
}
