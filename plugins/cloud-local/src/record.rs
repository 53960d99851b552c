//! What is written down of a node before anything runs for it.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    Running,
    Stopped,
    /// It is being destroyed.
    Gone,
}

/// A node as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    pub name: String,
    pub address: Ipv4Addr,
    pub image: String,
    pub size: String,
    /// RFC 3339.
    pub created_at: String,
    pub tags: BTreeMap<String, String>,
    pub client_token: String,
    pub wanted: Wanted,
    /// Counts the starts that were asked for; a status belongs to one of them. 0 until the node's files are there.
    pub run: u64,
    /// What runs; none until the node's files are there. A change of the image does not reach nodes that exist.
    pub plan: Option<Plan>,
    /// Why it could not be built.
    pub fault: Option<String>,
}

/// What the supervisor of a node runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub ready: Option<Ready>,
    pub ready_timeout_seconds: u32,
    pub restart: Restart,
    /// Between SIGTERM and SIGKILL.
    pub stop_seconds: u32,
    pub limits: Limits,
    /// This machine's address in the node's own network; none where it has none of its own.
    pub gateway: Option<Ipv4Addr>,
}

/// When a node counts as running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ready {
    /// Its TCP port takes a connection.
    Port(u16),
    /// Its HTTP server answers this path with 200.
    Http { port: u16, path: String },
    /// A file is there.
    File(PathBuf),
}

/// When a program that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Restart {
    /// So often within the window; one end more and the node is in error.
    pub limit: u32,
    pub window_seconds: u32,
    /// Before the first restart; doubled each time.
    pub delay_ms: u32,
    pub longest_delay_ms: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self { limit: 5, window_seconds: 60, delay_ms: 100, longest_delay_ms: 10_000 }
    }
}

/// What a node's processes may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Private memory of each process.
    pub memory_mib: u64,
    /// Open files of each process.
    pub files: u64,
    /// Processes of the node.
    pub processes: u64,
}
