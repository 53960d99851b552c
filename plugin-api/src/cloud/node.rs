//! Nodes, images and sizes.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::Secret;

/// Parameters of every list: paged, filtered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// Where the page before ended; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Greatest number of entries; none means what the backend likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only objects of exactly this name. A backend that matches patterns is filtered by the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only objects that carry all these tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Cursor of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Page<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Names of [`Node::state`], an open string.
pub mod node_state {
    /// Being built.
    pub const PENDING: &str = "pending";
    /// Runs.
    pub const RUNNING: &str = "running";
    /// Restarts.
    pub const REBOOTING: &str = "rebooting";
    /// Stopped, can be started.
    pub const STOPPED: &str = "stopped";
    /// Being removed, or removed and still listed.
    pub const TERMINATED: &str = "terminated";
    /// The cloud gave up on it.
    pub const ERROR: &str = "error";
    /// A state that the driver does not know.
    pub const UNKNOWN: &str = "unknown";
}

/// A node (virtual machine).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The cloud's id.
    pub id: String,
    /// Its name; need not be unique in the cloud.
    pub name: String,
    /// One of [`node_state`].
    pub state: String,
    /// Addresses reachable from outside the cloud.
    #[serde(default)]
    pub public_ips: Vec<IpAddr>,
    /// Addresses inside the cloud.
    #[serde(default)]
    pub private_ips: Vec<IpAddr>,
    /// Id of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Id of its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Id of its location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The machine that it runs on, or what else stands and falls together there; nodes with the same value are not apart. None
    /// where the cloud doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Tags (metadata).
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Why it is in `error`, in the cloud's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What only this cloud has.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Parameters of `create_node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateNode {
    /// Name; the host makes it unique and searches by it after a crash.
    pub name: String,
    /// Id of the image.
    pub image: String,
    /// Id of the size.
    pub size: String,
    /// Id of the location; none means the cloud's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Name of the key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<String>,
    /// Names of security groups.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Ids of networks.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Handed to the node at its first start; may hold an enrolment token.
    #[serde(default)]
    pub user_data: Secret,
    /// Tags to set together with the node.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The same token asks for the same node, where the cloud has such a thing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_token: String,
    /// What only this cloud has.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Names one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeRequest {
    /// The cloud's id.
    pub id: String,
}

/// Parameters of `reboot_node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reboot {
    /// The cloud's id.
    pub id: String,
    /// Power off and on instead of asking the node.
    #[serde(default)]
    pub hard: bool,
}

/// Parameters of `set_tags`: tags to set, and names to remove.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tags {
    /// Id of the object.
    pub id: String,
    /// Tags to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Names of tags to remove.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// An image that nodes are made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What only this cloud has.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A size (flavor, instance type).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Memory in MiB.
    #[serde(default)]
    pub ram_mib: u64,
    /// Disk in GiB.
    #[serde(default)]
    pub disk_gib: u64,
    /// Virtual processors.
    #[serde(default)]
    pub vcpus: u32,
    /// What only this cloud has.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A place to build in (availability zone, region).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// ISO 3166 country code, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// Answer of `console_output`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Console {
    /// The last part of it, at most 64 KiB.
    pub output: String,
}

/// One limit of the account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// `nodes`, `vcpus`, `ram_mib`, `floating_ips`, ... An open string.
    pub name: String,
    /// Used now.
    pub used: u64,
    /// Limit; none means unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Answer of `quotas`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quotas {
    /// The limits.
    pub quotas: Vec<Quota>,
}
