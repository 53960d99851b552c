//! The driver `dummy`: each method of the trait, on its way to the contents.

use capstan_plugin_api::{
    CallContext, CloudDriver, Driver, DriverError, Health, Host, Outcome, Token,
    cloud::{
        AllocateIp, AssignIp, AttachVolume, Console, CreateNode, CreateSnapshot, CreateVolume, FloatingIp, Image, Ip,
        KeyPair, List, Location, NamedRequest, Network, NewKeyPair, NewSecurityGroup, Node, NodeRequest, Page, Quotas,
        Reboot, SecurityGroup, Size, Snapshot, Tags, Volume, VolumeRequest,
    },
    driver, serde_json,
};

use crate::{
    config::{self, Config},
    service::Service,
    world::{few, numbered},
};

/// The driver `dummy`.
pub struct Dummy(Service);

impl Driver for Dummy {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        Service::open(config::settings(config)?).map(Self)
    }

    fn health(&self) -> Result<Health, DriverError> {
        Ok(self.0.health())
    }
}

#[driver(name = "dummy", vendor = "Capstan", serial_by = "none")]
impl CloudDriver for Dummy {
    fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Outcome<Node>, DriverError> {
        let made = self.0.change(call, "create_node", &request.name, |world, turn| world.create_node(request, turn))?;
        Ok(if self.0.settings().pending { made.pending() } else { Outcome::Done(made.node) })
    }

    fn poll(&self, call: &CallContext, request: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        self.0.look(call, "poll", &request.token, |world, turn| world.poll(&request.token, turn))
    }

    fn recover(&self, call: &CallContext, request: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        self.0.look(call, "recover", &request.token, |world, turn| world.poll(&request.token, turn))
    }

    fn list_images(&self, call: &CallContext, request: &List) -> Result<Page<Image>, DriverError> {
        self.0.look(call, "list_images", "", |world, turn| {
            few(request, turn.settings.page_size, numbered(world.contents().images()), |item| &item.name)
        })
    }

    fn list_sizes(&self, call: &CallContext, request: &List) -> Result<Page<Size>, DriverError> {
        self.0.look(call, "list_sizes", "", |world, turn| {
            few(request, turn.settings.page_size, numbered(world.contents().sizes()), |item| &item.name)
        })
    }

    fn list_locations(&self, call: &CallContext, request: &List) -> Result<Page<Location>, DriverError> {
        self.0.look(call, "list_locations", "", |world, turn| {
            few(request, turn.settings.page_size, numbered(world.contents().locations()), |item| &item.name)
        })
    }

    fn list_networks(&self, call: &CallContext, request: &List) -> Result<Page<Network>, DriverError> {
        self.0.look(call, "list_networks", "", |world, turn| {
            few(request, turn.settings.page_size, numbered(world.contents().networks()), |item| &item.name)
        })
    }

    fn list_nodes(&self, call: &CallContext, request: &List) -> Result<Page<Node>, DriverError> {
        self.0.look(call, "list_nodes", "", |world, turn| world.list_nodes(request, turn))
    }

    fn get_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Node, DriverError> {
        self.0.look(call, "get_node", &request.id, |world, turn| world.get_node(&request.id, turn))
    }

    fn console_output(&self, call: &CallContext, request: &NodeRequest) -> Result<Console, DriverError> {
        self.0.look(call, "console_output", &request.id, |world, turn| world.console_output(&request.id, turn))
    }

