//! API servers ("mgm"): where a pool manager registers the nodes that it built. Source: the seed's `MgmDriver`.

use serde::{Deserialize, Serialize};

use crate::{CallContext, Driver, DriverError, dispatch::interface};

/// Parameters of `add_node`: a new device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewDevice {
    /// Name of the node, which is its worker's function name.
    pub name: String,
    /// Address that the node is reached at.
    pub address: String,
    /// Floating address; none means the same as `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floating_address: Option<String>,
    /// Availability zone, a number on libra's wire.
    #[serde(default)]
    pub az: u32,
    /// Free text: `basename: B, image: I`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// Answer of `add_node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Added {
    /// The server took the device.
    pub accepted: bool,
    /// What the server answered, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<serde_json::Value>,
}

/// A device as the API server knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The server's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Address.
    #[serde(default)]
    pub address: String,
    /// `OFFLINE` (spare), `ONLINE`, `ERROR`, ...; an open string.
    pub status: String,
    /// What else the server says.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Answer of `usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All devices.
    pub total: u64,
    /// Spare ones.
    pub free: u64,
    /// Others.
    pub taken: u64,
}

/// Parameters of `list_nodes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListDevices {
    /// The `next` of the page before; none for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// Greatest number of entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of `list_nodes` and `failed_nodes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Devices {
    /// The devices.
    pub devices: Vec<Device>,
    /// Where the next page begins, in the server's own way of counting; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Names one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// The server's id.
    pub id: String,
}

/// Parameters of `update_node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateDevice {
    /// The server's id.
    pub id: String,
    /// `ONLINE` or `ERROR`.
    pub status: String,
    /// Why.
    pub description: String,
}

/// An API server.
pub trait MgmDriver: Driver {
    /// Number of spare devices.
    fn get_free_count(&self, call: &CallContext) -> Result<u64, DriverError>;

    /// Registers a device.
    fn add_node(&self, call: &CallContext, request: &NewDevice) -> Result<Added, DriverError>;

    /// Some server answers.
    fn is_online(&self, call: &CallContext) -> Result<bool, DriverError>;

    /// URL of the server in use, for logs.
    fn get_url(&self, call: &CallContext) -> Result<String, DriverError>;

    /// Counts of devices.
    fn usage(&self, _call: &CallContext) -> Result<Usage, DriverError> {
        Err(DriverError::not_supported("usage"))
    }

    /// Devices of the server, paged.
    fn list_nodes(&self, _call: &CallContext, _request: &ListDevices) -> Result<Devices, DriverError> {
        Err(DriverError::not_supported("list_nodes"))
    }

    /// One device.
    fn get_node(&self, _call: &CallContext, _request: &DeviceRequest) -> Result<Device, DriverError> {
        Err(DriverError::not_supported("get_node"))
    }

    /// Sets the status of a device.
    fn update_node(&self, _call: &CallContext, _request: &UpdateDevice) -> Result<(), DriverError> {
        Err(DriverError::not_supported("update_node"))
    }

    /// Removes a device; one that is not there answers `not_found`.
    fn delete_node(&self, _call: &CallContext, _request: &DeviceRequest) -> Result<(), DriverError> {
        Err(DriverError::not_supported("delete_node"))
    }

    /// Devices that the server counts as failed.
    fn failed_nodes(&self, _call: &CallContext) -> Result<Devices, DriverError> {
        Err(DriverError::not_supported("failed_nodes"))
    }
}

interface! {
    /// Exports a [`MgmDriver`].
    Mgm<D: MgmDriver> {
        get_free_count();
        add_node(NewDevice);
        is_online();
        get_url();
        usage();
        list_nodes(ListDevices);
        get_node(DeviceRequest);
        update_node(UpdateDevice);
        delete_node(DeviceRequest);
        failed_nodes();
    }
}
