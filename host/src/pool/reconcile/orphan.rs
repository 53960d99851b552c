//! Nodes with our tags that no row explains: left alone until they were seen twice and are old enough, then deleted like any other.

use capstan_plugin_api::cloud::Node as CloudNode;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    failpoint,
    pool::{
        Cloud, Pool,
        build::now,
        cloud,
        hold::of_node,
        records::{Node, Origin, Orphan, State},
        shared::{ensure_job, note},
    },
    store::Error,
};

impl Pool {
    /// One that is old enough and was seen before is adopted, to be deleted.
    pub(super) async fn judge_orphan(&self, cloud: &Cloud, found: CloudNode, reason: String) -> Result<(), Error> {
        let made = found.created_at.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let made = made.and_then(|time| i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
        let (name, node, called, why) = (cloud.name.clone(), found.id.clone(), found.name.clone(), reason.clone());
        let before = self.store().write(move |tx| Orphan::seen(tx, &name, &node, &called, &why)).await?;
        failpoint::reached("pool.reconcile.orphan_seen");
        let Some(before) = before else {
            tracing::warn!(
                cloud = cloud.name,
                node = found.name,
                id = found.id,
                reason,
                "a node of ours that is not accounted for"
            );
            return Ok(());
        };
        let age = now().saturating_sub(made.unwrap_or(before.first_seen).min(before.first_seen));
        let limit = i64::try_from(self.settings().orphan_age.as_millis()).unwrap_or(i64::MAX);
        if age < limit {
            return Ok(());
        }
        // What was made between a backup and its restore is in no row, and may be in use. A cloud's clock may be behind ours or before it,
        // and its times rounded.
        if let Some(restored) = self.store().restored()
            && made.is_none_or(|made| {
                (restored.backup_of.saturating_sub(limit)..=restored.at.saturating_add(limit)).contains(&made)
            })
        {
            tracing::warn!(
                cloud = cloud.name,
                node = found.name,
                id = found.id,
                "a node that may have been made between the restored backup and its restore is left alone; delete it by hand if nobody \
                 uses it: `capstan node delete --force`"
            );
            return Ok(());
        }
        self.adopt_orphan(cloud, found, reason).await
    }

    /// An orphan gets a row of its own, which is deleted like any other.
    async fn adopt_orphan(&self, cloud: &Cloud, found: CloudNode, reason: String) -> Result<(), Error> {
        let cloud = cloud.name.clone();
        let stock = found.tags.get(cloud::STOCK).cloned().unwrap_or_default();
        let adopted = self
            .store()
            .write(move |tx| {
                let mut node = Node {
                    tag: found.tags.get(cloud::NODE).cloned().unwrap_or_default(),
                    id: uuid::Uuid::now_v7().to_string(),
                    stock: stock.clone(),
                    key: found.tags.get(cloud::KEY).cloned().unwrap_or_default(),
                    name: found.name.clone(),
                    cloud: cloud.clone(),
                    origin: Origin::Orphan,
                    state: State::Deleting,
                    node: Some(found.id.clone()),
                    reason: format!("orphan: {reason}"),
                    ..Node::default()
                };
                // It stays what it is: seen, and told of.
                if of_node(tx, &node)?.is_some() {
                    return Ok(());
                }
                // The name of a second node is taken by the first one's row.
                if Node::named(tx, &node.name)?.is_some() {
                    node.name = format!("{} (orphan {})", found.name, node.id);
                }
                node.insert(tx)?;
                note(tx, &node, "orphan")?;
                ensure_job(tx, &node)
            })
            .await;
        failpoint::reached("pool.reconcile.orphan_adopted");
        adopted
    }
}
