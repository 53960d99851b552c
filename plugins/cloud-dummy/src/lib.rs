//! A cloud in memory. Its nodes exist as long as the instance; two instances know nothing of each other.

mod inventory;

use std::sync::{Mutex, PoisonError};

use capstan_plugin_api::{
    CallContext, CloudDriver, ConfigSchema, Driver, DriverError, Host, Outcome,
    cloud::{CreateNode, Image, List, Node, NodeRequest, Page, Size},
    driver,
};
use inventory::{Inventory, images, page, sizes};
use serde::Deserialize;

/// Configuration of the driver `dummy`.
#[derive(Debug, Deserialize, ConfigSchema)]
#[serde(default)]
pub struct Config {
    /// Greatest number of nodes.
    max_nodes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_nodes: 100_000 }
    }
}

/// The driver `dummy`.
pub struct Dummy {
    inventory: Mutex<Inventory>,
}

impl Dummy {
    fn with<T>(&self, act: impl FnOnce(&mut Inventory) -> T) -> T {
        // Every change of the inventory is whole before anything can panic.
        act(&mut self.inventory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Driver for Dummy {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        Ok(Self { inventory: Mutex::new(Inventory::new(config.max_nodes)) })
    }
}

#[driver(name = "dummy", vendor = "Capstan", serial_by = "none")]
impl CloudDriver for Dummy {
    fn list_nodes(&self, _call: &CallContext, request: &List) -> Result<Page<Node>, DriverError> {
        self.with(|inventory| inventory.list(request))
    }

    fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Outcome<Node>, DriverError> {
        call.check()?;
        self.with(|inventory| inventory.create(request)).map(Outcome::Done)
    }

    fn destroy_node(&self, _call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        self.with(|inventory| inventory.destroy(&request.id)).map(Outcome::Done)
    }

    fn get_node(&self, _call: &CallContext, request: &NodeRequest) -> Result<Node, DriverError> {
        self.with(|inventory| inventory.get(&request.id).cloned())
    }

    fn list_images(&self, _call: &CallContext, request: &List) -> Result<Page<Image>, DriverError> {
        let images = images();
        page(request, images.iter().enumerate().map(|(i, image)| (i as u64, &image.name, None, image)))
    }

    fn list_sizes(&self, _call: &CallContext, request: &List) -> Result<Page<Size>, DriverError> {
        let sizes = sizes();
        page(request, sizes.iter().enumerate().map(|(i, size)| (i as u64, &size.name, None, size)))
    }
}
