//! Addresses, networks, key pairs and security groups.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::Secret;

/// Names an object by its id or, where a cloud has no ids for it, by its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedRequest {
    /// Id or name.
    pub id: String,
}

/// A floating (elastic) address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// The cloud's id.
    pub id: String,
    /// The address.
    pub address: IpAddr,
    /// Id of the node that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Pool (external network) that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

// A literal ends with `..Default::default()`; the unspecified address stands for none.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Default for FloatingIp {
    fn default() -> Self {
        Self { id: String::new(), address: NO_ADDRESS, node: None, pool: None }
    }
}

impl Default for Ip {
    fn default() -> Self {
        Self { address: NO_ADDRESS }
    }
}

impl Default for AssignIp {
    fn default() -> Self {
        Self { address: NO_ADDRESS, node: String::new() }
    }
}

/// Parameters of `allocate_ip`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AllocateIp {
    /// Pool to take it from; none means the cloud's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// Names a floating address; parameters of `release_ip`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ip {
    /// The address.
    pub address: IpAddr,
}

/// Parameters of `assign_ip` and `remove_ip`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssignIp {
    /// The address.
    pub address: IpAddr,
    /// Id of the node.
    pub node: String,
}

/// A network that nodes can be in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Address range, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
}

/// A key pair; the cloud holds the public half.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyPair {
    /// Its name, which is its id.
    pub name: String,
    /// Fingerprint as the cloud writes it.
    #[serde(default)]
    pub fingerprint: String,
    /// Public half, OpenSSH form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Private half, only when the cloud just made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Secret>,
}

/// Parameters of `create_key_pair`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewKeyPair {
    /// Its name.
    pub name: String,
    /// Public half to import; none lets the cloud make a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Description.
    #[serde(default)]
    pub description: String,
    /// What it lets in.
    #[serde(default)]
    pub rules: Vec<SecurityRule>,
}

/// Traffic that a security group lets in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// First port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_port: Option<u16>,
    /// Last port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<u16>,
    /// Sources.
    #[serde(default)]
    pub cidrs: Vec<String>,
}

/// Parameters of `create_security_group`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewSecurityGroup {
    /// Its name.
    pub name: String,
    /// Description.
    #[serde(default)]
    pub description: String,
    /// What it lets in.
    #[serde(default)]
    pub rules: Vec<SecurityRule>,
}
