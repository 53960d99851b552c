//! The log of what happened to which object: append only, trimmed by age and number.

use super::{Error, Row, Transaction};

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewEvent {
    /// To what: the kind and the id, as in `node/01J…`.
    pub object: String,
    /// What, in a word.
    pub kind: String,
    /// More of it, as JSON.
    pub detail: String,
    /// The request that brought it about.
    pub request_id: Option<String>,
}

/// An event as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // as in `NewEvent`
pub struct Event {
    /// Grows with each event; numbers may be missing.
    pub sequence: i64,
    pub object: String,
    pub kind: String,
    pub detail: String,
    /// In milliseconds since 1970.
    pub at: i64,
    pub request_id: Option<String>,
}

impl NewEvent {
    /// An event without a request behind it.
    pub fn new(object: impl Into<String>, kind: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { object: object.into(), kind: kind.into(), detail: detail.into(), request_id: None }
    }
}

/// Adds an event, in the transaction that makes it true.
///
/// # Errors
/// The store's.
pub fn append(transaction: &mut Transaction<'_>, event: &NewEvent) -> Result<(), Error> {
    let now = transaction.now();
    transaction.execute(
        "INSERT INTO events (object, kind, detail, at, request_id) VALUES ($1, $2, $3, $4, $5)",
        &[&event.object, &event.kind, &event.detail, &now, &event.request_id],
    )?;
    Ok(())
}

/// The latest events of an object, or of all, newest first; those before a number, if one is given.
///
/// # Errors
/// The store's.
pub fn latest(
    transaction: &mut Transaction<'_>,
    object: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Event>, Error> {
    let before = before.unwrap_or(i64::MAX);
    let rows = match object {
        Some(object) => transaction.query(
            "SELECT * FROM events WHERE object = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3",
            &[&object, &before, &limit],
        ),
        None => transaction
            .query("SELECT * FROM events WHERE sequence < $1 ORDER BY sequence DESC LIMIT $2", &[&before, &limit]),
    }?;
    rows.iter().map(event).collect()
}

/// What came after a number, oldest first. With several daemons an event may become visible after one with a higher number: who
/// follows the log looks some seconds back.
///
/// # Errors
/// The store's.
pub fn since(transaction: &mut Transaction<'_>, sequence: i64, limit: u32) -> Result<Vec<Event>, Error> {
    let rows = transaction
        .query("SELECT * FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2", &[&sequence, &limit])?;
    rows.iter().map(event).collect()
}

/// Removes events from before a time, and the oldest beyond a number; at most `most` at once, so that nobody waits for long.
/// Gives how many went; as many as `most` means that there is more to do.
///
/// # Errors
/// The store's.
pub fn trim(transaction: &mut Transaction<'_>, before: i64, keep: i64, most: u32) -> Result<u64, Error> {
    let beyond = transaction
        .query_one("SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1 OFFSET $1", &[&keep])?
        .map_or(Ok(0), |row| row.get::<i64>("sequence"))?;
    transaction.execute(
        "DELETE FROM events WHERE sequence IN \
         (SELECT sequence FROM events WHERE at < $1 OR sequence <= $2 ORDER BY sequence LIMIT $3)",
        &[&before, &beyond, &most],
    )
}

fn event(row: &Row) -> Result<Event, Error> {
    Ok(Event {
        sequence: row.get("sequence")?,
        object: row.get("object")?,
        kind: row.get("kind")?,
        detail: row.get("detail")?,
        at: row.get("at")?,
        request_id: row.get("request_id")?,
    })
}
