//! Addresses of job servers.

use std::fmt;
use std::str::FromStr;

/// The port that IANA assigned to Gearman.
pub const DEFAULT_PORT: u16 = 4730;

/// Where a job server listens: a host name or address, and a port.
///
/// Written `host:port`, `[v6]:port`, `host` or `[v6]`; without a port it is 4730. A bare IPv6 address without brackets is
/// taken too, since it cannot carry a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the address of a job server: {fault}; write host:port, [IPv6 address]:port, or a host alone for port {DEFAULT_PORT}"
)]
pub struct EndpointError {
    text: String,
    fault: &'static str,
}

impl Endpoint {
    /// An endpoint of known parts. `host` is a name or an address without brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(address: std::net::SocketAddr) -> Endpoint {
        Endpoint::new(address.ip().to_string(), address.port())
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

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let fail = |fault| EndpointError { text: text.to_owned(), fault };
        let trimmed = text.trim();
        let (host, port) = if let Some(rest) = trimmed.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(|| fail("the bracket is not closed"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(fail("what stands in brackets is no IPv6 address"));
            }
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').ok_or_else(|| fail("only :port may follow the bracket"))?)),
            }
        } else if trimmed.parse::<std::net::Ipv6Addr>().is_ok() {
            (trimmed, None)
        } else {
            match trimmed.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (trimmed, None),
            }
        };
        if host.is_empty() {
            return Err(fail("the host is empty"));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if !host.bytes().all(is_name) {
            return Err(fail("the host holds a character that no host name or address has"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
                _ => return Err(fail("the port is not a number from 1 to 65535")),
            },
        };
        Ok(Endpoint::new(host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    // G05
    #[test]
    fn the_written_forms_are_understood() {
        for (text, host, port) in [
            ("localhost", "localhost", 4730),
            ("localhost:14730", "localhost", 14730),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:4731", "::1", 4731),
            ("[fd00::2]", "fd00::2", 4730),
            ("::1", "::1", 4730),
        ] {
            let found: Endpoint = text.parse().unwrap();
            assert_eq!((found.host(), found.port()), (host, port), "{text}");
            assert_eq!(found.to_string().parse(), Ok(found));
        }
    }

    // G05
    #[test]
    fn what_is_no_address_is_named() {
        for text in
            ["", ":4730", "host:", "host:0", "host:65536", "host:+5", "[::1", "[::1]4730", "[host]:1", "a b:1", "h:1:2"]
        {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("host:port"), "{error}");
        }
    }
}
