//! Comparing each cloud's list with the rows.
//!
//! What the cloud has and no row explains is an orphan: seen twice and old enough, it is deleted, if its tags say that it is ours. What
//! a row says is there and the cloud does not list is lost when the cloud says twice that it is not there.

mod orphan;

use std::collections::{BTreeMap, HashMap, HashSet};

use capstan_plugin_api::{
    DriverError,
    cloud::{Node as CloudNode, node_state},
};

use super::{
    Cloud, Pool,
    build::now,
    cloud,
    hold::delete_unless_held,
    records::{CloudRecord, Loss, Node, Origin, Orphan, State},
    shared::{ensure_job, note},
};
use crate::{failpoint, store::Error};

/// How long a deleted node can still be looked up: 30 days, in milliseconds.
const KEPT: i64 = 30 * 86_400_000;
/// Rows of deleted nodes that go in one comparison.
const FORGOTTEN_AT_ONCE: u32 = 1000;
/// Rows that are read at once.
const PAGE: usize = 1000;
/// The cloud has to say so often that a node is not there.
const SIGHTS: u32 = 2;

/// What a row says about a node of a cloud, as far as it is compared.
struct Known {
    id: String,
    name: String,
    state: State,
    node: Option<String>,
    missed: u32,
    is_given_up: bool,
}

/// Which rows the cloud's list bears out, by our id.
#[derive(Default)]
struct Seen {
    /// All that are there.
    rows: HashSet<String>,
    /// Of those that the cloud had given up: the ones that it runs again.
    recovered: HashSet<String>,
}

/// The rows of a cloud: by our id, and how they are found.
#[derive(Default)]
struct Rows {
    rows: HashMap<String, Known>,
    /// Our id by the cloud's.
    by_node: HashMap<String, String>,
    /// Our id by the one that the tags carry.
    by_tag: HashMap<String, String>,
}

impl Pool {
    /// Compares every cloud. One that does not answer is told of and compared the next time.
    pub(super) async fn reconcile(&self) -> Result<(), Error> {
        self.ensure_jobs().await?;
        self.forget().await?;
        for cloud in self.inner.clouds.values() {
            let began = now();
            let outcome = self.compare(cloud, began).await?;
            let (name, error) =
                (cloud.name.clone(), outcome.as_ref().err().map(ToString::to_string).unwrap_or_default());
            if !error.is_empty() {
                tracing::warn!(cloud = name, error, "the cloud cannot be compared with the rows");
            }
            let listed = outcome.ok();
            self.store()
                .write(move |tx| {
                    let mut record = CloudRecord::find(tx, &name)?;
                    record.last_error.clone_from(&error);
                    if let Some(listed) = listed {
                        record.reconciled_at = Some(tx.now());
                        record.listed = Some(listed);
                    }
                    record.save(tx)
                })
                .await?;
        }
        Ok(())
    }

    /// Forgets nodes that were deleted long ago, and old losses.
    async fn forget(&self) -> Result<(), Error> {
        self.store()
            .write(|tx| {
                let before = tx.now().saturating_sub(KEPT);
                Loss::trim(tx, before)?;
                Node::forget_deleted(tx, before, FORGOTTEN_AT_ONCE).map(drop)
            })
            .await
    }

    /// No row waits without a job that leads it on.
    async fn ensure_jobs(&self) -> Result<(), Error> {
        for state in State::ALL.into_iter().filter(|state| state.needs_a_job()) {
            let mut after = String::new();
            loop {
                let from = after.clone();
                let nodes = self.store().read(move |tx| Node::in_state(tx, state, &from, PAGE)).await?;
                let Some(last) = nodes.last() else { break };
                after.clone_from(&last.id);
                self.store().write(move |tx| nodes.iter().try_for_each(|node| ensure_job(tx, node))).await?;
            }
        }
        Ok(())
    }

