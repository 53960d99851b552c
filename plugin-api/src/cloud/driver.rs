//! The trait of a cloud driver.

use super::{
    AllocateIp, AssignIp, AttachVolume, Console, CreateNode, CreateSnapshot, CreateVolume, FloatingIp, Image, Ip,
    KeyPair, List, Location, NamedRequest, Network, NewKeyPair, NewSecurityGroup, Node, NodeRequest, Page, Quotas,
    Reboot, SecurityGroup, Size, Snapshot, Tags, Volume, VolumeRequest,
};
use crate::{CallContext, Driver, DriverError, Outcome, Token, dispatch::interface};

/// A cloud that builds nodes. The methods without a body here are required; the others answer `not_supported` until a
/// driver has them.
pub trait CloudDriver: Driver {
    /// Nodes of the account.
    fn list_nodes(&self, call: &CallContext, request: &List) -> Result<Page<Node>, DriverError>;

    /// Asks for a node and returns at once with it, in whatever state it is; or `Pending` where a cloud gives no id at first.
    /// The same `client_token` never makes a second node where the cloud can tell.
    fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Outcome<Node>, DriverError>;

    /// Removes a node. One that is not there answers `not_found`.
    fn destroy_node(&self, call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError>;

    /// Images that nodes can be made from.
    fn list_images(&self, call: &CallContext, request: &List) -> Result<Page<Image>, DriverError>;

    /// Sizes that nodes can have.
    fn list_sizes(&self, call: &CallContext, request: &List) -> Result<Page<Size>, DriverError>;

    /// How far a pending call is.
    fn poll(&self, _call: &CallContext, _request: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Err(DriverError::not_supported("poll"))
    }

    /// Finds a pending call again after a restart.
    fn recover(&self, _call: &CallContext, _request: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Err(DriverError::not_supported("recover"))
    }

    /// One node.
    fn get_node(&self, _call: &CallContext, _request: &NodeRequest) -> Result<Node, DriverError> {
        Err(DriverError::not_supported("get_node"))
    }

    /// Starts a stopped node.
    fn start_node(&self, _call: &CallContext, _request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        Err(DriverError::not_supported("start_node"))
    }

    /// Stops a node; it keeps its disk.
    fn stop_node(&self, _call: &CallContext, _request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        Err(DriverError::not_supported("stop_node"))
    }

    /// Restarts a node.
    fn reboot_node(&self, _call: &CallContext, _request: &Reboot) -> Result<Outcome<()>, DriverError> {
        Err(DriverError::not_supported("reboot_node"))
    }

    /// Places to build in.
    fn list_locations(&self, _call: &CallContext, _request: &List) -> Result<Page<Location>, DriverError> {
        Err(DriverError::not_supported("list_locations"))
    }

    /// What the node wrote to its console.
    fn console_output(&self, _call: &CallContext, _request: &NodeRequest) -> Result<Console, DriverError> {
        Err(DriverError::not_supported("console_output"))
    }

    /// Limits of the account.
    fn quotas(&self, _call: &CallContext, _request: &List) -> Result<Quotas, DriverError> {
        Err(DriverError::not_supported("quotas"))
    }

    /// Sets and removes tags of a node.
    fn set_tags(&self, _call: &CallContext, _request: &Tags) -> Result<(), DriverError> {
        Err(DriverError::not_supported("set_tags"))
    }

    /// Key pairs of the account.
    fn list_key_pairs(&self, _call: &CallContext, _request: &List) -> Result<Page<KeyPair>, DriverError> {
        Err(DriverError::not_supported("list_key_pairs"))
    }

    /// Imports or makes a key pair.
    fn create_key_pair(&self, _call: &CallContext, _request: &NewKeyPair) -> Result<KeyPair, DriverError> {
        Err(DriverError::not_supported("create_key_pair"))
    }

    /// Removes a key pair.
    fn delete_key_pair(&self, _call: &CallContext, _request: &NamedRequest) -> Result<(), DriverError> {
        Err(DriverError::not_supported("delete_key_pair"))
    }

    /// Security groups of the account.
    fn list_security_groups(&self, _call: &CallContext, _request: &List) -> Result<Page<SecurityGroup>, DriverError> {
        Err(DriverError::not_supported("list_security_groups"))
    }

    /// Makes a security group with its rules.
    fn create_security_group(
        &self,
        _call: &CallContext,
        _request: &NewSecurityGroup,
    ) -> Result<SecurityGroup, DriverError> {
        Err(DriverError::not_supported("create_security_group"))
    }

    /// Removes a security group.
    fn delete_security_group(&self, _call: &CallContext, _request: &NamedRequest) -> Result<(), DriverError> {
        Err(DriverError::not_supported("delete_security_group"))
    }

    /// Networks that nodes can be in.
    fn list_networks(&self, _call: &CallContext, _request: &List) -> Result<Page<Network>, DriverError> {
        Err(DriverError::not_supported("list_networks"))
    }

    /// Floating addresses of the account.
    fn list_ips(&self, _call: &CallContext, _request: &List) -> Result<Page<FloatingIp>, DriverError> {
        Err(DriverError::not_supported("list_ips"))
    }

    /// Takes a floating address.
    fn allocate_ip(&self, _call: &CallContext, _request: &AllocateIp) -> Result<FloatingIp, DriverError> {
        Err(DriverError::not_supported("allocate_ip"))
    }

    /// Gives a floating address back.
    fn release_ip(&self, _call: &CallContext, _request: &Ip) -> Result<(), DriverError> {
        Err(DriverError::not_supported("release_ip"))
    }

    /// Puts a floating address on a node.
    fn assign_ip(&self, _call: &CallContext, _request: &AssignIp) -> Result<(), DriverError> {
        Err(DriverError::not_supported("assign_ip"))
    }

    /// Takes a floating address off a node.
    fn remove_ip(&self, _call: &CallContext, _request: &AssignIp) -> Result<(), DriverError> {
        Err(DriverError::not_supported("remove_ip"))
    }

    /// Volumes of the account.
    fn list_volumes(&self, _call: &CallContext, _request: &List) -> Result<Page<Volume>, DriverError> {
        Err(DriverError::not_supported("list_volumes"))
    }

    /// Makes a volume.
    fn create_volume(&self, _call: &CallContext, _request: &CreateVolume) -> Result<Outcome<Volume>, DriverError> {
        Err(DriverError::not_supported("create_volume"))
    }

    /// Removes a volume.
    fn delete_volume(&self, _call: &CallContext, _request: &VolumeRequest) -> Result<(), DriverError> {
        Err(DriverError::not_supported("delete_volume"))
    }

    /// Gives a volume to a node.
    fn attach_volume(&self, _call: &CallContext, _request: &AttachVolume) -> Result<Volume, DriverError> {
        Err(DriverError::not_supported("attach_volume"))
    }

    /// Takes a volume from its node.
    fn detach_volume(&self, _call: &CallContext, _request: &VolumeRequest) -> Result<Volume, DriverError> {
        Err(DriverError::not_supported("detach_volume"))
    }

    /// Snapshots of the account.
    fn list_snapshots(&self, _call: &CallContext, _request: &List) -> Result<Page<Snapshot>, DriverError> {
        Err(DriverError::not_supported("list_snapshots"))
    }

    /// Makes a snapshot of a volume.
    fn create_snapshot(
        &self,
        _call: &CallContext,
        _request: &CreateSnapshot,
    ) -> Result<Outcome<Snapshot>, DriverError> {
        Err(DriverError::not_supported("create_snapshot"))
    }

    /// Removes a snapshot.
    fn delete_snapshot(&self, _call: &CallContext, _request: &NamedRequest) -> Result<(), DriverError> {
        Err(DriverError::not_supported("delete_snapshot"))
    }
}

interface! {
    /// Exports a [`CloudDriver`].
    Cloud<D: CloudDriver> {
        list_nodes(List);
        long create_node(CreateNode);
        long destroy_node(NodeRequest);
        list_images(List);
        list_sizes(List);
        long poll(Token);
        long recover(Token);
        long start_node(NodeRequest);
        long stop_node(NodeRequest);
        long reboot_node(Reboot);
        long create_volume(CreateVolume);
        long create_snapshot(CreateSnapshot);
        get_node(NodeRequest);
        list_locations(List);
        console_output(NodeRequest);
        quotas(List);
        set_tags(Tags);
        list_key_pairs(List);
        create_key_pair(NewKeyPair);
        delete_key_pair(NamedRequest);
        list_security_groups(List);
        create_security_group(NewSecurityGroup);
        delete_security_group(NamedRequest);
        list_networks(List);
        list_ips(List);
        allocate_ip(AllocateIp);
        release_ip(Ip);
        assign_ip(AssignIp);
        remove_ip(AssignIp);
        list_volumes(List);
        delete_volume(VolumeRequest);
        attach_volume(AttachVolume);
        detach_volume(VolumeRequest);
        list_snapshots(List);
        delete_snapshot(NamedRequest);
    }
}
