//! Registers nodes with libra's admin API (v1 devices), of which several servers may share one database.

mod settings;

use capstan_device_api::{Client, Tls};
use capstan_plugin_api::{
    CallContext, Driver, DriverError, Host, LogLevel, MgmDriver, driver,
    mgm::{Added, Device, DeviceRequest, Devices, ListDevices, NewDevice, UpdateDevice, Usage},
};
pub use settings::Settings;

/// The driver `hp_rest`.
pub struct HpRest {
    client: Client<Tls>,
}

impl Driver for HpRest {
    type Config = Settings;

    fn open(config: Settings, host: Host) -> Result<Self, DriverError> {
        let client = config.client()?;
        if config.tls && !config.verify {
            let warning = "verify = false: whoever stands between here and the API servers can read the token and answer in their place";
            host.log(LogLevel::Warn, warning);
        }
        Ok(Self { client })
    }
}

#[driver(name = "hp_rest", vendor = "Capstan", serial_by = "none")]
impl MgmDriver for HpRest {
    fn get_free_count(&self, call: &CallContext) -> Result<u64, DriverError> {
        Ok(self.client.usage(call)?.free)
    }

    fn add_node(&self, call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        self.client.add(call, request)
    }

    fn is_online(&self, call: &CallContext) -> Result<bool, DriverError> {
        self.client.is_online(call)
    }

    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        Ok(self.client.url())
    }

    fn usage(&self, call: &CallContext) -> Result<Usage, DriverError> {
        self.client.usage(call)
    }

    fn list_nodes(&self, call: &CallContext, request: &ListDevices) -> Result<Devices, DriverError> {
        self.client.list(call, request)
    }

    fn get_node(&self, call: &CallContext, request: &DeviceRequest) -> Result<Device, DriverError> {
        self.client.get(call, request)
    }

    fn update_node(&self, call: &CallContext, request: &UpdateDevice) -> Result<(), DriverError> {
        self.client.update(call, request)
    }

    fn delete_node(&self, call: &CallContext, request: &DeviceRequest) -> Result<(), DriverError> {
        self.client.delete(call, request)
    }
}
