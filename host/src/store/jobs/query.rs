//! Looking at jobs.

use std::collections::BTreeMap;

use super::{Job, State, model};
use crate::store::{Error, Transaction};

/// Which jobs are meant; what is not given does not matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// How far they are.
    pub state: Option<State>,
    /// What is to be done.
    pub kind: Option<String>,
    /// What they are about.
    pub object: Option<String>,
    /// From the newest to the oldest, not the other way.
    pub newest_first: bool,
    /// Those after this id in the order of the list: the last one of the page before.
    pub after: Option<String>,
}

/// A job.
///
/// # Errors
/// The store's.
pub fn get(transaction: &mut Transaction<'_>, id: &str) -> Result<Option<Job>, Error> {
    transaction.query_one("SELECT * FROM jobs WHERE id = $1", &[&id])?.as_ref().map(model::job).transpose()
}

/// Jobs in the order of their ids, which is that of their making, or in the opposite one.
///
/// # Errors
/// The store's.
pub fn list(transaction: &mut Transaction<'_>, filter: &Filter, limit: u32) -> Result<Vec<Job>, Error> {
    let state = filter.state.map(State::as_str);
    // Before and behind every id, so that a page begins at its key in the index.
    let (beyond, order, end) = if filter.newest_first { ("<", "DESC", "~") } else { (">", "ASC", "") };
    let after = filter.after.as_deref().unwrap_or(end);
    let rows = transaction.query(
        &format!(
            "SELECT * FROM jobs WHERE id {beyond} $1 \
             AND (CAST($2 AS TEXT) IS NULL OR state = $2) AND (CAST($3 AS TEXT) IS NULL OR kind = $3) \
             AND (CAST($4 AS TEXT) IS NULL OR object = $4) ORDER BY id {order} LIMIT $5"
        ),
        &[&after, &state, &filter.kind, &filter.object, &limit],
    )?;
    rows.iter().map(model::job).collect()
}

/// The jobs of an object that have not ended.
///
/// # Errors
/// The store's.
pub fn live_of_object(transaction: &mut Transaction<'_>, object: &str) -> Result<Vec<Job>, Error> {
    let rows =
        transaction.query("SELECT * FROM jobs WHERE object = $1 AND finished_at IS NULL ORDER BY id", &[&object])?;
    rows.iter().map(model::job).collect()
}

/// When the oldest job of these kinds was made that has not ended, in milliseconds since 1970.
///
/// # Errors
/// The store's.
pub fn oldest_live(transaction: &mut Transaction<'_>, kinds: &[&str]) -> Result<Option<i64>, Error> {
    let mut oldest: Option<i64> = None;
    for kind in kinds {
        // By state, for that is how live ones are indexed; all that have ended are passed over.
        let row = transaction.query_one(
            "SELECT MIN(created_at) AS oldest FROM (\
             SELECT created_at FROM jobs WHERE state = 'queued' AND kind = $1 UNION ALL \
             SELECT created_at FROM jobs WHERE state = 'running' AND kind = $1) AS live",
            &[kind],
        )?;
        let of_kind: Option<i64> = row.map_or(Ok(None), |row| row.get("oldest"))?;
        oldest = [oldest, of_kind].into_iter().flatten().min();
    }
    Ok(oldest)
}

/// How many jobs there are of each kind and state.
///
/// # Errors
/// The store's.
pub fn count(transaction: &mut Transaction<'_>) -> Result<BTreeMap<(String, State), u64>, Error> {
    let rows = transaction.query("SELECT kind, state, COUNT(*) AS number FROM jobs GROUP BY kind, state", &[])?;
    let mut counts = BTreeMap::new();
    for row in rows {
        let state: String = row.get("state")?;
        if let Some(state) = State::from_name(&state) {
            counts.insert((row.get("kind")?, state), row.get("number")?);
        }
    }
    Ok(counts)
}
