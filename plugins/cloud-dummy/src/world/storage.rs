//! Volumes and snapshots.

use capstan_plugin_api::{
    DriverError,
    cloud::{AttachVolume, CreateSnapshot, CreateVolume, List, Page, Snapshot, Volume},
};
use serde::{Deserialize, Serialize};

use super::{
    change::{Change, Plan, Turn},
    paging::few,
    shelf::{number, within},
    state::World,
};
use crate::{catalog::unknown, config::Settings};

/// A volume as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    name: String,
    size_gib: u64,
    /// Number of the node that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
}

/// A snapshot as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    name: String,
    volume: u64,
    size_gib: u64,
}

impl VolumeRecord {
    pub(super) fn detached(&self) -> Self {
        Self { node: None, device: None, ..self.clone() }
    }
}

impl World {
    pub(super) fn volume_gib(&self) -> u64 {
        self.volumes.items.values().map(|volume| volume.size_gib).fold(0, u64::saturating_add)
    }

    pub(crate) fn list_volumes(&self, request: &List, settings: &Settings) -> Result<Page<Volume>, DriverError> {
        let all = self.volumes.items.iter().map(|(number, record)| (*number, self.volume_view(*number, record)));
        few(request, settings.page_size, all, |volume| &volume.name)
    }

    pub(crate) fn create_volume(&self, request: &CreateVolume, turn: &Turn<'_>) -> Plan<Volume> {
        if let Some(location) = &request.location {
            self.contents().location(location)?;
        }
        let least = request.snapshot.as_deref().map(|id| self.snapshot(id)).transpose()?;
        let least = least.map_or(1, |(_, snapshot)| snapshot.size_gib);
        if request.size_gib < least {
            let found = request.size_gib;
            return Err(DriverError::invalid_argument(format!("the volume needs at least {least} GiB, not {found}")));
        }
        within("volumes", self.volumes.len(), 1, turn.settings.quotas.volumes)?;
        within("volume_gib", self.volume_gib(), request.size_gib, turn.settings.quotas.volume_gib)?;
        let number = self.volumes.made + 1;
        let record = VolumeRecord { name: request.name.clone(), size_gib: request.size_gib, node: None, device: None };
        let answer = self.volume_view(number, &record);
        Ok((vec![Change::Volume(number, Some(record))], answer))
    }

    pub(crate) fn delete_volume(&self, id: &str) -> Plan<()> {
        let (number, record) = self.volume(id)?;
        if record.node.is_some() {
            return Err(DriverError::conflict("the volume is attached; detach it first"));
        }
        Ok((vec![Change::Volume(number, None)], ()))
    }

    pub(crate) fn attach_volume(&self, request: &AttachVolume, turn: &Turn<'_>) -> Plan<Volume> {
        let (number, record) = self.volume(&request.id)?;
        let (node, _) = self.alive(&request.node, turn.now)?;
        if record.node.is_some() {
            return Err(DriverError::conflict("the volume is attached already"));
        }
        let on_it = self.volumes.items.values().filter(|volume| volume.node == Some(node));
        let devices: Vec<&str> = on_it.filter_map(|volume| volume.device.as_deref()).collect();
        let is_free = |device: &String| !devices.contains(&device.as_str());
        let device = match &request.device {
            Some(device) => Some(device.clone()).filter(is_free),
            None => (b'b'..=b'z').map(|letter| format!("/dev/vd{}", char::from(letter))).find(is_free),
        };
        let device = device.ok_or_else(|| DriverError::conflict("the node has no free device of this name"))?;
        let record = VolumeRecord { node: Some(node), device: Some(device), ..record.clone() };
        let answer = self.volume_view(number, &record);
        Ok((vec![Change::Volume(number, Some(record))], answer))
    }

    pub(crate) fn detach_volume(&self, id: &str) -> Plan<Volume> {
        let (number, record) = self.volume(id)?;
        if record.node.is_none() {
            return Err(DriverError::conflict("the volume is not attached"));
        }
        let record = record.detached();
        let answer = self.volume_view(number, &record);
        Ok((vec![Change::Volume(number, Some(record))], answer))
    }

    pub(crate) fn list_snapshots(&self, request: &List, settings: &Settings) -> Result<Page<Snapshot>, DriverError> {
        let all = self.snapshots.items.iter().map(|(number, record)| (*number, snapshot_view(*number, record)));
        few(request, settings.page_size, all, |snapshot| &snapshot.name)
    }

    pub(crate) fn create_snapshot(&self, request: &CreateSnapshot, turn: &Turn<'_>) -> Plan<Snapshot> {
        let (volume, VolumeRecord { size_gib, .. }) = self.volume(&request.volume)?;
        within("snapshots", self.snapshots.len(), 1, turn.settings.quotas.snapshots)?;
        let number = self.snapshots.made + 1;
        let record = SnapshotRecord { name: request.name.clone(), volume, size_gib: *size_gib };
        let answer = snapshot_view(number, &record);
        Ok((vec![Change::Snapshot(number, Some(record))], answer))
    }

    pub(crate) fn delete_snapshot(&self, id: &str) -> Plan<()> {
        let (number, _) = self.snapshot(id)?;
        Ok((vec![Change::Snapshot(number, None)], ()))
    }

    fn volume(&self, id: &str) -> Result<(u64, &VolumeRecord), DriverError> {
        let found = number("volume-", id).and_then(|number| Some((number, self.volumes.items.get(&number)?)));
        found.ok_or_else(|| unknown("volume", id))
    }

    fn snapshot(&self, id: &str) -> Result<(u64, &SnapshotRecord), DriverError> {
        let found = number("snapshot-", id).and_then(|number| Some((number, self.snapshots.items.get(&number)?)));
        found.ok_or_else(|| unknown("snapshot", id))
    }

    fn volume_view(&self, number: u64, record: &VolumeRecord) -> Volume {
        let node = record.node.and_then(|node| Some(self.nodes.items.get(&node)?.id(node)));
        Volume {
            id: format!("volume-{number}"),
            name: record.name.clone(),
            size_gib: record.size_gib,
            state: if node.is_some() { "in_use" } else { "available" }.to_owned(),
            node,
            device: record.device.clone(),
        }
    }
}

fn snapshot_view(number: u64, record: &SnapshotRecord) -> Snapshot {
    Snapshot {
        id: format!("snapshot-{number}"),
        name: record.name.clone(),
        volume: format!("volume-{}", record.volume),
        size_gib: record.size_gib,
        state: "available".to_owned(),
    }
}
