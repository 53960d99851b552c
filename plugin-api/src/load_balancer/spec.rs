//! What a load balancer shall be: the device specification of `apply`.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// An open string: `HTTP`, `TCP`, `GALERA`, and what later drivers know. Upper case.
pub type Protocol = String;

/// Names of [`Protocol`].
pub mod protocol {
    /// HTTP/1, with a cookie for persistence unless the pool says otherwise.
    pub const HTTP: &str = "HTTP";
    /// TCP, sticky by source address unless the pool says otherwise.
    pub const TCP: &str = "TCP";
    /// TCP to a Galera cluster: one writer takes all traffic, the others are backups, nothing sticks.
    pub const GALERA: &str = "GALERA";
}

/// Names of [`Pool::algorithm`], an open string.
pub mod algorithm {
    /// Each member in turn, by weight.
    pub const ROUND_ROBIN: &str = "ROUND_ROBIN";
    /// The member with the fewest connections.
    pub const LEAST_CONNECTIONS: &str = "LEAST_CONNECTIONS";
}

/// Parameters of `apply` and `validate`: all load balancers of one device, in their order. What is not named here is removed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// Name of the device (node) that carries them.
    pub device: String,
    /// Grows with each change of the device; a driver refuses one that is older than what runs, with `conflict`.
    pub generation: u64,
    /// The same key asks for the same change: applying twice is applying once.
    pub idempotency_key: String,
    /// The load balancers.
    pub load_balancers: Vec<LoadBalancer>,
    /// Leave out members that are refused, report them, and apply the rest (the seed's rule); otherwise the first refused
    /// member stops the whole call and nothing changes.
    #[serde(default)]
    pub skip_refused_members: bool,
}

/// One load balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Unique on the device.
    pub id: String,
    /// Generation of this load balancer.
    #[serde(default)]
    pub generation: u64,
    /// Free text for people; never written into an appliance's configuration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it serves.
    #[serde(default)]
    pub admin_state: AdminState,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where it sends.
    #[serde(default)]
    pub pools: Vec<Pool>,
}

/// Whether a load balancer or listener serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdminState {
    /// Serves.
    #[default]
    Up,
    /// Configured, but takes no traffic.
    Suspended,
}

/// A port that takes traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Unique in the load balancer.
    pub id: String,
    /// One of [`protocol`], or what the driver's manifest knows besides.
    pub protocol: Protocol,
    /// Port to bind; none means the protocol's default (HTTP 80) and is refused where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Address to bind; none means the driver's `bind_address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
    /// Id of the pool that gets the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_pool: Option<String>,
    /// Greatest number of connections at once; none means the driver's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<u32>,
    /// Milliseconds without a byte from the client; none means 30000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_timeout_ms: Option<u32>,
}

/// Members that share the traffic of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Unique in the load balancer.
    pub id: String,
    /// One of [`algorithm`], or what the driver knows besides.
    pub algorithm: String,
    /// In this order.
    #[serde(default)]
    pub members: Vec<Member>,
    /// How members are checked; none means a TCP connection every 30 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Monitor>,
    /// How a client is kept with its member; none means the protocol's default (HTTP cookie, TCP source address, GALERA none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Time limits towards the members.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// A server behind the load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Unique in the pool.
    pub id: String,
    /// IPv4, IPv6 or a host name.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// 1 to 256.
    #[serde(default = "one")]
    pub weight: u32,
    /// Takes traffic only when no other member can.
    #[serde(default)]
    pub backup: bool,
    /// Whether it takes traffic.
    #[serde(default)]
    pub state: MemberState,
}

fn one() -> u32 {
    1
}

impl Default for Member {
    fn default() -> Self {
        Self {
            id: String::new(),
            address: String::new(),
            port: 0,
            weight: one(),
            backup: false,
            state: MemberState::default(),
        }
    }
}

/// Whether a member takes traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemberState {
    /// Yes.
    #[default]
    Enabled,
    /// Only from clients that are already with it.
    Drain,
    /// No.
    Disabled,
}

/// How members are checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    /// `CONNECT` or `HTTP`, or what the driver knows besides.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds between two checks.
    pub delay_s: u32,
    /// Seconds until a check counts as failed; at most `delay_s`.
    pub timeout_s: u32,
    /// Good checks until a member counts as up.
    pub rise: u32,
    /// Failed checks until a member counts as down.
    pub fall: u32,
    /// Path that an HTTP check asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// How a client is kept with its member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Persistence {
    /// Not at all.
    #[default]
    None,
    /// By a cookie that the load balancer sets; HTTP only.
    HttpCookie {
        /// Name of the cookie.
        cookie: String,
    },
    /// By source address.
    SourceIp {
        /// Seconds that an address is remembered.
        expire_s: u32,
    },
}

/// Time limits towards the members; none means 30000 ms and 3 retries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Milliseconds until a connection to a member stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u32>,
    /// Milliseconds without a byte from the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_ms: Option<u32>,
    /// Connection attempts after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// Parameters of `suspend`, `enable`, `delete`, `observe`, `status` and `statistics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Name of the device.
    pub device: String,
    /// One load balancer of it; none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<String>,
    /// See [`ApplyRequest::generation`]; 0 in calls that change nothing.
    #[serde(default)]
    pub generation: u64,
    /// See [`ApplyRequest::idempotency_key`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub idempotency_key: String,
}

/// Parameters of `archive`: where the log of one protocol goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ArchiveRequest {
    /// Name of the device.
    pub device: String,
    /// `swift`, `directory`, or what the driver knows besides.
    pub method: String,
    /// Protocol whose lines are wanted.
    pub protocol: Protocol,
    /// Id under which the archive is filed.
    pub load_balancer: String,
    /// Container (`swift`) or directory (`directory`).
    pub basepath: String,
    /// URL of the account, pre-authorised by `token`; `swift` only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Token for the endpoint; `swift` only.
    #[serde(default)]
    pub token: Secret,
}
