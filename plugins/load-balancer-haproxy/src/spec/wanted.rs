//! What HAProxy shall run: one service for each listener.

use std::{collections::BTreeMap, net::SocketAddr};

use capstan_plugin_api::load_balancer::MemberState;

use crate::config::{Balance, Check, Host, Mode, Server};

/// All services of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In the specification's order.
    pub services: Vec<Service>,
}

/// Names of a service's two proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// `P-in`, or `P-<listener>-in`.
    pub frontend: String,
    /// `P-servers`, or `P-<listener>-servers`.
    pub backend: String,
}

impl Names {
    /// libra's names when the listener is called after its mode (or its protocol), names with its id otherwise. `P` holds
    /// no dash, so two listeners never share a name by accident.
    pub fn of(mode: Mode, listener: &str, protocol: &str) -> Self {
        let p = mode.word();
        if listener == p || listener == protocol {
            return Self { frontend: format!("{p}-in"), backend: format!("{p}-servers") };
        }
        Self { frontend: format!("{p}-{listener}-in"), backend: format!("{p}-{listener}-servers") }
    }
}

/// How a client is kept with its member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// By a cookie of this name.
    Cookie(String),
    /// Not at all.
    No,
    /// By source address, remembered for so many seconds; none means libra's 30 minutes.
    Source(Option<u32>),
}

/// How members are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Asked for over HTTP; none means that a connection is enough.
    pub path: Option<String>,
    /// Seconds between two checks.
    pub delay_s: u32,
    /// Seconds that one may take.
    pub timeout_s: u32,
    /// Good ones until up.
    pub rise: u32,
    /// Failed ones until down.
    pub fall: u32,
}

/// A listener and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Id of the load balancer.
    pub load_balancer: String,
    /// How it is carried.
    pub mode: Mode,
    /// One writer takes all, the others are backups.
    pub galera: bool,
    /// Names of the proxies.
    pub names: Names,
    /// Where it listens.
    pub bind: SocketAddr,
    /// Configured, but takes no traffic.
    pub suspended: bool,
    /// Milliseconds without a byte from the client.
    pub client_ms: u32,
    /// Greatest number of connections at once.
    pub connection_limit: Option<u32>,
    /// How members are chosen.
    pub balance: Balance,
    /// Milliseconds until a connection stands.
    pub connect_ms: u32,
    /// Milliseconds without a byte from the member.
    pub server_ms: u32,
    /// Attempts after the first.
    pub retries: u32,
    /// How clients are kept.
    pub sticky: Sticky,
    /// How members are checked.
    pub monitor: Option<Monitor>,
    /// In the specification's order.
    pub members: Vec<Member>,
}

impl Service {
    /// How each server of the backend is checked: libra's half a minute unless there is a monitor.
    pub fn check(&self) -> Check {
        match &self.monitor {
            None => Check { inter_s: 30, rise_fall: None },
            Some(monitor) => Check { inter_s: monitor.delay_s, rise_fall: Some((monitor.rise, monitor.fall)) },
        }
    }

    /// Servers of this backend carry cookies, so a member that is added needs a slot.
    pub fn has_slots(&self) -> bool {
        matches!(self.sticky, Sticky::Cookie(_))
    }

    /// The line of a member, with the cookie that belongs to it.
    pub fn server(&self, member: &Member, slots: &Slots) -> Server {
        Server {
            name: member.server_name(),
            host: member.host.clone(),
            port: member.port,
            backup: member.backup,
            cookie: self.has_slots().then(|| slots.cookie(&self.names.backend, &member.id)),
            weight: member.effective_weight(),
            disabled: member.state == MemberState::Disabled,
            check: self.check(),
        }
    }
}

/// A server behind the load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// 1 to 256.
    pub weight: u32,
    /// Takes traffic only when no other can.
    pub backup: bool,
    /// Whether it takes traffic.
    pub state: MemberState,
}

impl Member {
    /// Its server in the file.
    pub fn server_name(&self) -> String {
        format!("id-{}", self.id)
    }

    /// Draining is weight 0, in the file as at run time: clients that have the member keep it, no new one gets it.
    pub fn effective_weight(&self) -> u32 {
        if self.state == MemberState::Drain { 0 } else { self.weight }
    }
}

/// Which members came in through a slot, by backend and member, and the slot's number. Such a member keeps the slot's
/// cookie for as long as it lives, also after a reload has given its server the member's own name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Slots(BTreeMap<String, BTreeMap<String, u32>>);

impl Slots {
    /// Name, and cookie value, of a slot.
    pub fn name(number: u32) -> String {
        format!("slot-{number}")
    }

    /// The number in a slot's name.
    pub fn number(name: &str) -> Option<u32> {
        name.strip_prefix("slot-")?.parse().ok()
    }

    /// The slot of a member.
    pub fn get(&self, backend: &str, member: &str) -> Option<u32> {
        self.0.get(backend)?.get(member).copied()
    }

    /// The member in a slot.
    pub fn member(&self, backend: &str, slot: u32) -> Option<&str> {
        self.0.get(backend)?.iter().find(|(_, number)| **number == slot).map(|(member, _)| member.as_str())
    }

    /// Puts a member into a slot.
    pub fn put(&mut self, backend: &str, member: &str, slot: u32) {
        self.0.entry(backend.to_owned()).or_default().insert(member.to_owned(), slot);
    }

    /// Takes a member out of its slot.
    pub fn remove(&mut self, backend: &str, member: &str) {
        if let Some(members) = self.0.get_mut(backend) {
            members.remove(member);
        }
    }

    /// The value of a member's cookie.
    pub fn cookie(&self, backend: &str, member: &str) -> String {
        self.get(backend, member).map_or_else(|| format!("id-{member}"), Self::name)
    }

    /// Forgets members that are wanted no more.
    pub fn keep(&mut self, wanted: &Wanted) {
        self.0.retain(|backend, members| {
            let Some(service) = wanted.services.iter().find(|service| service.names.backend == *backend) else {
                return false;
            };
            let present: std::collections::HashSet<&str> = service.members.iter().map(|one| one.id.as_str()).collect();
            members.retain(|member, _| service.has_slots() && present.contains(member.as_str()));
            !members.is_empty()
        });
    }

    /// The lowest `count` numbers that no member of the backend has.
    pub fn spare(&self, backend: &str, count: usize) -> Vec<u32> {
        let taken: std::collections::HashSet<u32> =
            self.0.get(backend).map(|members| members.values().copied().collect()).unwrap_or_default();
        (1..).filter(|number| !taken.contains(number)).take(count).collect()
    }
}
