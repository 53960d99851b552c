//! The listeners of one message: which protocols there are and which exclude each other on one device.

use capstan_plugin_api::load_balancer::{Listener, algorithm, protocol};
use serde_json::Value;

use super::fields::{port, quoted};

/// A protocol of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Tcp,
    Galera,
}

impl Protocol {
    /// From its name in any case.
    fn named(name: &str) -> Option<Self> {
        [Self::Http, Self::Tcp, Self::Galera].into_iter().find(|one| one.name().eq_ignore_ascii_case(name))
    }

    /// Upper case, as drivers are told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => protocol::HTTP,
            Self::Tcp => protocol::TCP,
            Self::Galera => protocol::GALERA,
        }
    }

    /// As the appliance runs it. It is the id of load balancer, listener and pool, so that HAProxy's sections get libra's
    /// names `http-in` and `http-servers`, which old monitoring looks for.
    pub(super) fn mode(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp | Self::Galera => "tcp",
        }
    }
}

/// Listeners claimed so far.
#[derive(Default)]
pub(super) struct Listeners {
    taken: Vec<(Protocol, u16)>,
}

impl Listeners {
    /// Adds a protocol to the device, as libra's `add_protocol`.
    ///
    /// # Errors
    /// The protocol is not known or already there, its port is missing or no port, or it collides with another listener.
    pub(super) fn claim(&mut self, name: &Value, given: Option<&Value>) -> Result<(Protocol, Option<u16>), String> {
        let protocol =
            name.as_str().and_then(Protocol::named).ok_or_else(|| format!("Unsupported protocol: {}", quoted(name)))?;
        let shown = protocol.name().to_lowercase();
        for (other, _port) in &self.taken {
            if *other == protocol {
                return Err(format!("Protocol '{shown}' is already defined."));
            }
            if other.mode() == protocol.mode() {
                let other = other.name().to_lowercase();
                return Err(format!("Protocol '{shown}' cannot stand beside '{other}' on one device."));
            }
        }
        let given = given.map(port).transpose()?;
        let bound = match (given, protocol) {
            (Some(port), _) => port,
            (None, Protocol::Http) => 80,
            (None, _) => return Err("Port is required for this protocol.".to_owned()),
        };
        if let Some((other, _port)) = self.taken.iter().find(|(_other, port)| *port == bound) {
            let other = other.name().to_lowercase();
            return Err(format!("Port {bound} is already used by protocol '{other}'."));
        }
        self.taken.push((protocol, bound));
        Ok((protocol, given))
    }
}

/// The listener of a protocol.
pub(super) fn listener(protocol: Protocol, port: Option<u16>, client_timeout_ms: Option<u32>) -> Listener {
    Listener {
        id: protocol.mode().to_owned(),
        protocol: protocol.name().to_owned(),
        port,
        address: None,
        default_pool: Some(protocol.mode().to_owned()),
        connection_limit: None,
        client_timeout_ms,
    }
}

/// The algorithm, `ROUND_ROBIN` unless given.
pub(super) fn algorithm_of(value: Option<&Value>) -> Result<String, String> {
    let Some(value) = value else { return Ok(algorithm::ROUND_ROBIN.to_owned()) };
    [algorithm::ROUND_ROBIN, algorithm::LEAST_CONNECTIONS]
        .into_iter()
        .find(|known| value.as_str().is_some_and(|name| name.eq_ignore_ascii_case(known)))
        .map(str::to_owned)
        .ok_or_else(|| format!("Invalid algorithm: {}", quoted(value)))
}
