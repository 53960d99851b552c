//! Nodes as people name them.

use super::TakeError;
use crate::{pool::records::Node, store::Transaction};

/// The node that somebody means.
pub(super) fn known(tx: &mut Transaction<'_>, id: &str) -> Result<Node, TakeError> {
    Node::meant(tx, id)?.ok_or_else(|| TakeError::NotThere(unknown(id)))
}

/// What is said of a node that the pool does not know.
pub(in crate::pool) fn unknown(id: &str) -> String {
    format!(
        "there is no node {id:?} in the pool by its id, its name or an id of the cloud's that one node alone has; `capstan pool nodes` lists all"
    )
}
