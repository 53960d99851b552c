//! Nodes that were in stock or in use and were lost: what the breaker counts.

use super::Node;
use crate::store::{Error, Transaction};

/// The losses of stocks.
pub struct Loss;

impl Loss {
    /// Notes that a node was lost.
    pub fn note(tx: &mut Transaction<'_>, node: &Node, reason: &str) -> Result<(), Error> {
        let now = tx.now();
        tx.execute(
            "INSERT INTO pool_losses (id, stock, node, reason, at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, reason = excluded.reason",
            &[&node.id, &node.stock, &node.name, &reason, &now],
        )?;
        Ok(())
    }

    /// How many nodes of a stock were lost after a time.
    pub fn since(tx: &mut Transaction<'_>, stock: &str, after: i64) -> Result<usize, Error> {
        let row =
            tx.query_one("SELECT COUNT(*) AS n FROM pool_losses WHERE stock = $1 AND at > $2", &[&stock, &after])?;
        row.map_or(Ok(0), |row| row.get("n"))
    }

    /// Forgets what happened before a time.
    pub fn trim(tx: &mut Transaction<'_>, before: i64) -> Result<u64, Error> {
        tx.execute("DELETE FROM pool_losses WHERE at < $1", &[&before])
    }
}
