//! A host and a port, as job servers are named.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    str::FromStr,
};

use serde_json::Value as Json;
use thiserror::Error;

use crate::config::read::{Field, Node, Refusal, Shown};

/// The port that IANA assigned to Gearman.
pub(super) const GEARMAN_PORT: u16 = 4730;

/// A host and a port to connect to. Written, and printed, as `host:port`, an IPv6 address in brackets.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("found {text:?}, in which {fault}; expected a host and a port; {remedy}")]
pub struct EndpointError {
    text: String,
    fault: &'static str,
    remedy: &'static str,
}

const WITH_PORT: &str = "write it as \"host:4730\" or \"[2001:db8::1]:4730\"";

impl Endpoint {
    /// An endpoint of known parts. `host` is a name or an address without brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// A name or an address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A job server as it is named on a command line, where the port may be left out. A bare IPv6 address is taken too, since
    /// it cannot carry a port. In the file the port is demanded: a misspelt `"embedded"` would else be a host of that name.
    ///
    /// # Errors
    /// The text is no host with or without a port.
    pub fn of_job_server(text: &str) -> Result<Self, EndpointError> {
        let remedy = "write it as host:port or [2001:db8::1]:port, or a host alone for port 4730";
        Self::from_text(text, Some(GEARMAN_PORT)).map_err(|fault| EndpointError {
            text: text.to_owned(),
            fault,
            remedy,
        })
    }

    fn from_text(text: &str, default_port: Option<u16>) -> Result<Self, &'static str> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
            host.parse::<Ipv6Addr>().map_err(|_| "no IPv6 address stands in the brackets")?;
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').ok_or("something other than :port follows the bracket")?)),
            }
        } else if default_port.is_some() && text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
                return Err("a character stands that no host name has");
            }
            (host, port)
        };
        if host.is_empty() {
            return Err("the host is missing");
        }
        let digits_only = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            None => default_port.ok_or("the port is missing")?,
            Some(port) => Some(port)
                .filter(digits_only)
                .and_then(|digits| digits.parse().ok())
                .filter(|port| *port != 0)
                .ok_or("the port is no number from 1 to 65535")?,
        };
        Ok(Self::new(host, port))
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::from_text(text, None).map_err(|fault| EndpointError { text: text.to_owned(), fault, remedy: WITH_PORT })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
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
        String::parse(node)?.parse().map_err(|_| Refusal::new(node, "a host and a port", WITH_PORT))
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
            text => text
                .parse()
                .map(Self::Remote)
                .map_err(|_| Refusal::new(node, "\"embedded\" or a host and a port", WITH_PORT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    // G05
    #[test]
    fn hosts_and_ports_are_taken_apart_and_print_as_written() {
        for text in ["localhost:4730", "gearman-1.example.org:1", "10.0.0.1:65535", "[2001:db8::1]:4730"] {
            let found: Endpoint = text.parse().unwrap();
            assert_eq!(found.to_string(), text);
            assert_eq!(Endpoint::of_job_server(text), Ok(found));
        }
        for (text, host) in [("localhost", "localhost"), ("[fd00::2]", "fd00::2"), ("::1", "::1")] {
            assert_eq!(Endpoint::of_job_server(text), Ok(Endpoint::new(host, 4730)));
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("found {text:?}, in which ")) && error.contains("host:4730"), "{error}");
        }
    }

    // G05
    #[test]
    fn what_is_no_host_and_port_is_refused_and_named() {
        for text in [
            "",
            ":",
            ":4730",
            "host:",
            "host:0",
            "host:+5",
            "host:65536",
            "a b:1",
            "h:1:2",
            "2001:db8::1:x",
            "[::1",
            "[::1]4730",
            "[host]:1",
            "h\n:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
            let error = Endpoint::of_job_server(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("found {text:?}, in which ")) && error.contains("host:port"), "{error}");
        }
        assert!("2001:db8::1:4730".parse::<Endpoint>().is_err(), "the last part may be meant as a port");
    }
}
