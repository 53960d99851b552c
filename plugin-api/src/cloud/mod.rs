//! Clouds: nodes, and what a node needs around it.

mod config;
mod driver;
mod network;
mod node;
mod storage;

pub use config::FarmConfig;
pub use driver::{Cloud, CloudDriver};
pub use network::{
    AllocateIp, AssignIp, FloatingIp, Ip, KeyPair, NamedRequest, Network, NewKeyPair, NewSecurityGroup, SecurityGroup,
    SecurityRule,
};
pub use node::{
    Console, CreateNode, Image, List, Location, Node, NodeRequest, Page, Quota, Quotas, Reboot, Size, Tags, node_state,
};
pub use storage::{AttachVolume, CreateSnapshot, CreateVolume, Snapshot, Volume, VolumeRequest};
