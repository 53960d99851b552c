//! `[identity]`: the certificates of nodes, for the daemon that gives them and for the node that has one.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use serde_json::Value as Json;

use super::{Daemon, Endpoint, Worker, pem::pem_file};
use crate::config::{
    Origin, Secret,
    read::{Field, Node, Refusal, Shown, TableReader, Value},
    secret::{REDACTED, Reference},
};

/// `[identity]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Where nodes reach this daemon; without it the pool gives its nodes no token.
    pub url: Option<DaemonUrl>,
    /// The authority's certificate and key, in place of those that the store keeps.
    pub ca: Option<(PathBuf, PathBuf)>,
    /// How long a certificate holds.
    pub certificate_life: Duration,
    /// How long after the time of its build a node may still use its token.
    pub token_slack: Duration,
    /// What this machine is as a node, if it is one.
    pub node: Option<NodeIdentity>,
}

/// The node's part of `[identity]`.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeIdentity {
    /// Where the daemon is that gives certificates.
    pub enrol_url: DaemonUrl,
    /// The token for the first certificate.
    pub token: Option<Secret>,
    /// Where key and certificates are kept.
    pub directory: PathBuf,
    /// The node's name, which the certificate is for.
    pub name: String,
    /// The authority of the daemon's own certificate, in PEM.
    pub authority: Option<String>,
    /// The SHA-256 of that authority's certificate, in hexadecimal digits.
    pub fingerprint: Option<String>,
    /// How long before its end a certificate is renewed.
    pub renew_before: Duration,
}

/// `http://HOST:PORT`, on loopback alone, or `https://HOST:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DaemonUrl {
    is_tls: bool,
    endpoint: Endpoint,
}

impl DaemonUrl {
    /// Whether it is `https`.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Host and port.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl fmt::Display for DaemonUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", if self.is_tls { "https" } else { "http" }, self.endpoint)
    }
}

impl FromStr for DaemonUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (scheme, rest) = text.split_once("://").ok_or(())?;
        let endpoint: Endpoint = rest.trim_end_matches('/').parse().map_err(drop)?;
        let is_loopback = endpoint.host() == "localhost"
            || endpoint.host().parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match scheme {
            "https" => Ok(Self { is_tls: true, endpoint }),
            "http" if is_loopback => Ok(Self { is_tls: false, endpoint }),
            _ => Err(()),
        }
    }
}

impl Shown for DaemonUrl {
    fn shown(&self) -> Json {
        Json::String(self.to_string())
    }
}

impl Field for DaemonUrl {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        String::parse(node)?.parse().map_err(|()| {
            Refusal::new(
                node,
                "https://HOST:PORT, or http://HOST:PORT on loopback",
                "a token would cross the network in the clear: use https",
            )
        })
    }
}

impl Identity {
    pub(super) fn read(table: &mut TableReader<'_, '_>, daemon: &Daemon, worker: &Worker) -> Self {
        let day = Duration::from_secs(86_400);
        let url = table.optional("url");
        let ca = authority_files(table);
        let certificate_life = table.get("certificate_seconds", 30 * day);
        let token_slack = table.get("token_slack_seconds", Duration::from_secs(900));
        let node = node(table, daemon, worker);
        Self { url, ca, certificate_life, token_slack, node }
    }
}

fn authority_files(table: &mut TableReader<'_, '_>) -> Option<(PathBuf, PathBuf)> {
    let [cert, key] =
        ["ca_cert", "ca_key"].map(|name| (pem_file(table, name), table.session.is_stated(&table.key(name))));
    if cert.1 != key.1 {
        let key = table.key(if cert.1 { "ca_cert" } else { "ca_key" });
        let expected = "ca_cert and ca_key together";
        table.session.fault_at(&key, "one without the other", expected, "add what is missing, or remove both");
    }
    cert.0.zip(key.0)
}

fn node(table: &mut TableReader<'_, '_>, daemon: &Daemon, worker: &Worker) -> Option<NodeIdentity> {
    let url: Option<DaemonUrl> = table.optional("enrol_url");
    let token = token(table);
    table.inherit("directory", "daemon.state_dir");
    let directory = table.get("directory", daemon.state_dir.join("identity"));
    table.inherit("name", "worker.function");
    let name = table.get("name", worker.function.clone());
    let faults = table.session.faults.len();
    let authority: Option<String> = table.optional("ca");
    let fingerprint: Option<Fingerprint> = table.optional("ca_fingerprint");
    let is_told = table.session.faults.len() > faults;
    let renew_before = table.get("renew_before_seconds", Duration::from_secs(14 * 86_400));
    let enrol_url = url?;
    let key = table.key("enrol_url");
    if enrol_url.is_tls() && authority.is_none() && fingerprint.is_none() && !is_told {
        let expected = "ca or ca_fingerprint beside it, by which the daemon is known";
        table.session.fault_at(
            &key,
            "https without either",
            expected,
            "add ca_fingerprint: `capstan identity ca` prints it",
        );
    }
    let fingerprint = fingerprint.map(|fingerprint| fingerprint.0);
    Some(NodeIdentity { enrol_url, token, directory, name, authority, fingerprint, renew_before })
}

/// The token may stand in the file itself: a node's configuration comes to it whole, and the token is good once.
fn token(table: &mut TableReader<'_, '_>) -> Option<Secret> {
    let key = table.key("token");
    let Some(node) = table.take("token") else {
        table.session.record(key, Json::Null, Origin::Default);
        return None;
    };
    if let Value::Table(parts) = &node.value
        && let Some(reference) = Reference::of(parts, &node.origin)
    {
        table.session.record(key.clone(), reference.shown(), node.origin.clone());
        return reference.resolve(table.session, &key, &node.origin);
    }
    if let Value::Text(text) = &node.value
        && !text.is_empty()
    {
        table.session.record(key, Json::String(REDACTED.to_owned()), node.origin.clone());
        table.session.secrets.insert(text.clone());
        return Some(Secret::new(text.clone()));
    }
    let expected = "the token, or { file = \"...\" }, { env = \"...\" } or { credential = \"...\" }";
    table.session.fault(node.origin, &key, "something else", expected, "write the token that the node was given");
    None
}

/// The SHA-256 of a certificate.
struct Fingerprint(String);

impl Shown for Fingerprint {
    fn shown(&self) -> Json {
        Json::String(self.0.clone())
    }
}

impl Field for Fingerprint {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        let text = String::parse(node)?.replace(':', "").to_ascii_lowercase();
        let text = text.strip_prefix("sha256").map_or(text.clone(), str::to_owned);
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text));
        }
        Err(Refusal::new(
            node,
            "64 hexadecimal digits: the SHA-256 of a certificate",
            "`capstan identity ca` prints it",
        ))
    }
}
