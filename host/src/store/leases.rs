//! Leases: who may do a thing until when. Each taking of a lease has a higher number, the fence; who acts under an older one is
//! refused by [`require`], whatever its clock says.

use std::time::Duration;

use super::{Error, Transaction};

/// A lease that was taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who has it: a name that no two processes share, and no process twice.
    pub holder: String,
    /// Higher than that of every earlier taking.
    pub fence: i64,
    /// When it runs out, in milliseconds since 1970.
    pub until: i64,
}

/// How an attempt to take a lease ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Acquired {
    /// It is ours.
    Taken(Lease),
    /// Somebody has it.
    Held {
        /// Who.
        holder: String,
        /// Until when, in milliseconds since 1970.
        until: i64,
    },
}

/// Takes a lease that nobody has. A holder that takes its own lease again gets a new fence, and what it does under the old one is
/// refused.
///
/// # Errors
/// The store's.
pub fn acquire(
    transaction: &mut Transaction<'_>,
    name: &str,
    holder: &str,
    duration: Duration,
) -> Result<Acquired, Error> {
    let now = transaction.now();
    let until = after(now, duration);
    let taken = transaction.query_one(
        "INSERT INTO leases (name, holder, fence, held_until) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = leases.fence + 1, held_until = excluded.held_until \
         WHERE leases.held_until <= $4 OR leases.holder = excluded.holder \
         RETURNING fence",
        &[&name, &holder, &until, &now],
    )?;
    if let Some(row) = taken {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        return Ok(Acquired::Taken(Lease { name, holder, fence: row.get("fence")?, until }));
    }
    let row = transaction
        .query_one("SELECT holder, held_until FROM leases WHERE name = $1", &[&name])?
        .ok_or_else(|| Error::NotFound(format!("lease {name}")))?;
    Ok(Acquired::Held { holder: row.get("holder")?, until: row.get("held_until")? })
}

/// Who took a lease last and has not given it back, whether or not it has run out.
///
/// # Errors
/// The store's.
pub fn last_holder(transaction: &mut Transaction<'_>, name: &str) -> Result<Option<String>, Error> {
    let row = transaction.query_one("SELECT holder FROM leases WHERE name = $1", &[&name])?;
    let holder: Option<String> = row.map(|row| row.get("holder")).transpose()?;
    Ok(holder.filter(|holder| !holder.is_empty()))
}

/// Extends a lease from now on, if it still holds.
///
/// # Errors
/// [`Error::LeaseLost`] when it ran out or somebody else took it.
pub fn renew(transaction: &mut Transaction<'_>, lease: &Lease, duration: Duration) -> Result<Lease, Error> {
    require(transaction, lease)?;
    let until = after(transaction.now(), duration);
    transaction.execute(
        "UPDATE leases SET held_until = $1 WHERE name = $2 AND fence = $3",
        &[&until, &lease.name, &lease.fence],
    )?;
    Ok(Lease { until, ..lease.clone() })
}

/// Gives a lease back, so that the next one need not wait for its end. One that is lost already is left alone.
///
/// # Errors
/// The store's.
pub fn release(transaction: &mut Transaction<'_>, lease: &Lease) -> Result<(), Error> {
    // The row stays, so that fences go on counting.
    transaction.execute(
        "UPDATE leases SET held_until = 0, holder = '' WHERE name = $1 AND fence = $2",
        &[&lease.name, &lease.fence],
    )?;
    Ok(())
}

/// Demands that a lease still holds, for as long as this transaction lasts: what is written in it is written under the lease or not
/// at all.
///
/// # Errors
/// [`Error::LeaseLost`] when it ran out or somebody else took it.
pub fn require(transaction: &mut Transaction<'_>, lease: &Lease) -> Result<(), Error> {
    let sql = format!("SELECT holder, fence, held_until FROM leases WHERE name = $1{}", transaction.for_update());
    let lost = |reason: String| Err(Error::LeaseLost { name: lease.name.clone(), reason });
    let Some(row) = transaction.query_one(&sql, &[&lease.name])? else {
        return lost("it was never taken".to_owned());
    };
    let (holder, fence, until): (String, i64, i64) = (row.get("holder")?, row.get("fence")?, row.get("held_until")?);
    if fence != lease.fence {
        return lost(format!("{holder} has it under the number {fence}, which is not {}", lease.fence));
    }
    let now = transaction.now();
    if until <= now {
        return lost(format!("it ran out {} ms ago", now - until));
    }
    Ok(())
}

/// Lets go of every lease and of every job that somebody holds. For a store that nobody else has open when it is opened: whoever
/// held them has ended, and need not be waited for.
pub(super) fn forget_holders(transaction: &mut Transaction<'_>) -> Result<(), Error> {
    let now = transaction.now();
    transaction.execute("UPDATE leases SET held_until = $1 WHERE held_until > $1", &[&now])?;
    transaction.execute("UPDATE jobs SET lease_until = $1 WHERE state = 'running' AND lease_until > $1", &[&now])?;
    Ok(())
}

/// Gives every lease back, as whoever held it would. For a store that is filled from a backup: how its holders of then ended is not
/// known from it.
pub(super) fn release_all(transaction: &mut Transaction<'_>) -> Result<(), Error> {
    transaction.execute("UPDATE leases SET held_until = 0, holder = ''", &[]).map(drop)
}

pub(super) fn after(now: i64, duration: Duration) -> i64 {
    now.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
