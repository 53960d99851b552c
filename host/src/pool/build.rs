//! Building one node: from the intent to the stock, one step at a time, each written down before and after it is done.

mod check;
mod create;
mod register;
mod wait;

pub(super) use create::now;

use std::{future::Future, pin::Pin, time::Duration};

use serde_json::json;

use super::{
    Pool,
    fault::Fault,
    records::{Node, Origin, State, StockRecord},
    shared::{begin_delete, note},
};
use crate::store::{
    Error, Transaction,
    runner::{Handler, Next, Running, Stop},
};

/// The first wait after a build that failed; it doubles with each further one of the stock.
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest wait after builds that failed.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// What a step came to.
pub(super) enum Step {
    /// The row has a new state; go on from there.
    On(Box<Node>),
    /// The run ends here.
    End(Next),
}

/// Runs jobs of kind `pool.build`.
pub(super) struct Builder(pub Pool);

impl Handler for Builder {
    fn run(&self, running: Running) -> Pin<Box<dyn Future<Output = Result<Next, Error>> + Send + '_>> {
        Box::pin(async move {
            let outcome = self.0.build(&running).await;
            self.0.inner.news.tell(&subject(&running));
            outcome
        })
    }
}

/// The id of the node that a job is about.
pub(super) fn subject(running: &Running) -> String {
    let spec: serde_json::Value = serde_json::from_str(&running.job.spec).unwrap_or_default();
    spec["node"].as_str().unwrap_or_default().to_owned()
}

impl Pool {
    /// Leads a node as far as it goes.
    async fn build(&self, running: &Running) -> Result<Next, Error> {
        let id = subject(running);
        let found = self.store().read({
            let id = id.clone();
            move |tx| Node::find(tx, &id)
        });
        let Some(mut node) = found.await? else {
            return Ok(Next::Failed(format!("there is no node {id} in the pool")));
        };
        loop {
            match running.stop() {
                Some(Stop::Ending) => return Ok(Next::Released),
                Some(Stop::Cancelled) => {
                    return self.give_up(running, node, Fault::Cancelled, "the build was cancelled").await;
                }
                None => {}
            }
            let step = match node.state {
                State::Planned => self.create(running, node).await?,
                State::Building => self.wait(running, node).await?,
                State::Checking => self.check(running, node).await?,
                State::Registering => self.register(running, node).await?,
                state => {
                    return Ok(Next::Done(json!({ "node": node.id, "name": node.name, "state": state })));
                }
            };
            match step {
                Step::On(next) => node = *next,
                Step::End(next) => return Ok(next),
            }
        }
    }

    /// Writes a node as it now is.
    pub(super) async fn save(&self, running: &Running, node: Node, kind: Option<&'static str>) -> Result<Node, Error> {
        running
            .write(move |tx| {
                let mut node = node.clone();
                node.save(tx)?;
                if let Some(kind) = kind {
                    note(tx, &node, kind)?;
                }
                Ok(node)
            })
            .await
    }

    /// The build came to nothing and what there is of the node is to be deleted.
    pub(super) async fn give_up(
        &self,
        running: &Running,
        mut node: Node,
        fault: Fault,
        reason: &str,
    ) -> Result<Next, Error> {
        // Who cancels a build wants what there is of it gone, whatever is held.
        node.ordered = fault == Fault::Cancelled;
        let delete = |tx: &mut Transaction<'_>, node: &mut Node| {
            let reason = node.reason.clone();
            begin_delete(tx, node, &reason)
        };
        self.failed(running, node, fault, reason, delete).await
    }

    /// Nothing was made: the row is closed.
    pub(super) async fn not_made(
        &self,
        running: &Running,
        mut node: Node,
        fault: Fault,
        reason: &str,
    ) -> Result<Next, Error> {
        node.state = State::Deleted;
        let close = |tx: &mut Transaction<'_>, node: &mut Node| {
            node.save(tx)?;
            note(tx, node, "not_made")
        };
        self.failed(running, node, fault, reason, close).await
    }

    /// The node is there and not fit for the stock: it is tested again later. One that was asked for by message is deleted: who asked
    /// gets another one.
    pub(super) async fn set_aside(
        &self,
        running: &Running,
        mut node: Node,
        fault: Fault,
        reason: &str,
    ) -> Result<Next, Error> {
        if node.origin == Origin::Message {
            return self.give_up(running, node, fault, reason).await;
        }
        node.state = State::Failed;
        let keep = |tx: &mut Transaction<'_>, node: &mut Node| {
            node.save(tx)?;
            note(tx, node, "failed")
        };
        self.failed(running, node, fault, reason, keep).await
    }

    /// How every build ends that comes to nothing: the row says why, `leave` writes what becomes of the node, and the stock rests for a
    /// while.
    async fn failed(
        &self,
        running: &Running,
        mut node: Node,
        fault: Fault,
        reason: &str,
        leave: fn(&mut Transaction<'_>, &mut Node) -> Result<(), Error>,
    ) -> Result<Next, Error> {
        reason.clone_into(&mut node.reason);
        let (stock, told) = (node.stock.clone(), format!("{}: {reason}", node.name));
        running
            .write(move |tx| {
                let mut node = node.clone();
                leave(tx, &mut node)?;
                note_failure(tx, &node)
            })
            .await?;
        self.inner.tally.failed(&stock, fault);
        Ok(Next::Failed(told))
    }
}

/// A build of a stock failed: the next one waits, longer each time.
fn note_failure(tx: &mut Transaction<'_>, node: &Node) -> Result<(), Error> {
    let mut record = StockRecord::find(tx, &node.stock)?;
    let doubled = 1_u32.checked_shl(record.failures).unwrap_or(u32::MAX);
    let rest = FIRST_REST.saturating_mul(doubled).min(LONGEST_REST);
    record.failures = record.failures.saturating_add(1);
    record.not_before = tx.now().saturating_add(i64::try_from(rest.as_millis()).unwrap_or(i64::MAX));
    record.last_error.clone_from(&node.reason);
    record.save(tx)
}
