//! Having a job: taking it, keeping it, and what happens when its owner is gone.

use std::{fmt::Write as _, time::Duration};

use super::{Job, JobLease, Progress, finish, model};
use crate::store::{Bind, Error, Transaction, leases::after};

/// What somebody is ready to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// Who: a name that no two processes share, and no process twice.
    pub owner: String,
    /// Which kinds of jobs.
    pub kinds: Vec<String>,
    /// How many at most.
    pub limit: u32,
    /// For how long, unless it is renewed. Renew after a third of it.
    pub lease: Duration,
}

/// What the owner of a job learns when it renews its lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Renewed {
    /// Until when it has the job now.
    pub until: i64,
    /// Somebody wants it to stop.
    pub cancel_requested: bool,
    /// The job's deadline has come: it should stop and fail.
    pub is_overdue: bool,
}

/// Takes jobs that are due, those that have waited longest first, after having put back what lost its owner.
///
/// # Errors
/// The store's.
pub fn claim(transaction: &mut Transaction<'_>, claim: &Claim) -> Result<Vec<Job>, Error> {
    recover(transaction, claim.limit.max(100))?;
    if claim.kinds.is_empty() || claim.limit == 0 {
        return Ok(Vec::new());
    }
    let now = transaction.now();
    let until = after(now, claim.lease);
    let mut kinds = String::new();
    for position in 0..claim.kinds.len() {
        // Writing to a String cannot fail.
        let _ = write!(kinds, "{}${}", if position == 0 { "" } else { ", " }, position + 5);
    }
    let sql = format!(
        "WITH due AS MATERIALIZED (SELECT id FROM jobs WHERE state = 'queued' AND next_run <= $3 \
         AND (deadline IS NULL OR deadline > $3) AND kind IN ({kinds}) ORDER BY next_run, id LIMIT $4{}) \
         UPDATE jobs SET state = 'running', attempt = attempt + 1, fence = fence + 1, lease_owner = $1, lease_until = $2, \
         progress_percent = NULL, progress_text = NULL WHERE id IN (SELECT id FROM due) RETURNING *",
        transaction.for_update_skip_locked()
    );
    let mut parameters: Vec<&dyn Bind> = vec![&claim.owner, &until, &now, &claim.limit];
    parameters.extend(claim.kinds.iter().map(|kind| kind as &dyn Bind));
    let mut jobs = transaction.query(&sql, &parameters)?.iter().map(model::job).collect::<Result<Vec<_>, _>>()?;
    jobs.sort_by(|a, b| (a.next_run, &a.id).cmp(&(b.next_run, &b.id)));
    Ok(jobs)
}

/// Puts back what lost its owner, and fails what can no longer be done: jobs whose lease ran out on their last attempt, and those
/// whose deadline has come. [`claim`] does it too; a sweep does it where nobody claims. Gives how many jobs it changed.
///
/// # Errors
/// The store's.
pub fn recover(transaction: &mut Transaction<'_>, limit: u32) -> Result<u64, Error> {
    let now = transaction.now();
    let lost = format!(
        "SELECT * FROM jobs WHERE state = 'running' AND lease_until <= $1 ORDER BY lease_until LIMIT $2{}",
        transaction.for_update_skip_locked()
    );
    let mut changed = 0;
    for row in transaction.query(&lost, &[&now, &limit])? {
        finish::owner_lost(transaction, &model::job(&row)?)?;
        changed += 1;
    }
    let overdue = format!(
        "SELECT * FROM jobs WHERE state = 'queued' AND deadline <= $1 AND finished_at IS NULL ORDER BY deadline LIMIT $2{}",
        transaction.for_update_skip_locked()
    );
    for row in transaction.query(&overdue, &[&now, &limit])? {
        finish::overdue(transaction, &model::job(&row)?)?;
        changed += 1;
    }
    Ok(changed)
}

/// Keeps a job for as long again.
///
/// # Errors
/// [`Error::LeaseLost`]: somebody else may have it now; stop.
pub fn renew(transaction: &mut Transaction<'_>, lease: &JobLease, duration: Duration) -> Result<Renewed, Error> {
    let now = transaction.now();
    let until = after(now, duration);
    let row = transaction.query_one(
        "UPDATE jobs SET lease_until = $1 WHERE id = $2 AND fence = $3 AND state = 'running' \
         RETURNING cancel_requested, deadline",
        &[&until, &lease.id, &lease.fence],
    )?;
    let row = row.ok_or_else(|| lost(lease))?;
    let deadline: Option<i64> = row.get("deadline")?;
    Ok(Renewed {
        until,
        cancel_requested: row.get("cancel_requested")?,
        is_overdue: deadline.is_some_and(|deadline| deadline <= now),
    })
}

/// Says how far the run is.
///
/// # Errors
/// [`Error::LeaseLost`]: somebody else may have it now; stop.
pub fn report(transaction: &mut Transaction<'_>, lease: &JobLease, progress: &Progress) -> Result<(), Error> {
    let percent = progress.percent.map(|percent| percent.min(100));
    held(lease, transaction.execute(
        "UPDATE jobs SET progress_percent = $1, progress_text = $2 WHERE id = $3 AND fence = $4 AND state = 'running'",
        &[&percent, &progress.text, &lease.id, &lease.fence],
    )?)
}

/// Keeps the handle of a driver's call that goes on, or forgets it: whoever runs the job next asks the driver for it first.
///
/// # Errors
/// [`Error::LeaseLost`]: somebody else may have it now; stop.
pub fn save_handle(transaction: &mut Transaction<'_>, lease: &JobLease, handle: Option<&[u8]>) -> Result<(), Error> {
    held(
        lease,
        transaction.execute(
            "UPDATE jobs SET handle = $1 WHERE id = $2 AND fence = $3 AND state = 'running'",
            &[&handle, &lease.id, &lease.fence],
        )?,
    )
}

/// One row was changed, or the lease is lost.
pub(super) fn held(lease: &JobLease, changed: u64) -> Result<(), Error> {
    if changed == 1 { Ok(()) } else { Err(lost(lease)) }
}

fn lost(lease: &JobLease) -> Error {
    Error::LeaseLost {
        name: format!("of job {}", lease.id),
        reason: format!("{} has it no longer under the number {}", lease.owner, lease.fence),
    }
}
