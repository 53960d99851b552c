//! Volumes and snapshots.

use serde::{Deserialize, Serialize};

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Size in GiB.
    pub size_gib: u64,
    /// `available`, `in_use`, `creating`, `deleting`, `error`; an open string.
    pub state: String,
    /// Id of the node that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Device name on that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Parameters of `create_volume`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateVolume {
    /// Its name.
    pub name: String,
    /// Size in GiB.
    pub size_gib: u64,
    /// Id of the location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Id of a snapshot to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// Names one volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VolumeRequest {
    /// The cloud's id.
    pub id: String,
}

/// Parameters of `attach_volume`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttachVolume {
    /// Id of the volume.
    pub id: String,
    /// Id of the node.
    pub node: String,
    /// Device name; none means the cloud's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A snapshot of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Id of the volume.
    pub volume: String,
    /// Size in GiB.
    #[serde(default)]
    pub size_gib: u64,
    /// As [`Volume::state`].
    pub state: String,
}

/// Parameters of `create_snapshot`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateSnapshot {
    /// Id of the volume.
    pub volume: String,
    /// Name of the snapshot.
    pub name: String,
}
