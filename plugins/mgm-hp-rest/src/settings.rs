//! The configuration of an instance, checked once as it is opened.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use capstan_device_api::{Client, Generation, Options, Tls};
use capstan_plugin_api::{ConfigSchema, DriverError, Secret};
use serde::Deserialize;

/// Keys of `[known_drivers.mgm.NAME.config]`.
#[derive(Clone, Debug, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// API servers that share their devices, as "host:port"; an IPv6 address in brackets.
    pub servers: Vec<String>,
    /// What stands between the server and `/devices` in URLs: "/v1", or "/v1.2" as some versions of libra have it.
    pub base_path: String,
    /// Which body registers a node: "final" (name, publicIpAddr, floatingIpAddr, az, type) or "seed" (name, address).
    pub body: Generation,
    /// Bearer token; a secret.
    pub token: Option<Secret>,
    /// Whether the servers' certificates are verified.
    pub verify: bool,
    /// Certificates (PEM) of the authorities that servers are trusted by; none means those of Mozilla's list.
    pub ca_file: Option<PathBuf>,
    /// false speaks plain HTTP, with servers on loopback only.
    pub tls: bool,
    /// The longest time of one request.
    pub timeout_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: vec!["localhost:8889".to_owned()],
            base_path: "/v1".to_owned(),
            body: Generation::Final,
            token: None,
            verify: true,
            ca_file: None,
            tls: true,
            timeout_seconds: 30,
        }
    }
}

impl Settings {
    /// The client that they describe; an error names the key.
    pub fn client(&self) -> Result<Client<Tls>, DriverError> {
        if self.servers.is_empty() {
            return Err(bad("servers", "found an empty list; expected at least one \"host:port\""));
        }
        if self.timeout_seconds == 0 {
            return Err(bad("timeout_seconds", "found 0; expected at least 1"));
        }
        if self.ca_file.is_some() && !(self.verify && self.tls) {
            let key = if self.tls { "verify" } else { "tls" };
            return Err(bad(
                "ca_file",
                &format!("found beside {key} = false, where it verifies nothing; remove one of them"),
            ));
        }
        let base_path = base_path(&self.base_path)?;
        let scheme = if self.tls { "https" } else { "http" };
        let mut urls = Vec::new();
        for server in &self.servers {
            let host = host(server)?;
            if !self.tls && !is_loopback(host) {
                return Err(bad(
                    "tls",
                    &format!(
                        "found false with the server {server:?}; expected loopback addresses only, where nobody listens in"
                    ),
                ));
            }
            let url = format!("{scheme}://{server}{base_path}");
            if urls.contains(&url) {
                return Err(bad("servers", &format!("found {server:?} twice; expected each server once")));
            }
            urls.push(url);
        }
        let options = Options {
            user_agent: concat!("capstan-mgm-hp-rest/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: self.token.clone(),
            timeout: Duration::from_secs(self.timeout_seconds.into()),
            generation: self.body,
        };
        Client::new(Tls::new(self.verify, self.ca_file.as_deref())?, urls, options)
    }
}

fn bad(key: &str, what: &str) -> DriverError {
    DriverError::invalid_argument(format!("{key}: {what}"))
}

/// The host of a "host:port".
fn host(server: &str) -> Result<&str, DriverError> {
    let wrong = || {
        let example =
            "expected \"host:port\" as in \"10.0.0.1:8889\" or \"[fd00::1]:8889\", without a scheme or a path";
        bad("servers", &format!("found {server:?}; {example}"))
    };
    let (host, port) = server.rsplit_once(':').ok_or_else(wrong)?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(wrong());
    }
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    if is_host { Ok(host.trim_matches(['[', ']'])) } else { Err(wrong()) }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `/v1`, whether it was written so, as `v1`, or as `/v1/`; an empty one stays empty.
fn base_path(path: &str) -> Result<String, DriverError> {
    let inner = path.trim_matches('/');
    let is_sound = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if inner.is_empty() {
        Ok(String::new())
    } else if inner.split('/').all(is_sound) {
        Ok(format!("/{inner}"))
    } else {
        Err(bad("base_path", &format!("found {path:?}; expected a path as in \"/v1\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_key() {
        for (json, key) in [
            (r#"{"servers":[]}"#, "servers"),
            (r#"{"servers":["https://a:1"]}"#, "servers"),
            (r#"{"servers":["a"]}"#, "servers"),
            (r#"{"servers":["a:0"]}"#, "servers"),
            (r#"{"servers":["a:+1"]}"#, "servers"),
            (r#"{"servers":["a:70000"]}"#, "servers"),
            (r#"{"servers":["user@a:1"]}"#, "servers"),
            (r#"{"servers":["fd00::1:8889"]}"#, "servers"),
            (r#"{"servers":["a:1","a:1"]}"#, "servers"),
            (r#"{"base_path":"/v1/../admin"}"#, "base_path"),
            (r#"{"base_path":"/v1?x"}"#, "base_path"),
            (r#"{"tls":false,"servers":["10.0.0.1:1"]}"#, "tls"),
            (r#"{"timeout_seconds":0}"#, "timeout_seconds"),
            (r#"{"token":"a\r\nb"}"#, "token"),
            (r#"{"token":""}"#, "token"),
            (r#"{"ca_file":"/nowhere/ca.pem"}"#, "ca_file"),
            (r#"{"ca_file":"/nowhere/ca.pem","verify":false}"#, "ca_file"),
        ] {
            let error = serde_json::from_str::<Settings>(json).unwrap().client().unwrap_err();
            assert!(error.message.starts_with(key), "{json}: {error}");
            assert!(!error.message.contains("a\r\nb"));
        }
        assert!(serde_json::from_str::<Settings>(r#"{"server":["a:1"]}"#).is_err());
    }

    #[test]
    fn bug45_urls_are_those_of_libra() {
        for (json, url) in [
            ("{}", "https://localhost:8889/v1"),
            (r#"{"base_path":"v1.2"}"#, "https://localhost:8889/v1.2"),
            (r#"{"base_path":""}"#, "https://localhost:8889"),
            (r#"{"servers":["[fd00::1]:8889"]}"#, "https://[fd00::1]:8889/v1"),
            (r#"{"tls":false,"servers":["[::1]:8770"]}"#, "http://[::1]:8770/v1"),
        ] {
            assert_eq!(serde_json::from_str::<Settings>(json).unwrap().client().unwrap().url(), url, "{json}");
        }
    }
}
