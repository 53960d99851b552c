//! Changes, and what an operation is told.

use capstan_plugin_api::{
    DriverError,
    cloud::{KeyPair, SecurityGroup},
};
use serde::{Deserialize, Serialize};

use super::{
    addresses::IpRecord,
    node::Record,
    storage::{SnapshotRecord, VolumeRecord},
};
use crate::{config::Settings, faults::Fired};

/// A thing that is there from now on, by its number, or is not there any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Node(u64, Option<Record>),
    Ip(u64, Option<IpRecord>),
    Volume(u64, Option<VolumeRecord>),
    Snapshot(u64, Option<SnapshotRecord>),
    KeyPair(u64, Option<KeyPair>),
    SecurityGroup(u64, Option<SecurityGroup>),
    /// The greatest numbers given so far, in the order above; numbers are not given twice.
    Made([u64; 6]),
}

/// What an operation wants changed, and its answer.
pub(crate) type Plan<T> = Result<(Vec<Change>, T), DriverError>;

/// The circumstances of a call.
pub(crate) struct Turn<'a> {
    pub settings: &'a Settings,
    /// Milliseconds since 1970.
    pub now: i64,
    /// Milliseconds that a node takes until it runs.
    pub build_ms: i64,
    pub fired: &'a Fired,
}

/// An answer without a change.
pub(crate) fn nothing<T>(answer: T) -> Plan<T> {
    Ok((Vec::new(), answer))
}