    fn destroy_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        self.0
            .change(call, "destroy_node", &request.id, |world, turn| world.destroy_node(&request.id, turn))
            .map(Outcome::Done)
    }

    fn start_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        self.0
            .change(call, "start_node", &request.id, |world, turn| world.start_node(&request.id, turn))
            .map(Outcome::Done)
    }

    fn stop_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        self.0
            .change(call, "stop_node", &request.id, |world, turn| world.stop_node(&request.id, turn))
            .map(Outcome::Done)
    }

    fn reboot_node(&self, call: &CallContext, request: &Reboot) -> Result<Outcome<()>, DriverError> {
        self.0
            .change(call, "reboot_node", &request.id, |world, turn| world.reboot_node(&request.id, turn))
            .map(Outcome::Done)
    }

    fn set_tags(&self, call: &CallContext, request: &Tags) -> Result<(), DriverError> {
        self.0.change(call, "set_tags", &request.id, |world, turn| world.set_tags(request, turn))
    }

    fn quotas(&self, call: &CallContext, _request: &List) -> Result<Quotas, DriverError> {
        self.0.look(call, "quotas", "", |world, turn| Ok(world.quotas(turn.settings)))
    }

    fn list_key_pairs(&self, call: &CallContext, request: &List) -> Result<Page<KeyPair>, DriverError> {
        self.0.look(call, "list_key_pairs", "", |world, turn| world.list_key_pairs(request, turn.settings))
    }

    fn create_key_pair(&self, call: &CallContext, request: &NewKeyPair) -> Result<KeyPair, DriverError> {
        self.0.change(call, "create_key_pair", &request.name, |world, turn| world.create_key_pair(request, turn))
    }

    fn delete_key_pair(&self, call: &CallContext, request: &NamedRequest) -> Result<(), DriverError> {
        self.0.change(call, "delete_key_pair", &request.id, |world, _| world.delete_key_pair(&request.id))
    }

    fn list_security_groups(&self, call: &CallContext, request: &List) -> Result<Page<SecurityGroup>, DriverError> {
        self.0.look(call, "list_security_groups", "", |world, turn| world.list_security_groups(request, turn.settings))
    }

    fn create_security_group(
        &self,
        call: &CallContext,
        request: &NewSecurityGroup,
    ) -> Result<SecurityGroup, DriverError> {
        self.0.change(call, "create_security_group", &request.name, |world, turn| {
            world.create_security_group(request, turn)
        })
    }

    fn delete_security_group(&self, call: &CallContext, request: &NamedRequest) -> Result<(), DriverError> {
        self.0.change(call, "delete_security_group", &request.id, |world, _| world.delete_security_group(&request.id))
    }

    fn list_ips(&self, call: &CallContext, request: &List) -> Result<Page<FloatingIp>, DriverError> {
        self.0.look(call, "list_ips", "", |world, turn| world.list_ips(request, turn.settings))
    }

    fn allocate_ip(&self, call: &CallContext, request: &AllocateIp) -> Result<FloatingIp, DriverError> {
        self.0.change(call, "allocate_ip", "", |world, turn| world.allocate_ip(request, turn))
    }

    fn release_ip(&self, call: &CallContext, request: &Ip) -> Result<(), DriverError> {
        self.0.change(call, "release_ip", &request.address.to_string(), |world, _| world.release_ip(request.address))
    }

    fn assign_ip(&self, call: &CallContext, request: &AssignIp) -> Result<(), DriverError> {
        self.0.change(call, "assign_ip", &request.address.to_string(), |world, turn| world.assign_ip(request, turn))
    }

    fn remove_ip(&self, call: &CallContext, request: &AssignIp) -> Result<(), DriverError> {
        self.0.change(call, "remove_ip", &request.address.to_string(), |world, turn| world.remove_ip(request, turn))
    }

    fn list_volumes(&self, call: &CallContext, request: &List) -> Result<Page<Volume>, DriverError> {
        self.0.look(call, "list_volumes", "", |world, turn| world.list_volumes(request, turn.settings))
    }

    fn create_volume(&self, call: &CallContext, request: &CreateVolume) -> Result<Outcome<Volume>, DriverError> {
        self.0
            .change(call, "create_volume", &request.name, |world, turn| world.create_volume(request, turn))
            .map(Outcome::Done)
    }

    fn delete_volume(&self, call: &CallContext, request: &VolumeRequest) -> Result<(), DriverError> {
        self.0.change(call, "delete_volume", &request.id, |world, _| world.delete_volume(&request.id))
    }

    fn attach_volume(&self, call: &CallContext, request: &AttachVolume) -> Result<Volume, DriverError> {
        self.0.change(call, "attach_volume", &request.id, |world, turn| world.attach_volume(request, turn))
    }

    fn detach_volume(&self, call: &CallContext, request: &VolumeRequest) -> Result<Volume, DriverError> {
        self.0.change(call, "detach_volume", &request.id, |world, _| world.detach_volume(&request.id))
    }

    fn list_snapshots(&self, call: &CallContext, request: &List) -> Result<Page<Snapshot>, DriverError> {
        self.0.look(call, "list_snapshots", "", |world, turn| world.list_snapshots(request, turn.settings))
    }

    fn create_snapshot(&self, call: &CallContext, request: &CreateSnapshot) -> Result<Outcome<Snapshot>, DriverError> {
        self.0
            .change(call, "create_snapshot", &request.name, |world, turn| world.create_snapshot(request, turn))
            .map(Outcome::Done)
    }

    fn delete_snapshot(&self, call: &CallContext, request: &NamedRequest) -> Result<(), DriverError> {
        self.0.change(call, "delete_snapshot", &request.id, |world, _| world.delete_snapshot(&request.id))
    }
}
