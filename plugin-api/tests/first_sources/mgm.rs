//! An API server of the first release, with the attribute and all that it takes.

use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, Host, MgmDriver, driver,
    mgm::{Added, Device, DeviceRequest, Devices, ListDevices, NewDevice, UpdateDevice, Usage},
};

/// An author without a serde of his own.
#[derive(capstan_plugin_api::serde::Deserialize, ConfigSchema)]
#[serde(crate = "capstan_plugin_api::serde")]
pub struct Config {
    url: String,
}

pub struct Acme(Config);

impl Driver for Acme {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        Ok(Self(config))
    }
}

#[driver(name = "acme", version = "1.0.0", vendor = "Acme", description = "An API server", serial_by = "none")]
impl MgmDriver for Acme {
    fn get_free_count(&self, _call: &CallContext) -> Result<u64, DriverError> {
        Ok(0)
    }

    fn add_node(&self, _call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        let NewDevice { name, address, floating_address, az, kind, .. } = request;
        let response = capstan_plugin_api::serde_json::json!([name, address, floating_address, az, kind]);
        Ok(Added { accepted: true, response: Some(response), ..Default::default() })
    }

    fn is_online(&self, _call: &CallContext) -> Result<bool, DriverError> {
        Ok(true)
    }

    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        Ok(self.0.url.clone())
    }

    fn usage(&self, _call: &CallContext) -> Result<Usage, DriverError> {
        Ok(Usage { total: 2, free: 1, taken: 1, ..Default::default() })
    }

    fn list_nodes(&self, call: &CallContext, request: &ListDevices) -> Result<Devices, DriverError> {
        let device = self.get_node(call, &DeviceRequest { id: "1".into(), ..Default::default() })?;
        Ok(Devices { devices: vec![device; request.limit.unwrap_or(1) as usize], ..Default::default() })
    }

    fn get_node(&self, _call: &CallContext, request: &DeviceRequest) -> Result<Device, DriverError> {
        Ok(Device { id: request.id.clone(), status: "OFFLINE".into(), ..Default::default() })
    }

    fn update_node(&self, _call: &CallContext, request: &UpdateDevice) -> Result<(), DriverError> {
        Err(DriverError::invalid_argument(format!("{}: {}", request.status, request.description)))
    }
}
