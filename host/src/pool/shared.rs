//! What all parts of the pool share.

use std::{collections::BTreeMap, sync::Arc};

use capstan_plugin_api::{
    Secret,
    cloud::{CreateNode, Node as CloudNode},
    mgm::NewDevice,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{
    Api, Cloud, Enrolment, build, cloud, delete,
    figures::Tally,
    message::{self, MESSAGE},
    news::News,
    records::{Node, Origin, ScheduleRecord, Spec, State},
    settings::Settings,
};
use crate::{
    config, identity,
    jobs::Client,
    store::{
        Error, Store, Transaction,
        events::{self, NewEvent},
        jobs::{self as work, NewJob, Unique},
    },
};

/// Kind of the jobs that build nodes.
pub(super) const BUILD: &str = "pool.build";
/// Kind of the jobs that delete nodes.
pub(super) const DELETE: &str = "pool.delete";
/// Characters of a device's type that every API server keeps, as libra's column does.
const LONGEST_KIND: usize = 128;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub store: Store,
    pub api: Api,
    pub clouds: BTreeMap<String, Cloud>,
    pub settings: watch::Sender<Arc<Settings>>,
    /// Towards the nodes, for DIAGNOSTICS.
    nodes: Option<Client>,
    /// How builds ended.
    pub tally: Tally,
    pub news: News,
    /// By what nodes come to their certificates; none gives them no token.
    pub enrolment: Option<Enrolment>,
}

/// What makes nodes alike: any two with equal keys may replace each other.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StockKey(String);

