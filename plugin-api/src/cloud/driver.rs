//! The trait of a cloud driver.

use super::{
    AllocateIp, AssignIp, AttachVolume, Console, CreateNode, CreateSnapshot, CreateVolume, FloatingIp, Image, Ip,
    KeyPair, List, Location, NamedRequest, Network, NewKeyPair, NewSecurityGroup, Node, NodeRequest, Page, Quotas,
    Reboot, SecurityGroup, Size, Snapshot, Tags, Volume, VolumeRequest,
};
use crate::{CallContext, Driver, DriverError, Outcome, Token, dispatch::interface};

macro_rules! cloud {
    ($($(#[$doc:meta])* $name:ident($type:ty) -> $result:ty;)*) => {
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

            $(
                $(#[$doc])*
                fn $name(&self, _call: &CallContext, _request: &$type) -> Result<$result, DriverError> {
                    Err(DriverError::not_supported(stringify!($name)))
                }
            )*
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
    };
}

cloud! {
    /// How far a pending call is.
    poll(Token) -> Outcome<serde_json::Value>;
    /// Finds a pending call again after a restart.
    recover(Token) -> Outcome<serde_json::Value>;
    /// One node.
    get_node(NodeRequest) -> Node;
    /// Starts a stopped node.
    start_node(NodeRequest) -> Outcome<()>;
    /// Stops a node; it keeps its disk.
    stop_node(NodeRequest) -> Outcome<()>;
    /// Restarts a node.
    reboot_node(Reboot) -> Outcome<()>;
    /// Places to build in.
    list_locations(List) -> Page<Location>;
    /// What the node wrote to its console.
    console_output(NodeRequest) -> Console;
    /// Limits of the account.
    quotas(List) -> Quotas;
    /// Sets and removes tags of a node.
    set_tags(Tags) -> ();
    /// Key pairs of the account.
    list_key_pairs(List) -> Page<KeyPair>;
    /// Imports or makes a key pair.
    create_key_pair(NewKeyPair) -> KeyPair;
    /// Removes a key pair.
    delete_key_pair(NamedRequest) -> ();
    /// Security groups of the account.
    list_security_groups(List) -> Page<SecurityGroup>;
    /// Makes a security group with its rules.
    create_security_group(NewSecurityGroup) -> SecurityGroup;
    /// Removes a security group.
    delete_security_group(NamedRequest) -> ();
    /// Networks that nodes can be in.
    list_networks(List) -> Page<Network>;
    /// Floating addresses of the account.
    list_ips(List) -> Page<FloatingIp>;
    /// Takes a floating address.
    allocate_ip(AllocateIp) -> FloatingIp;
    /// Gives a floating address back.
    release_ip(Ip) -> ();
    /// Puts a floating address on a node.
    assign_ip(AssignIp) -> ();
    /// Takes a floating address off a node.
    remove_ip(AssignIp) -> ();
    /// Volumes of the account.
    list_volumes(List) -> Page<Volume>;
    /// Makes a volume.
    create_volume(CreateVolume) -> Outcome<Volume>;
    /// Removes a volume.
    delete_volume(VolumeRequest) -> ();
    /// Gives a volume to a node.
    attach_volume(AttachVolume) -> Volume;
    /// Takes a volume from its node.
    detach_volume(VolumeRequest) -> Volume;
    /// Snapshots of the account.
    list_snapshots(List) -> Page<Snapshot>;
    /// Makes a snapshot of a volume.
    create_snapshot(CreateSnapshot) -> Outcome<Snapshot>;
    /// Removes a snapshot.
    delete_snapshot(NamedRequest) -> ();
}
