//! A host and a port, as job servers are named.

use std::{fmt, net::SocketAddr};

use serde_json::Value as Json;

use crate::config::read::{Field, Node, Refusal, Shown};

/// A host and a port to connect to. Prints as it is written: `host:port`, an IPv6 address in brackets.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl Endpoint {
    pub(in crate::config) fn parse_text(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(address) => {
                let address = address.strip_suffix(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                address
            }
            None => host,
        };
        let plain =
            text.starts_with('[') || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (plain && !host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl Shown for Endpoint {
    fn shown(&self) -> Json {
        self.to_string().into()
    }
}

impl Field for Endpoint {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        Self::parse_text(&String::parse(node)?).ok_or_else(|| {
            Refusal::new(node, "a host and a port", "write it as \"host:4730\" or \"[2001:db8::1]:4730\"")
        })
    }
}

/// A job server to connect to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum JobServer {
    /// The one inside this daemon.
    Embedded,
    /// One that runs elsewhere.
    Remote(Endpoint),
}

impl Shown for JobServer {
    fn shown(&self) -> Json {
        match self {
            Self::Embedded => "embedded".into(),
            Self::Remote(endpoint) => endpoint.shown(),
        }
    }
}

impl Field for JobServer {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        match String::parse(node)?.as_str() {
            "embedded" => Ok(Self::Embedded),
            text => Endpoint::parse_text(text).map(Self::Remote).ok_or_else(|| {
                Refusal::new(
                    node,
                    "\"embedded\" or a host and a port",
                    "write it as \"host:4730\" or \"[2001:db8::1]:4730\"",
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn hosts_and_ports_are_taken_apart_and_print_as_written() {
        for text in ["localhost:4730", "gearman-1.example.org:1", "10.0.0.1:65535", "[2001:db8::1]:4730"] {
            assert_eq!(Endpoint::parse_text(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in [
            "",
            ":",
            ":4730",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "a b:1",
            "2001:db8::1:4730",
            "[host]:1",
            "h\n:1",
        ] {
            assert_eq!(Endpoint::parse_text(text), None, "{text:?}");
        }
    }
}