impl StockKey {
    /// The key of nodes that are asked for like this, in this cloud and for this API server.
    pub fn of(cloud: &str, driver: &str, spec: &Spec) -> Self {
        let all =
            (cloud, driver, &spec.image, &spec.size, &spec.location, &spec.networks, &spec.security_groups, spec.az);
        // Tuples of texts and numbers can always be written.
        let text = serde_json::to_string(&all).unwrap_or_default();
        Self(Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// As it stands in rows and tags.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Pool {
    /// The pool of this section. `nodes` is the way to the workers on the nodes; `user_data` is what the files of the stocks say.
    pub fn new(
        store: Store,
        api: Api,
        clouds: impl IntoIterator<Item = Cloud>,
        section: config::Pool,
        nodes: Option<Client>,
        user_data: BTreeMap<String, Secret>,
        enrolment: Option<Enrolment>,
    ) -> Self {
        let clouds = clouds.into_iter().map(|cloud| (cloud.name.clone(), cloud)).collect();
        let (settings, _) = watch::channel(Arc::new(Settings { section, user_data }));
        let (tally, news) = (Tally::default(), News::default());
        Self { inner: Arc::new(Inner { store, api, clouds, settings, nodes, enrolment, tally, news }) }
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The way to the nodes, if they are to be asked how they are.
    pub(super) fn nodes_client(&self, settings: &Settings) -> Option<&Client> {
        self.inner.nodes.as_ref().filter(|_| settings.diagnostics)
    }

    pub(super) fn api(&self) -> &Api {
        &self.inner.api
    }

    /// The cloud of a node.
    pub(super) fn cloud(&self, name: &str) -> Result<&Cloud, String> {
        self.inner.clouds.get(name).ok_or_else(|| {
            format!("the cloud {name} is not in the farm any more; add [cloud_farm.{name}] again, or delete the node by hand")
        })
    }

    /// Handlers of the pool's jobs, by kind, with how many run at a time.
    pub fn handlers(&self, runner: crate::store::runner::Runner) -> crate::store::runner::Runner {
        let (builds, messages) = (self.settings().builds_at_once, self.settings().messages_at_once);
        runner
            .with(MESSAGE, messages, message::Runs(self.clone()))
            .with(BUILD, builds, build::Builder(self.clone()))
            .with(DELETE, builds, delete::Deleter(self.clone()))
    }

    /// The tags by which a node is known to be ours, and which one it is.
    pub(super) fn tags(&self, node: &Node) -> BTreeMap<String, String> {
        BTreeMap::from([
            (cloud::OWNER.to_owned(), self.store().deployment().to_owned()),
            (cloud::NODE.to_owned(), node.tag.clone()),
            (cloud::STOCK.to_owned(), node.stock.clone()),
            (cloud::KEY.to_owned(), node.key.clone()),
        ])
    }

    /// Whether what a cloud shows is the node of this row: by its tags, or, where the cloud has none, by its name, which holds our id.
    pub(super) fn is_ours(&self, found: &CloudNode, node: &Node) -> bool {
        match (found.tags.get(cloud::OWNER), found.tags.get(cloud::NODE)) {
            (Some(owner), Some(id)) => owner == self.store().deployment() && *id == node.tag,
            (Some(owner), None) => owner == self.store().deployment() && found.name == node.name,
            (None, _) => found.name == node.name,
        }
    }

    /// What the cloud is asked for.
    ///
    /// # Errors
    /// The store's: the node's token is kept there.
    pub(super) async fn request(&self, node: &Node) -> Result<CreateNode, Error> {
        let Spec { image, size, location, key_pair, security_groups, networks, .. } = node.spec.clone();
        Ok(CreateNode {
            name: node.name.clone(),
            image,
            size,
            location,
            key_pair,
            security_groups,
            networks,
            user_data: self.user_data(node).await?,
            tags: self.tags(node),
            client_token: node.id.clone(),
            ..CreateNode::default()
        })
    }

    /// What the API server is told.
    pub(super) fn device(&self, node: &Node) -> NewDevice {
        NewDevice {
            name: node.name.clone(),
            address: node.address.clone().unwrap_or_default(),
            floating_address: None,
            az: node.spec.az,
            kind: kind(&node.spec),
        }
    }
}

/// libra's text about a device, as far as the API server keeps it.
pub(super) fn kind(spec: &Spec) -> String {
    let text = format!("basename: {}, image: {}", spec.basename, spec.image_name);
    text.chars().take(LONGEST_KIND).collect()
}

/// A row for a node that is to be built, not yet written. Its name is made of its id: a new one, or one that is given.
pub(super) fn plan(stock: &config::Stock, key: &StockKey, spec: Spec, origin: Origin, id: Option<String>) -> Node {
    let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    Node {
        tag: id.clone(),
        stock: stock.name.clone(),
        key: key.as_str().to_owned(),
        name: if spec.basename.is_empty() { id.clone() } else { format!("{}-{id}", spec.basename) },
        cloud: stock.cloud.clone(),
        origin,
        spec,
        id,
        ..Node::default()
    }
}

/// What the log of events calls a node.
pub(super) fn object(id: &str) -> String {
    format!("node/{id}")
}

/// Notes what happened to a node.
pub(super) fn note(tx: &mut Transaction<'_>, node: &Node, kind: &str) -> Result<(), Error> {
    let detail = serde_json::json!({ "name": node.name, "state": node.state, "reason": node.reason });
    events::append(tx, &NewEvent::new(object(&node.id), kind, detail.to_string()))
}

/// Sees to it that a job is alive that leads a node out of its state. Safe to repeat.
pub(super) fn ensure_job(tx: &mut Transaction<'_>, node: &Node) -> Result<(), Error> {
    let kind = match node.state {
        State::Deleting => DELETE,
        state if state.is_being_built() => BUILD,
        _ => return Ok(()),
    };
    let spec = serde_json::json!({ "node": node.id }).to_string();
    let job = NewJob {
        unique: Some(Unique::WhileLive(node.id.clone())),
        object: Some(object(&node.id)),
        // A node is never given up by count: its row says what is wrong, and the job goes on at a growing distance.
        max_attempts: u32::MAX,
        ..NewJob::new(kind, spec)
    };
    work::accept(tx, &job).map(drop)
}

/// Has a node deleted because somebody asked for it, whatever is held.
pub(super) fn order_delete(tx: &mut Transaction<'_>, node: &mut Node, reason: &str) -> Result<(), Error> {
    node.ordered = true;
    begin_delete(tx, node, reason)
}

/// Has a node deleted: the intent and its job in one transaction.
pub(super) fn begin_delete(tx: &mut Transaction<'_>, node: &mut Node, reason: &str) -> Result<(), Error> {
    if node.origin == Origin::Stock
        && (node.state.is_being_built() || matches!(node.state, State::Ready | State::Failed))
    {
        ScheduleRecord::count_early(tx)?;
    }
    node.state = State::Deleting;
    reason.clone_into(&mut node.reason);
    node.missed = 0;
    node.save(tx)?;
    identity::expel(tx, &node.name, "the node is deleted")?;
    note(tx, node, "deleting")?;
    ensure_job(tx, node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_make_no_type_that_the_api_server_refuses() {
        let spec = Spec { basename: "b".repeat(91), image_name: "i".repeat(60), ..Spec::default() };
        let text = kind(&spec);
        assert!(text.starts_with("basename: bbb") && text.ends_with("iii"), "{text}");
        assert_eq!(text.len(), LONGEST_KIND);
    }
}
