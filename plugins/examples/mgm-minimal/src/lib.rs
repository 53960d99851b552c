//! The smallest mgm driver: an API server that is a number of free devices and the names of those that were added.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, ErrorCode, Host, MgmDriver, driver,
    mgm::{Added, NewDevice},
};
use serde::Deserialize;

/// Configuration of the driver `minimal`.
#[derive(Debug, Deserialize, ConfigSchema)]
pub struct Config {
    /// Address that `get_url` answers.
    url: String,
}

/// The driver `minimal`.
pub struct Minimal {
    url: String,
    devices: Mutex<BTreeSet<String>>,
}

impl Driver for Minimal {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        Ok(Self { url: config.url, devices: Mutex::default() })
    }
}

#[driver(name = "minimal", vendor = "Capstan")]
impl MgmDriver for Minimal {
    fn get_free_count(&self, _call: &CallContext) -> Result<u64, DriverError> {
        Ok(self.devices.lock().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn add_node(&self, _call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        if !self.devices.lock().unwrap_or_else(PoisonError::into_inner).insert(request.name.clone()) {
            let message = format!("the server has a device {:?} already", request.name);
            return Err(DriverError::new(ErrorCode::ALREADY_EXISTS, message));
        }
        Ok(Added { accepted: true, ..Added::default() })
    }

    fn is_online(&self, _call: &CallContext) -> Result<bool, DriverError> {
        Ok(true)
    }

    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        Ok(self.url.clone())
    }
}
