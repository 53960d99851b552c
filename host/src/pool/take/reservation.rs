//! The time between the choice of a node and its hand-over: a row that is reserved, which goes back by itself.

use super::{Take, TakeError, meant::known};
use crate::{
    pool::{
        Pool,
        api::SPARE,
        records::{Node, ScheduleRecord, State},
        shared::note,
    },
    store::{Error, Transaction},
};

/// Reservations that end in one check of the stock.
const EXPIRED_AT_ONCE: usize = 1000;
/// Spare nodes that are looked at for one that suits.
const CANDIDATES: usize = 64;

impl Pool {
    /// How long a reservation holds, in milliseconds.
    pub(super) fn hold(&self) -> i64 {
        i64::try_from(self.settings().reservation.as_millis()).unwrap_or(i64::MAX)
    }

    /// Reservations whose time is over: back to the stock if the API server still counts the node as spare. Else their owner had it
    /// but for the last step, and has it now.
    pub(in crate::pool) async fn expire_reservations(&self) -> Result<(), TakeError> {
        let over = self.store().read(|tx| Node::reserved_until(tx, tx.now(), EXPIRED_AT_ONCE));
        for node in over.await? {
            let is_spare = !self.api().lists()
                || self
                    .api()
                    .device(node.device.as_deref(), &node.name)
                    .await
                    .map_err(|error| self.not_given(error))?
                    .is_none_or(|device| device.status == SPARE);
            self.store()
                .write(move |tx| {
                    let mut node = node.clone();
                    node.held_until = None;
                    if is_spare {
                        node.state = State::Ready;
                        node.owner = None;
                    } else {
                        node.state = State::Taken;
                    }
                    node.save(tx)?;
                    note(tx, &node, "reservation_ended")
                })
                .await?;
        }
        Ok(())
    }

    /// A reserved node is not handed out after all: it goes back with a mark against it, or counts as used by somebody else.
    pub(super) async fn put_back(&self, id: &str, is_unwell: bool, reason: &str) -> Result<(), Error> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.store()
            .write(move |tx| {
                let Some(mut node) = Node::find(tx, &id)?.filter(|node| node.state == State::Reserved) else {
                    return Ok(());
                };
                node.owner = None;
                node.held_until = None;
                node.reason.clone_from(&reason);
                if is_unwell {
                    node.state = State::Ready;
                    node.health_failures += 1;
                } else {
                    node.state = State::Taken;
                    ScheduleRecord::count_early(tx)?;
                }
                node.save(tx)
            })
            .await
            .inspect(|()| self.inner.news.count())
    }
}

/// Reserves the best spare node, or finds the one that the owner has already.
pub(super) fn reserve(
    tx: &mut Transaction<'_>,
    wanted: &Take,
    hold: i64,
) -> Result<Option<(Node, &'static str)>, TakeError> {
    if let Some(node) = Node::owned(tx, &wanted.stock, &wanted.owner)? {
        return Ok(Some((node, "unknown")));
    }
    let mut near = Vec::new();
    for id in &wanted.apart_from {
        near.extend(known(tx, id)?.host);
    }
    let candidates = Node::fit(tx, &wanted.stock, CANDIDATES)?;
    let is_apart = |node: &&Node| node.host.as_ref().is_some_and(|host| !near.contains(host));
    let chosen = if wanted.apart_from.is_empty() {
        candidates.first().map(|node| (node, "satisfied"))
    } else if near.is_empty() {
        candidates.first().map(|node| (node, "unknown"))
    } else {
        candidates.iter().find(is_apart).map(|node| (node, "satisfied")).or_else(|| {
            // Told honestly, rather than refused: one node is better than none.
            let unknown = candidates.iter().find(|node| node.host.is_none()).map(|node| (node, "unknown"));
            unknown.or_else(|| candidates.first().map(|node| (node, "impossible")))
        })
    };
    let Some((node, apart)) = chosen else { return Ok(None) };
    let mut node = node.clone();
    node.state = State::Reserved;
    node.owner = Some(wanted.owner.clone());
    node.held_until = Some(tx.now().saturating_add(hold));
    node.save(tx)?;
    Ok(Some((node, apart)))
}

/// The node is its owner's from now on.
pub(super) fn confirm(tx: &mut Transaction<'_>, id: &str) -> Result<Node, TakeError> {
    let node = Node::find(tx, id)?.filter(|node| node.state == State::Reserved);
    let Some(mut node) = node else {
        return Err(TakeError::NotNow(format!(
            "the reservation of node {id} ran out while it was prepared; ask again"
        )));
    };
    node.state = State::Taken;
    node.held_until = None;
    node.reason.clear();
    node.save(tx)?;
    note(tx, &node, "taken")?;
    ScheduleRecord::count_early(tx)?;
    Ok(node)
}
