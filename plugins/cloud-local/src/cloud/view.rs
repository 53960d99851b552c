//! Nodes as they are seen.

use std::fs::TryLockError;

use capstan_plugin_api::{
    CallContext, DriverError,
    cloud::{Console, List, Node, Page, Tags, node_state},
};
use serde_json::json;

use super::{Cloud, catalog::LOCATION, failed, lists::page, no_node};
use crate::{
    node_folder::NodeFolder,
    record::{Record, Wanted},
    status::{Phase, Status, boot_id},
};

/// What `console_output` gives at most.
const MOST_CONSOLE: u64 = 64 << 10;
/// A node that is being stopped.
const STOPPING: &str = "stopping";

impl Cloud {
    pub fn list_nodes(&self, request: &List) -> Result<Page<Node>, DriverError> {
        let mut nodes: Vec<Node> = self.all()?.iter().filter_map(look).collect();
        nodes.retain(|node| request.tags.iter().all(|(name, value)| node.tags.get(name) == Some(value)));
        page(request, nodes, |node| &node.id, |node| Some(&node.name))
    }

    pub fn get_node(&self, id: &str) -> Result<Node, DriverError> {
        look(&self.find(id)?).ok_or_else(|| no_node(id))
    }

    pub fn console_output(&self, id: &str) -> Result<Console, DriverError> {
        let folder = self.find(id)?;
        Ok(Console { output: folder.tail(MOST_CONSOLE) })
    }

    pub fn set_tags(&self, call: &CallContext, request: &Tags) -> Result<(), DriverError> {
        let held = self.hold(call, &request.id)?;
        let mut record = held.record()?;
        record.tags.extend(request.set.clone());
        record.tags.retain(|name, _| !request.remove.contains(name));
        held.folder.save(&record).map_err(|error| failed("cannot keep the tags", held.folder.path(), &error))
    }
}

/// A node; none when it has gone meanwhile.
pub(super) fn look(folder: &NodeFolder) -> Option<Node> {
    match folder.record() {
        Ok(Some(record)) => Some(view(folder, record)),
        // Its folder goes.
        Ok(None) => None,
        Err(error) => Some(Node {
            id: folder.id().to_owned(),
            state: node_state::ERROR.to_owned(),
            fault: Some(format!("its record cannot be read ({error}); destroy it")),
            ..Node::default()
        }),
    }
}

pub(super) fn view(folder: &NodeFolder, record: Record) -> Node {
    // In this order: what a supervisor says last stays when it has gone.
    let lives = folder.is_supervised();
    let status = folder.status();
    let (state, fault) = state(folder, &record, status.as_ref(), lives);
    let mut extra = serde_json::Map::new();
    extra.insert("directory".to_owned(), json!(folder.disk()));
    if let Some(status) = status.filter(|status| lives && status.run == record.run) {
        extra.insert("supervisor_pid".to_owned(), json!(status.supervisor));
        extra.insert("pid".to_owned(), json!(status.program));
        extra.insert("starts".to_owned(), json!(status.starts));
    }
    Node {
        id: record.id,
        name: record.name,
        state: state.to_owned(),
        private_ips: vec![record.address.into()],
        public_ips: Vec::new(),
        image: Some(record.image),
        size: Some(record.size),
        location: Some(LOCATION.to_owned()),
        host: Some(rustix::system::uname().nodename().to_string_lossy().into_owned()),
        created_at: Some(record.created_at),
        tags: record.tags,
        fault,
        extra,
    }
}

/// The state, and for `error` the reason.
fn state(folder: &NodeFolder, record: &Record, status: Option<&Status>, lives: bool) -> (&'static str, Option<String>) {
    if record.wanted == Wanted::Gone {
        return (node_state::TERMINATED, None);
    }
    if let Some(fault) = &record.fault {
        return (node_state::ERROR, Some(fault.clone()));
    }
    // Whoever changes a node holds it: what it is not yet, it may become.
    let is_changing =
        || folder.changes().is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
    let current = status.filter(|status| status.run == record.run);
    if record.wanted == Wanted::Stopped {
        return (if lives { STOPPING } else { node_state::STOPPED }, None);
    }
    match current {
        Some(Status { phase: Phase::Failed, detail, .. }) => {
            (node_state::ERROR, Some(detail.clone().unwrap_or_else(|| "its program does not run".to_owned())))
        }
        Some(Status { phase: Phase::Ready, .. }) if lives => (node_state::RUNNING, None),
        Some(Status { phase: Phase::Starting | Phase::Waiting, was_ready: true, .. }) if lives => {
            (node_state::REBOOTING, None)
        }
        Some(Status { phase: Phase::Starting | Phase::Waiting, .. }) if lives => (node_state::PENDING, None),
        _ if is_changing() => (if record.run > 1 { node_state::REBOOTING } else { node_state::PENDING }, None),
        Some(status) if status.boot_id != boot_id() => (node_state::STOPPED, None),
        Some(Status { phase: Phase::Ended, .. }) => {
            (node_state::ERROR, Some("it was ended, and not through this cloud; reboot it or destroy it".to_owned()))
        }
        Some(_) => {
            let why = "its supervisor was killed, and its processes may be running; reboot it or destroy it";
            (node_state::ERROR, Some(why.to_owned()))
        }
        None => {
            let why = "its start was cut off; create it again with the same token, reboot it or destroy it";
            (node_state::ERROR, Some(why.to_owned()))
        }
    }
}
