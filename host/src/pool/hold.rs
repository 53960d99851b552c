//! Holds as the pool understands them: over everything, the whole pool, a stock, or one node.
//!
//! While one holds, the pool begins no build for a stock, registers nothing again and deletes nothing by itself, also what it had
//! decided before. It goes on looking, and finishes what a cloud was asked to build. What a person or a message asks for is done.

use std::{future::Future, pin::Pin, time::Duration};

use super::{
    Pool,
    records::{Node, ScheduleRecord},
    shared::{begin_delete, note, object},
};
use crate::{
    http::HoldTargets,
    store::{
        Error, Transaction,
        holds::{self, Hold},
    },
};

/// The scope of the whole pool.
const POOL: &str = "pool";
/// How soon held work looks whether the hold is lifted.
pub(super) const LOOK: Duration = Duration::from_secs(5);

fn stock_scope(stock: &str) -> String {
    format!("stock/{stock}")
}

/// What holds a stock.
pub(super) fn of_stock(tx: &mut Transaction<'_>, stock: &str) -> Result<Option<Hold>, Error> {
    holds::first(tx, &[POOL, &stock_scope(stock)])
}

/// What holds a node.
pub(super) fn of_node(tx: &mut Transaction<'_>, node: &Node) -> Result<Option<Hold>, Error> {
    holds::first(tx, &[POOL, &stock_scope(&node.stock), &object(&node.id)])
}

/// The holds that concern the pool.
pub(super) fn all(tx: &mut Transaction<'_>) -> Result<Vec<Hold>, Error> {
    let concerns = |hold: &Hold| {
        [holds::ALL, POOL].contains(&hold.scope.as_str())
            || ["stock/", "node/"].iter().any(|kind| hold.scope.starts_with(kind))
    };
    Ok(holds::list(tx, "", 1000)?.into_iter().filter(concerns).collect())
}

/// A hold in one line.
pub(super) fn told(hold: &Hold) -> String {
    format!("held ({}) by {}: {}; `capstan hold lift {}` goes on", hold.scope, hold.by, hold.reason, hold.scope)
}

/// Has a node deleted because the pool itself found that it should be, and says whether it did. While it is held, the row says what
/// was found, and the next look finds it again.
pub(super) fn delete_unless_held(tx: &mut Transaction<'_>, node: &mut Node, reason: &str) -> Result<bool, Error> {
    if of_node(tx, node)?.is_none() {
        begin_delete(tx, node, reason)?;
        return Ok(true);
    }
    if node.reason != reason {
        reason.clone_into(&mut node.reason);
        node.save(tx)?;
        note(tx, node, "held")?;
    }
    Ok(false)
}

impl Pool {
    /// What holds a node, if anything does.
    pub(super) async fn held(&self, node: &Node) -> Result<Option<Hold>, Error> {
        let node = node.clone();
        self.store().read(move |tx| of_node(tx, &node)).await
    }
}

impl HoldTargets for Pool {
    fn scope<'a>(&'a self, word: &'a str) -> Pin<Box<dyn Future<Output = Result<Option<String>, Error>> + Send + 'a>> {
        Box::pin(async move {
            if word == POOL {
                return Ok(Some(POOL.to_owned()));
            }
            let stock = word.strip_prefix("stock/").unwrap_or(word);
            if self.settings().stock(stock).is_some() {
                return Ok(Some(stock_scope(stock)));
            }
            let found = self.show(word.strip_prefix("node/").unwrap_or(word)).await?;
            Ok(found.map(|(node, _)| object(&node.id)))
        })
    }

    fn lifted(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        ScheduleRecord::count_early(tx)
    }
}
