//! The API server as the pool sees it, through the mgm driver.

use std::ops::ControlFlow;

use capstan_plugin_api::{
    DriverError, ErrorCode,
    mgm::{Added, Device, DeviceRequest, Devices, ListDevices, NewDevice, UpdateDevice, Usage},
};
use serde_json::Value;

use super::caller::Caller;
use crate::drivers::{CallOptions, DriverHandle};

/// Entries of one page of devices.
const PAGE: u32 = 1000;
/// A list that does not end is given up after so many pages.
const MOST_PAGES: usize = 10_000;
/// A device that nobody uses.
pub(super) const SPARE: &str = "OFFLINE";
/// A device that somebody uses.
pub(super) const USED: &str = "ONLINE";
/// A device that the API server wants deleted.
pub(super) const DELETED: &str = "DELETED";

/// The API server.
#[derive(Clone)]
pub struct Api {
    driver: Caller,
}

impl Api {
    /// The API server behind a driver.
    pub fn new(handle: DriverHandle) -> Self {
        Self { driver: Caller::new(handle) }
    }

    /// The driver, as `kind.name`.
    pub fn driver(&self) -> String {
        format!("mgm.{}", self.driver.name())
    }

    /// The driver can tell which devices there are, so a node that is in use is known to be.
    pub fn lists(&self) -> bool {
        self.driver.has("list_nodes")
    }

    /// Some server answers.
    pub async fn is_online(&self) -> Result<bool, DriverError> {
        self.driver.call("is_online", &(), CallOptions::default()).await
    }

    /// The server in use, for logs.
    pub async fn url(&self) -> String {
        let url: Result<String, _> = self.driver.call("get_url", &(), CallOptions::default()).await;
        url.unwrap_or_else(|error| format!("an API server that does not tell its URL ({error})"))
    }

    /// Number of spare devices.
    pub async fn free_count(&self) -> Result<u64, DriverError> {
        self.driver.call("get_free_count", &(), CallOptions::default()).await
    }

    /// Counts of devices, where the driver has them.
    pub async fn usage(&self) -> Result<Option<Usage>, DriverError> {
        if !self.driver.has("usage") {
            return Ok(None);
        }
        self.driver.call("usage", &(), CallOptions::default()).await.map(Some)
    }

    /// Registers a device.
    pub async fn add(&self, device: &NewDevice) -> Result<Added, DriverError> {
        self.driver.call("add_node", device, CallOptions::default()).await
    }

    /// Hands over the devices, page by page, until there are no more or `take` breaks off.
    pub async fn devices(&self, mut take: impl FnMut(Vec<Device>) -> ControlFlow<()>) -> Result<(), DriverError> {
        let mut marker: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let request = ListDevices { marker: marker.clone(), limit: Some(PAGE) };
            let page: Devices = self.driver.call("list_nodes", &request, CallOptions::default()).await?;
            // One that cannot be named cannot be compared either.
            let devices = page.devices.into_iter().filter(is_storable).collect();
            if take(devices).is_break() || page.next.is_none() {
                return Ok(());
            }
            if page.next == marker {
                return Err(DriverError::internal("the API server's list of devices goes in a circle"));
            }
            marker = page.next;
        }
        Err(DriverError::internal("the API server's list of devices does not end"))
    }

    /// The device of this id, if it has this name: an id that is not its own any more says nothing. None where the driver cannot tell.
    pub async fn by_id(&self, id: Option<&str>, name: &str) -> Result<Option<Device>, DriverError> {
        let Some(id) = id.filter(|_| self.driver.has("get_node")) else { return Ok(None) };
        let request = DeviceRequest { id: id.to_owned() };
        match self.driver.call::<_, Device>("get_node", &request, CallOptions::default()).await {
            Ok(device) => Ok(Some(device).filter(|device| device.name == name)),
            Err(error) if error.code == ErrorCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The device of this name; none where the driver cannot tell. With its id, where the driver can look one up, the list need not be
    /// walked.
    pub async fn device(&self, id: Option<&str>, name: &str) -> Result<Option<Device>, DriverError> {
        if !self.lists() {
            return Ok(None);
        }
        if let Some(device) = self.by_id(id, name).await? {
            return Ok(Some(device));
        }
        let mut found = None;
        self.devices(|page| {
            found = page.into_iter().find(|device| device.name == name);
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
        Ok(found)
    }

    /// Sets the status of a device, where the driver can.
    pub async fn update(&self, id: &str, status: &str, why: &str) -> Result<(), DriverError> {
        if !self.driver.has("update_node") {
            return Ok(());
        }
        let request = UpdateDevice { id: id.to_owned(), status: status.to_owned(), description: why.to_owned() };
        self.driver.call("update_node", &request, CallOptions::default()).await
    }

    /// Removes a device, where the driver can; one that is not there is no error.
    pub async fn delete(&self, id: &str) -> Result<(), DriverError> {
        if !self.driver.has("delete_node") {
            return Ok(());
        }
        match self
            .driver
            .call::<_, ()>("delete_node", &DeviceRequest { id: id.to_owned() }, CallOptions::default())
            .await
        {
            Err(error) if error.code != ErrorCode::NOT_FOUND => Err(error),
            _ => Ok(()),
        }
    }
}

/// Texts that the store takes.
fn is_storable(device: &Device) -> bool {
    ![&device.id, &device.name, &device.status].into_iter().any(|text| text.contains('\0'))
}

/// The id in the server's answer to `add_node`, if it tells one.
pub(super) fn device_id(added: &Added) -> Option<String> {
    match added.response.as_ref()?.get("id")? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}
