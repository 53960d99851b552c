//! The driver `local`: each method of the trait, on its way to the cloud.

use capstan_plugin_api::{
    CallContext, CloudDriver, Driver, DriverError, Health, Host, Outcome,
    cloud::{
        AllocateIp, AssignIp, Console, CreateNode, FloatingIp, Image, Ip, List, Location, Node, NodeRequest, Page,
        Quotas, Reboot, Size, Tags,
    },
    driver,
};

use crate::{
    cloud::Cloud,
    config::{self, Config},
};

/// The driver `local`.
pub struct Local(Cloud);

impl Driver for Local {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        Ok(Self(Cloud::new(config::options(config)?)))
    }

    fn health(&self) -> Result<Health, DriverError> {
        Ok(Health { message: format!("nodes below {}", self.0.options().directory.display()) })
    }
}

#[driver(name = "local", vendor = "Capstan", serial_by = "none")]
impl CloudDriver for Local {
    fn list_nodes(&self, _call: &CallContext, request: &List) -> Result<Page<Node>, DriverError> {
        self.0.list_nodes(request)
    }

    fn get_node(&self, _call: &CallContext, request: &NodeRequest) -> Result<Node, DriverError> {
        self.0.get_node(&request.id)
    }

    fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Outcome<Node>, DriverError> {
        self.0.create_node(call, request).map(Outcome::Done)
    }

    fn destroy_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        self.0.destroy_node(call, &request.id).map(Outcome::Done)
    }

    fn start_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        self.0.start_node(call, &request.id).map(Outcome::Done)
    }

    fn stop_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        self.0.stop_node(call, &request.id).map(Outcome::Done)
    }

    fn reboot_node(&self, call: &CallContext, request: &Reboot) -> Result<Outcome<()>, DriverError> {
        self.0.reboot_node(call, &request.id, request.hard).map(Outcome::Done)
    }

    fn set_tags(&self, call: &CallContext, request: &Tags) -> Result<(), DriverError> {
        self.0.set_tags(call, request)
    }

    fn console_output(&self, _call: &CallContext, request: &NodeRequest) -> Result<Console, DriverError> {
        self.0.console_output(&request.id)
    }

    fn list_images(&self, call: &CallContext, request: &List) -> Result<Page<Image>, DriverError> {
        self.0.list_images(call, request)
    }

    fn list_sizes(&self, _call: &CallContext, request: &List) -> Result<Page<Size>, DriverError> {
        self.0.list_sizes(request)
    }

    fn list_locations(&self, _call: &CallContext, request: &List) -> Result<Page<Location>, DriverError> {
        self.0.list_locations(request)
    }

    fn quotas(&self, _call: &CallContext, _request: &List) -> Result<Quotas, DriverError> {
        self.0.quotas()
    }

    fn list_ips(&self, _call: &CallContext, request: &List) -> Result<Page<FloatingIp>, DriverError> {
        self.0.list_ips(request)
    }

    fn allocate_ip(&self, call: &CallContext, request: &AllocateIp) -> Result<FloatingIp, DriverError> {
        self.0.allocate_ip(call, request)
    }

    fn release_ip(&self, call: &CallContext, request: &Ip) -> Result<(), DriverError> {
        self.0.release_ip(call, request.address)
    }

    fn assign_ip(&self, call: &CallContext, request: &AssignIp) -> Result<(), DriverError> {
        self.0.assign_ip(call, request)
    }

    fn remove_ip(&self, call: &CallContext, request: &AssignIp) -> Result<(), DriverError> {
        self.0.remove_ip(call, request)
    }
}
