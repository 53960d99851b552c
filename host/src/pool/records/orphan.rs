//! Nodes in a cloud that carry our tags and that no row explains.

use serde::Serialize;

use crate::{
    http::millis,
    store::{Error, Row, Transaction},
};

/// An orphan. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// Name of the cloud in the farm.
    pub cloud: String,
    /// The cloud's id.
    pub node: String,
    /// Its name.
    pub name: String,
    /// When it was first seen.
    #[serde(serialize_with = "millis")]
    pub first_seen: i64,
    /// When it was last seen.
    #[serde(serialize_with = "millis")]
    pub last_seen: i64,
    /// Why it counts as one.
    pub reason: String,
}

impl Orphan {
    /// Notes that one was seen; the answer has the time of the first sight, and is none when this was it.
    pub fn seen(
        tx: &mut Transaction<'_>,
        cloud: &str,
        node: &str,
        name: &str,
        reason: &str,
    ) -> Result<Option<Self>, Error> {
        let now = tx.now();
        let before = tx.query_one(
            "SELECT cloud, node, name, first_seen, last_seen, reason FROM pool_orphans WHERE cloud = $1 AND node = $2",
            &[&cloud, &node],
        )?;
        tx.execute(
            "INSERT INTO pool_orphans (cloud, node, name, first_seen, last_seen, reason) VALUES ($1, $2, $3, $4, $4, $5) \
             ON CONFLICT (cloud, node) DO UPDATE SET last_seen = excluded.last_seen, reason = excluded.reason",
            &[&cloud, &node, &name, &now, &reason],
        )?;
        before.as_ref().map(Self::from_row).transpose()
    }

    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            cloud: row.get("cloud")?,
            node: row.get("node")?,
            name: row.get("name")?,
            first_seen: row.get("first_seen")?,
            last_seen: row.get("last_seen")?,
            reason: row.get("reason")?,
        })
    }

    /// All that are known.
    pub fn all(tx: &mut Transaction<'_>) -> Result<Vec<Self>, Error> {
        let sql =
            "SELECT cloud, node, name, first_seen, last_seen, reason FROM pool_orphans ORDER BY first_seen LIMIT 1000";
        tx.query(sql, &[])?.iter().map(Self::from_row).collect()
    }

    /// Forgets those of a cloud that a sweep which began at `before` has not seen.
    pub fn forget_unseen(tx: &mut Transaction<'_>, cloud: &str, before: i64) -> Result<u64, Error> {
        tx.execute("DELETE FROM pool_orphans WHERE cloud = $1 AND last_seen < $2", &[&cloud, &before])
    }
}
