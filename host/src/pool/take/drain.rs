//! What an operator does with a node, or an owner who no longer needs it: it leaves the stock, or the pool.

use super::{TakeError, meant::known, reservation::confirm};
use crate::{
    failpoint,
    pool::{
        Pool,
        records::{Node, State},
        shared::{note, order_delete},
    },
};

impl Pool {
    /// Takes a spare node out of the stock, to be looked at: it is in use from then on, and the stock builds another one. Whether it
    /// did: nothing is done with a node that somebody has already.
    ///
    /// # Errors
    /// [`TakeError`].
    pub async fn drain(&self, id: &str, reason: &str) -> Result<(Node, bool), TakeError> {
        let (id, reason, hold) = (id.to_owned(), reason.to_owned(), self.hold());
        let (node, is_drained) = self
            .store()
            .write(move |tx| {
                let mut node = known(tx, &id)?;
                match node.state {
                    State::Reserved | State::Taken => return Ok((node, false)),
                    State::Ready => {}
                    state => {
                        let what = state.as_str();
                        return Err(TakeError::NotNow(format!(
                            "node {} is {what}; only a spare one is drained",
                            node.name
                        )));
                    }
                }
                node.state = State::Reserved;
                node.owner = Some(format!("drained: {reason}"));
                node.held_until = Some(tx.now().saturating_add(hold));
                node.reason.clone_from(&reason);
                node.save(tx)?;
                note(tx, &node, "drained")?;
                Ok((node, true))
            })
            .await?;
        if !is_drained {
            return Ok((node, false));
        }
        let _in_use_all_the_same = self.claim_device(&node).await?;
        let id = node.id;
        let node = self.store().write(move |tx| confirm(tx, &id)).await?;
        self.inner.news.count();
        Ok((node, true))
    }

    /// Gives a node back that its owner no longer needs: it is not used again but replaced, since nobody knows what was done to it.
    ///
    /// # Errors
    /// [`TakeError`].
    pub async fn retire(&self, id: &str, reason: &str) -> Result<Node, TakeError> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.store()
            .write(move |tx| {
                let mut node = known(tx, &id)?;
                match node.state {
                    State::Deleted => {}
                    State::Deleting if node.ordered => {}
                    _ => {
                        // The row has one reason; what it said before is told by the events.
                        if !node.reason.is_empty() {
                            note(tx, &node, "given_back")?;
                        }
                        order_delete(tx, &mut node, &reason)?;
                    }
                }
                Ok(node)
            })
            .await
            .inspect(|_| {
                failpoint::reached("pool.delete.intended");
                self.inner.news.count();
            })
    }
}
