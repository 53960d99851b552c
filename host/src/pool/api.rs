//! The API server as the pool sees it, through the mgm driver.

use std::ops::ControlFlow;

use capstan_plugin_api::{
    DriverError, ErrorCode,
    mgm::{Added, Device, DeviceRequest, Devices, ListDevices, NewDevice, UpdateDevice, Usage},
};
use serde_json::Value;

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
    handle: DriverHandle,
}

impl Api {
    /// The API server behind a driver.
    pub const fn new(handle: DriverHandle) -> Self {
        Self { handle }
    }

    /// The driver, as `kind.name`.
    pub fn driver(&self) -> String {
        format!("mgm.{}", self.handle.name())
    }

    /// The driver can tell which devices there are, so a node that is in use is known to be.
    pub fn lists(&self) -> bool {
        self.handle.has("list_nodes")
    }

    /// Some server answers.
    pub async fn is_online(&self) -> Result<bool, DriverError> {
        self.handle.call("is_online", &(), CallOptions::default()).await
    }

    /// The server in use, for logs.
    pub async fn url(&self) -> String {
        let url: Result<String, _> = self.handle.call("get_url", &(), CallOptions::default()).await;
        url.unwrap_or_else(|error| format!("an API server that does not tell its URL ({error})"))
    }

    /// Number of spare devices.
    pub async fn free_count(&self) -> Result<u64, DriverError> {
        self.handle.call("get_free_count", &(), CallOptions::default()).await
    }

    /// Counts of devices, where the driver has them.
    pub async fn usage(&self) -> Result<Option<Usage>, DriverError> {
        if !self.handle.has("usage") {
            return Ok(None);
        }
        self.handle.call("usage", &(), CallOptions::default()).await.map(Some)
    }

    /// Registers a device.
    pub async fn add(&self, device: &NewDevice) -> Result<Added, DriverError> {
        self.handle.call("add_node", device, CallOptions::default()).await
    }

    /// Hands over the devices, page by page, until there are no more or `take` breaks off.
    pub async fn devices(&self, mut take: impl FnMut(Vec<Device>) -> ControlFlow<()>) -> Result<(), DriverError> {
        let mut marker: Option<String> = None;
        let mut seen = 0_u64;
        for _ in 0..MOST_PAGES {
            let request = ListDevices { marker: marker.clone(), limit: Some(PAGE) };
            let page: Devices = self.handle.call("list_nodes", &request, CallOptions::default()).await?;
            let Some(last) = page.devices.last().map(|device| device.id.clone()) else { return Ok(()) };
            if marker.as_ref() == Some(&last) {
                // A server that knows no pages answers everything each time.
                return Ok(());
            }
            let number = u64::try_from(page.devices.len()).unwrap_or(u64::MAX);
            seen += number;
            let is_all = number < u64::from(PAGE);
            if take(page.devices).is_break() || is_all {
                return Ok(());
            }
            marker = Some(last);
        }
        Err(DriverError::internal(format!("the API server's list of devices does not end after {seen}")))
    }

    /// The device of this name; none where the driver cannot tell. With its id, where the driver can look one up, the list need not be
    /// walked; an id that is not its own any more says nothing.
    pub async fn device(&self, id: Option<&str>, name: &str) -> Result<Option<Device>, DriverError> {
        if !self.lists() {
            return Ok(None);
        }
        if let Some(id) = id.filter(|_| self.handle.has("get_node")) {
            let request = DeviceRequest { id: id.to_owned() };
            match self.handle.call::<_, Device>("get_node", &request, CallOptions::default()).await {
                Ok(device) if device.name == name => return Ok(Some(device)),
                Ok(_) => {}
                Err(error) if error.code == ErrorCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
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
        if !self.handle.has("update_node") {
            return Ok(());
        }
        let request = UpdateDevice { id: id.to_owned(), status: status.to_owned(), description: why.to_owned() };
        self.handle.call("update_node", &request, CallOptions::default()).await
    }

    /// Removes a device, where the driver can; one that is not there is no error.
    pub async fn delete(&self, id: &str) -> Result<(), DriverError> {
        if !self.handle.has("delete_node") {
            return Ok(());
        }
        match self
            .handle
            .call::<_, ()>("delete_node", &DeviceRequest { id: id.to_owned() }, CallOptions::default())
            .await
        {
            Err(error) if error.code != ErrorCode::NOT_FOUND => Err(error),
            _ => Ok(()),
        }
    }
}

/// The id in the server's answer to `add_node`, if it tells one.
pub(super) fn device_id(added: &Added) -> Option<String> {
    match added.response.as_ref()?.get("id")? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}