    /// One cloud; answers how many nodes of ours it listed.
    async fn compare(&self, cloud: &Cloud, began: i64) -> Result<Result<u64, DriverError>, Error> {
        let Rows { rows, by_node, by_tag } = self.known(&cloud.name).await?;
        let tags = BTreeMap::from([(cloud::OWNER.to_owned(), self.store().deployment().to_owned())]);
        let mut listed = 0_u64;
        let mut seen = Seen::default();
        let mut odd: Vec<(CloudNode, Option<String>)> = Vec::new();
        let outcome = cloud.tagged(tags, |page| {
            for node in page {
                listed += 1;
                // By the cloud's id; a row that has none yet, by the tag.
                let by_its_tag = || node.tags.get(cloud::NODE).and_then(|tag| by_tag.get(tag));
                let row = by_node.get(&node.id).or_else(by_its_tag).and_then(|id| rows.get(id));
                let is_known = row.is_some_and(|row| row.node.as_ref().is_none_or(|known| *known == node.id));
                let is_well = !matches!(node.state.as_str(), node_state::ERROR | node_state::TERMINATED);
                match row {
                    Some(row) if is_known && (is_well || row.state.needs_a_job()) => {
                        seen.rows.insert(row.id.clone());
                        // What is neither running nor in error may become either.
                        if row.is_given_up && node.state == node_state::RUNNING {
                            seen.recovered.insert(row.id.clone());
                        }
                    }
                    row => odd.push((node, row.map(|row| row.id.clone()))),
                }
            }
            Ok(())
        });
        if let Err(error) = outcome.await {
            return Ok(Err(error));
        }
        for (node, row) in odd {
            self.judge_odd(cloud, row.and_then(|id| rows.get(&id)), node, &mut seen).await?;
        }
        for known in rows.into_values() {
            let is_led = known.state.needs_a_job();
            if !seen.rows.contains(&known.id) {
                self.judge_unseen(cloud, known).await?;
            } else if !is_led && seen.recovered.contains(&known.id) {
                self.well_again(known.id).await?;
            } else if !is_led && known.missed > 0 {
                self.seen_again(known.id).await?;
            }
        }
        let name = cloud.name.clone();
        self.store().write(move |tx| Orphan::forget_unseen(tx, &name, began)).await?;
        Ok(Ok(listed))
    }

    /// The rows of a cloud.
    async fn known(&self, cloud: &str) -> Result<Rows, Error> {
        let mut known = Rows::default();
        let mut after = String::new();
        loop {
            let (cloud, from) = (cloud.to_owned(), after.clone());
            let page = self.store().read(move |tx| Node::of_cloud(tx, &cloud, &from, PAGE)).await?;
            let Some(last) = page.last() else { return Ok(known) };
            after.clone_from(&last.id);
            for node in page {
                let is_given_up = node.is_given_up();
                let Node { id, tag, name, state, node, missed, origin, .. } = node;
                known.by_node.extend(node.clone().map(|node| (node, id.clone())));
                // An orphan's tag is that of the node which it doubles.
                if origin != Origin::Orphan {
                    known.by_tag.insert(tag, id.clone());
                }
                known.rows.insert(id.clone(), Known { id, name, state, node, missed, is_given_up });
            }
        }
    }

    /// A node with our tags that is not as a row says.
    async fn judge_odd(
        &self,
        cloud: &Cloud,
        row: Option<&Known>,
        found: CloudNode,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        if found.state == node_state::TERMINATED {
            return Ok(());
        }
        let reason = match row {
            Some(row) if row.node.as_deref() == Some(&found.id) => {
                seen.rows.insert(row.id.clone());
                // An id that is listed twice is in error as long as one of the two is.
                seen.recovered.remove(&row.id);
                return self.in_error(&row.id, &found).await;
            }
            Some(row) => format!("a second node for {}", row.id),
            None => "no row knows it".to_owned(),
        };
        self.judge_orphan(cloud, found, reason).await
    }

