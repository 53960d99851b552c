//! What an operator or a client does to a job that is not theirs to run.

use super::{Job, State, finish, get, model};
use crate::store::{Error, Transaction};

/// What cancelling came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cancelled {
    /// It had ended before.
    AlreadyEnded(State),
    /// It is over.
    AtOnce,
    /// Whoever runs it is asked to stop.
    Requested,
}

/// Ends a job that waits; asks whoever runs it to stop.
///
/// # Errors
/// [`Error::NotFound`]: there is no such job.
pub fn cancel(transaction: &mut Transaction<'_>, id: &str, reason: &str) -> Result<Cancelled, Error> {
    let job = locked(transaction, id)?;
    match job.state {
        State::Queued => {
            finish::end(transaction, &job, State::Cancelled, reason)?;
            Ok(Cancelled::AtOnce)
        }
        State::Running => {
            transaction.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = $1", &[&id])?;
            Ok(Cancelled::Requested)
        }
        ended => Ok(Cancelled::AlreadyEnded(ended)),
    }
}

/// Queues a job again that failed or was cancelled, with all its attempts before it and without a deadline.
///
/// # Errors
/// [`Error::NotFound`]: there is no such job. [`Error::Invalid`]: it has not failed.
pub fn retry(transaction: &mut Transaction<'_>, id: &str) -> Result<Job, Error> {
    let job = locked(transaction, id)?;
    if !matches!(job.state, State::Failed | State::Cancelled) {
        let state = job.state.as_str();
        return Err(Error::Invalid(format!(
            "job {id} is {state}; only one that failed or was cancelled is queued again"
        )));
    }
    transaction.execute(
        "UPDATE jobs SET state = 'queued', attempt = 0, next_run = $1, deadline = NULL, cancel_requested = 0, \
         finished_at = NULL WHERE id = $2",
        &[&transaction.now(), &id],
    )?;
    transaction.brings_jobs();
    get(transaction, id)?.ok_or_else(|| Error::NotFound(format!("job {id}")))
}

/// Forgets jobs in one state that ended before a time, `most` at once, so that nobody waits for long. Gives how many went; as many
/// as `most` means that there is more to do.
///
/// # Errors
/// The store's.
pub fn trim(transaction: &mut Transaction<'_>, state: State, ended_before: i64, most: u32) -> Result<u64, Error> {
    transaction.execute(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < $1 AND state = $2 ORDER BY finished_at LIMIT $3)",
        &[&ended_before, &state.as_str(), &most],
    )
}

fn locked(transaction: &mut Transaction<'_>, id: &str) -> Result<Job, Error> {
    let sql = format!("SELECT * FROM jobs WHERE id = $1{}", transaction.for_update());
    let row = transaction.query_one(&sql, &[&id])?.ok_or_else(|| Error::NotFound(format!("job {id}")))?;
    model::job(&row)
}
