//! Holds: an operator's word that nothing is repaired, replaced, retired or deleted by itself, until it is lifted. What a person asks
//! for is done all the same.
//!
//! A hold has a scope: [`ALL`], a service by its name, or an object by kind and id, as in `node/01J…`. Services ask with [`first`],
//! in the transaction in which they decide, for all scopes that what they are about to change lies in.

use super::{Error, Row, Transaction};

/// The scope of a hold over everything.
pub const ALL: &str = "all";

/// A hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hold {
    /// What it holds.
    pub scope: String,
    /// Why, for people.
    pub reason: String,
    /// Who put it there.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Puts a hold on a scope. One that is there is told of anew, and keeps its time.
///
/// # Errors
/// The store's.
pub fn put(transaction: &mut Transaction<'_>, scope: &str, reason: &str, by: &str) -> Result<Hold, Error> {
    let now = transaction.now();
    let rows = transaction.query(
        "INSERT INTO holds (scope, reason, placed_by, placed_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason, placed_by = excluded.placed_by RETURNING scope, reason, placed_by, placed_at",
        &[&scope, &reason, &by, &now],
    )?;
    rows.first().map_or_else(|| Err(Error::NotFound(format!("hold of {scope}"))), hold)
}

/// Lifts the hold of a scope; none when there was none.
///
/// # Errors
/// The store's.
pub fn lift(transaction: &mut Transaction<'_>, scope: &str) -> Result<Option<Hold>, Error> {
    let rows = transaction
        .query("DELETE FROM holds WHERE scope = $1 RETURNING scope, reason, placed_by, placed_at", &[&scope])?;
    rows.first().map(hold).transpose()
}

/// The hold of this very scope.
///
/// # Errors
/// The store's.
pub fn get(transaction: &mut Transaction<'_>, scope: &str) -> Result<Option<Hold>, Error> {
    let sql = "SELECT scope, reason, placed_by, placed_at FROM holds WHERE scope = $1";
    transaction.query_one(sql, &[&scope])?.as_ref().map(hold).transpose()
}

/// The first of these scopes that is held, and by what; one over everything counts for all.
///
/// # Errors
/// The store's.
pub fn first(transaction: &mut Transaction<'_>, scopes: &[&str]) -> Result<Option<Hold>, Error> {
    for scope in [ALL].iter().chain(scopes) {
        if let Some(hold) = get(transaction, scope)? {
            return Ok(Some(hold));
        }
    }
    Ok(None)
}

/// Holds after a scope, in the order of scopes; at most so many.
///
/// # Errors
/// The store's.
pub fn list(transaction: &mut Transaction<'_>, after: &str, most: usize) -> Result<Vec<Hold>, Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let sql = "SELECT scope, reason, placed_by, placed_at FROM holds WHERE scope > $1 ORDER BY scope LIMIT $2";
    transaction.query(sql, &[&after, &most])?.iter().map(hold).collect()
}

fn hold(row: &Row) -> Result<Hold, Error> {
    Ok(Hold {
        scope: row.get("scope")?,
        reason: row.get("reason")?,
        by: row.get("placed_by")?,
        at: row.get("placed_at")?,
    })
}
