//! Which jobs of the pool may be queued again: one whose node's row it would lead on.

use super::{
    Pool,
    records::{Node, State},
    shared::{BUILD, DELETE},
};
use crate::{
    http::Retries,
    store::{Error, Transaction, jobs::Job},
};

impl Retries for Pool {
    fn refusal(&self, tx: &mut Transaction<'_>, job: &Job) -> Result<Option<String>, Error> {
        let leads_on: fn(State) -> bool = match job.kind.as_str() {
            BUILD => State::is_being_built,
            DELETE => |state| state == State::Deleting,
            _ => return Ok(None),
        };
        let id = job.object.as_deref().and_then(|object| object.strip_prefix("node/")).unwrap_or_default();
        let Some(node) = Node::find(tx, id)? else {
            return Ok(Some("the row of its node is not kept any more, so nothing would come of it".to_owned()));
        };
        Ok(match node.state {
            state if leads_on(state) => None,
            State::Deleted => Some(format!(
                "the row of its node is closed, so nothing would come of it; `capstan pool resume {}` builds another node",
                node.stock
            )),
            state => Some(format!(
                "its node is {}, from where it leads nowhere; `capstan explain {}` says what comes next",
                state.as_str(),
                node.id
            )),
        })
    }
}