    /// A node of a row that the cloud has given up.
    async fn in_error(&self, id: &str, found: &CloudNode) -> Result<(), Error> {
        let (id, fault) =
            (id.to_owned(), found.fault.clone().unwrap_or_else(|| "the cloud does not say why".to_owned()));
        let in_use = self
            .store()
            .write(move |tx| {
                let Some(mut node) = Node::find(tx, &id)? else { return Ok(None) };
                let reason = Node::given_up(&fault);
                match node.state {
                    State::Ready => {
                        if delete_unless_held(tx, &mut node, &reason)? {
                            Loss::note(tx, &node, &reason)?;
                        }
                        Ok(None)
                    }
                    // Whoever uses it decides what becomes of it.
                    State::Taken | State::Reserved if node.reason != reason => {
                        node.reason = reason;
                        node.save(tx)?;
                        note(tx, &node, "in_error")?;
                        Ok(Some(node))
                    }
                    _ => Ok::<_, Error>(None),
                }
            })
            .await?;
        if let Some(node) = in_use {
            let (name, owner, reason) = (&node.name, &node.owner, &node.reason);
            tracing::error!(
                node = name,
                owner,
                reason,
                "a node in use is in error; retire it, or mend it in the cloud"
            );
        }
        Ok(())
    }

    /// A node that the cloud had given up runs.
    async fn well_again(&self, id: String) -> Result<(), Error> {
        let node = self
            .store()
            .write(move |tx| {
                let is_meant = |node: &Node| {
                    node.is_given_up() && matches!(node.state, State::Ready | State::Reserved | State::Taken)
                };
                let Some(mut node) = Node::find(tx, &id)?.filter(is_meant) else { return Ok(None) };
                node.reason.clear();
                node.missed = 0;
                node.save(tx)?;
                note(tx, &node, "well_again")?;
                Ok::<_, Error>(Some(node))
            })
            .await?;
        if let Some(node) = node {
            tracing::info!(node = node.name, owner = node.owner, "a node that the cloud gave up runs again");
        }
        Ok(())
    }

    /// A node that was missed once is there.
    async fn seen_again(&self, id: String) -> Result<(), Error> {
        self.store()
            .write(move |tx| {
                let Some(mut node) = Node::find(tx, &id)?.filter(|node| node.state != State::Deleting) else {
                    return Ok(());
                };
                node.missed = 0;
                node.save(tx)
            })
            .await
    }

    /// A row that the list does not bear out.
    async fn judge_unseen(&self, cloud: &Cloud, known: Known) -> Result<(), Error> {
        if !matches!(known.state, State::Ready | State::Reserved | State::Taken) {
            return Ok(());
        }
        let Some(node) = known.node.clone() else { return Ok(()) };
        // A list may lag behind; the node itself is asked for.
        let there = match cloud.get(&node, &known.name).await {
            Ok(found) => found.is_some_and(|found| found.state != node_state::TERMINATED),
            Err(error) => {
                tracing::warn!(cloud = cloud.name, node, %error, "a node that is not listed cannot be asked for");
                return Ok(());
            }
        };
        if there {
            return Ok(());
        }
        let id = known.id;
        let is_lost = known.missed + 1 >= SIGHTS;
        self.store()
            .write(move |tx| {
                let Some(mut node) = Node::find(tx, &id)?.filter(|node| node.state == known.state) else {
                    return Ok(());
                };
                if !is_lost {
                    node.missed += 1;
                    return node.save(tx);
                }
                let reason = "the cloud does not have it any more";
                if node.state == State::Ready {
                    if delete_unless_held(tx, &mut node, reason)? {
                        Loss::note(tx, &node, reason)?;
                    }
                    return Ok(());
                }
                Loss::note(tx, &node, reason)?;
                node.state = State::Lost;
                node.reason = format!("{reason}; `capstan pool retire` takes it off the API server and closes it");
                node.save(tx)?;
                note(tx, &node, "lost")
            })
            .await?;
        if is_lost {
            failpoint::reached("pool.reconcile.lost_recorded");
            tracing::error!(cloud = cloud.name, node, "a node is lost");
        }
        Ok(())
    }
}
