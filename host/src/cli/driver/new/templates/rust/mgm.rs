//! The mgm driver `@NAME@`: an API server that is a list in memory. Put your API server where the notes say so.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, Host, MgmDriver, driver,
    mgm::{Added, NewDevice},
};
use serde::Deserialize;

/// What stands in the entry's `config`; the host checks it against this before the driver is opened.
#[derive(Debug, Deserialize, ConfigSchema)]
#[serde(default)]
pub struct Config {
    /// Where the API server is.
    url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:8889".into() }
    }
}

pub struct ApiServer {
    config: Config,
    devices: Mutex<BTreeSet<String>>,
}

impl ApiServer {
    fn devices(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver for ApiServer {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        Ok(Self { config, devices: Mutex::default() })
    }
}

#[driver(name = "@NAME@", vendor = "Your company", description = "Registers nodes with your API server")]
impl MgmDriver for ApiServer {
    fn get_free_count(&self, _call: &CallContext) -> Result<u64, DriverError> {
        // Here: ask the API server how many devices nobody uses.
        Ok(self.devices().len() as u64)
    }

    fn add_node(&self, _call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        // Here: register the node. One that is there already is no error for the host, which may repeat a call.
        self.devices().insert(request.name.clone());
        Ok(Added { accepted: true, ..Added::default() })
    }

    fn is_online(&self, _call: &CallContext) -> Result<bool, DriverError> {
        Ok(true)
    }

    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        Ok(self.config.url.clone())
    }
}
