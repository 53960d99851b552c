//! The questions that are asked of the nodes.

use super::{COLUMNS, Node, State};
use crate::store::{Error, Transaction};

/// A spare node, as far as the API server's list is compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in the node
pub struct Spare {
    pub id: String,
    pub name: String,
    pub device: Option<String>,
    pub version: i64,
}

impl Node {
    /// The node of this id.
    pub fn find(tx: &mut Transaction<'_>, id: &str) -> Result<Option<Self>, Error> {
        Self::one(tx, "id = $1", id)
    }

    /// The node of this name.
    pub fn named(tx: &mut Transaction<'_>, name: &str) -> Result<Option<Self>, Error> {
        Self::one(tx, "name = $1", name)
    }

    /// The node that somebody means: by its id, its name, or the cloud's id, if that means one node alone. One that is not deleted
    /// comes before those that are.
    pub fn meant(tx: &mut Transaction<'_>, word: &str) -> Result<Option<Self>, Error> {
        if let Some(node) = Self::find(tx, word)? {
            return Ok(Some(node));
        }
        if let Some(node) = Self::named(tx, word)? {
            return Ok(Some(node));
        }
        let sql = format!("SELECT {COLUMNS} FROM pool_nodes WHERE node = $1 ORDER BY id LIMIT 100");
        let found = tx.query(&sql, &[&word])?.iter().map(Self::from_row).collect::<Result<Vec<_>, _>>()?;
        let (deleted, there): (Vec<_>, Vec<_>) = found.into_iter().partition(|node| node.state == State::Deleted);
        let mut found = if there.is_empty() { deleted } else { there };
        Ok(if found.len() == 1 { found.pop() } else { None })
    }

    /// The node of a stock that an owner has reserved or taken.
    pub fn owned(tx: &mut Transaction<'_>, stock: &str, owner: &str) -> Result<Option<Self>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE stock = $1 AND owner = $2 AND state IN ('reserved', 'taken') \
             ORDER BY id LIMIT 1"
        );
        let row = tx.query_one(&sql, &[&stock, &owner])?;
        row.as_ref().map(Self::from_row).transpose()
    }

    fn one(tx: &mut Transaction<'_>, condition: &str, value: &str) -> Result<Option<Self>, Error> {
        let row = tx.query_one(&format!("SELECT {COLUMNS} FROM pool_nodes WHERE {condition}"), &[&value])?;
        row.as_ref().map(Self::from_row).transpose()
    }

    /// The spare nodes of a stock that were well when they were last asked, the oldest first; at most so many.
    pub fn fit(tx: &mut Transaction<'_>, stock: &str, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE stock = $1 AND state = 'ready' AND health_failures = 0 \
             ORDER BY created, id LIMIT $2"
        );
        tx.query(&sql, &[&stock, &most])?.iter().map(Self::from_row).collect()
    }

    /// The spare nodes of a stock that have another key than this one or that entered it before a time, as far as either is given; the
    /// oldest first, at most so many.
    pub fn stale(
        tx: &mut Transaction<'_>,
        stock: &str,
        key: Option<&str>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE stock = $1 AND state = 'ready' \
             AND (key <> CAST($2 AS TEXT) OR ready_at < CAST($3 AS BIGINT)) ORDER BY created, id LIMIT $4"
        );
        tx.query(&sql, &[&stock, &key, &before, &most])?.iter().map(Self::from_row).collect()
    }

    /// Nodes whose reservation was over at a time; at most so many.
    pub fn reserved_until(tx: &mut Transaction<'_>, at: i64, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE state = 'reserved' AND held_until <= $1 ORDER BY id LIMIT $2"
        );
        tx.query(&sql, &[&at, &most])?.iter().map(Self::from_row).collect()
    }

    /// What the API server's list is compared with: the spare nodes, after `after` in the order of ids; at most so many.
    pub fn spare(tx: &mut Transaction<'_>, after: &str, most: usize) -> Result<Vec<Spare>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql =
            "SELECT id, name, device, version FROM pool_nodes WHERE state = 'ready' AND id > $1 ORDER BY id LIMIT $2";
        tx.query(sql, &[&after, &most])?
            .iter()
            .map(|row| {
                let (id, name, device) = (row.get("id")?, row.get("name")?, row.get("device")?);
                Ok(Spare { id, name, device, version: row.get("version")? })
            })
            .collect()
    }

    /// Nodes in a state after `after` in the order of ids; at most so many.
    pub fn in_state(tx: &mut Transaction<'_>, state: State, after: &str, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!("SELECT {COLUMNS} FROM pool_nodes WHERE state = $1 AND id > $2 ORDER BY id LIMIT $3");
        tx.query(&sql, &[&state.as_str(), &after, &most])?.iter().map(Self::from_row).collect()
    }

    /// All nodes of a cloud but those that are deleted, after `after` in the order of ids; at most so many.
    pub fn of_cloud(tx: &mut Transaction<'_>, cloud: &str, after: &str, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE cloud = $1 AND state <> 'deleted' AND id > $2 ORDER BY id LIMIT $3"
        );
        tx.query(&sql, &[&cloud, &after, &most])?.iter().map(Self::from_row).collect()
    }

    /// The stocks that have nodes, each with a cloud of theirs.
    pub fn stocks(tx: &mut Transaction<'_>) -> Result<Vec<(String, String)>, Error> {
        let sql = "SELECT stock, MIN(cloud) AS cloud FROM pool_nodes WHERE state <> 'deleted' AND origin <> 'orphan' \
                   GROUP BY stock ORDER BY stock";
        tx.query(sql, &[])?.iter().map(|row| Ok((row.get("stock")?, row.get("cloud")?))).collect()
    }

    /// Whether there are nodes of a stock, deleted ones too.
    pub fn is_of_some(tx: &mut Transaction<'_>, stock: &str) -> Result<bool, Error> {
        Ok(tx.query_one("SELECT 1 AS found FROM pool_nodes WHERE stock = $1 LIMIT 1", &[&stock])?.is_some())
    }

    /// Forgets nodes that were deleted before a time; at most so many.
    pub fn forget_deleted(tx: &mut Transaction<'_>, before: i64, most: u32) -> Result<u64, Error> {
        tx.execute(
            "DELETE FROM pool_nodes WHERE id IN \
             (SELECT id FROM pool_nodes WHERE state = 'deleted' AND updated < $1 ORDER BY updated LIMIT $2)",
            &[&before, &most],
        )
    }

    /// Nodes of a state and a stock, if they are given, else all but those that are deleted; after an id, at most so many.
    pub fn list(
        tx: &mut Transaction<'_>,
        state: Option<State>,
        stock: Option<&str>,
        after: &str,
        most: usize,
    ) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let state = state.map(State::as_str);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE id > $1 AND ((CAST($2 AS TEXT) IS NULL AND state <> 'deleted') OR state = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR stock = $3) ORDER BY id LIMIT $4"
        );
        tx.query(&sql, &[&after, &state, &stock, &most])?.iter().map(Self::from_row).collect()
    }
}
