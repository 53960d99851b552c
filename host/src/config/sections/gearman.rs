//! `[gearman]`: the job servers, and the one inside the daemon.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{
    Endpoint, JobServer, ServerIdentity,
    endpoint::GEARMAN_PORT,
    pem::{pem_file, readable},
};
use crate::config::{Warning, read::TableReader};

/// `[gearman]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gearman {
    /// The job servers to register with.
    pub servers: Vec<JobServer>,
    /// Whether TCP keepalive probes are sent.
    pub keepalive: bool,
    /// Lost probes after which a connection counts as dead; the kernel's setting when `None`.
    pub keepcnt: Option<u32>,
    /// Silence before the first probe.
    pub keepidle: Option<Duration>,
    /// Time between probes.
    pub keepintvl: Option<Duration>,
    /// The longest pause between two attempts to reach a lost job server.
    pub reconnect_sleep: Duration,
    /// TLS towards the job servers, with this node's certificate.
    pub tls: Option<TlsFiles>,
    /// Where the embedded job server listens.
    pub embedded_listen: SocketAddr,
    /// TLS of the embedded job server; without it, it listens on loopback only.
    pub embedded_tls: Option<EmbeddedTls>,
    /// Names in client certificates that may submit jobs to the embedded job server and read its status.
    pub embedded_admins: Vec<String>,
    /// Bounds of the embedded job server and of packets in general.
    pub limits: EmbeddedLimits,
}

/// Certificate authority, certificate and private key, in PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // the names say it
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// `[gearman.embedded_tls]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EmbeddedTls {
    /// PEM file of the authority of clients' certificates, beside the daemon's own.
    pub ca: Option<PathBuf>,
    /// What the job server shows.
    pub identity: ServerIdentity,
}

/// `[gearman.limits]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EmbeddedLimits {
    /// Connections to the embedded job server at one time.
    pub max_connections: usize,
    /// Jobs of one function that wait or run in the embedded job server.
    pub max_queued_jobs: usize,
    /// Bytes of one packet's payload, here and towards other job servers.
    pub max_packet_bytes: usize,
}

impl Gearman {
    /// The addresses of all job servers, the embedded one by its own.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |server: &JobServer| match server {
            JobServer::Embedded => self.embedded_listen.into(),
            JobServer::Remote(endpoint) => endpoint.clone(),
        };
        self.servers.iter().map(endpoint).collect()
    }

    /// Whether the job server inside the daemon runs.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.servers.contains(&JobServer::Embedded)
    }

    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        let embedded_tls = table.optional_table("embedded_tls", EmbeddedTls::read);
        let has_tls = embedded_tls.is_some();
        let gearman = Self {
            servers: table.checked("servers", vec![JobServer::Embedded], |servers: &Vec<JobServer>| {
                if !servers.is_empty() {
                    return Ok(());
                }
                Err(("at least one job server".to_owned(), "name one, or write [\"embedded\"]".to_owned()))
            }),
            keepalive: table.get("keepalive", false),
            keepcnt: table.optional("keepcnt"),
            keepidle: table.optional("keepidle"),
            keepintvl: table.optional("keepintvl"),
            reconnect_sleep: table.get("reconnect_sleep_seconds", Duration::from_secs(60)),
            tls: tls_of_client(table),
            embedded_listen: embedded_listen(table),
            embedded_tls: embedded_tls.flatten(),
            embedded_admins: table.get("embedded_admins", Vec::new()),
            limits: table.table("limits", EmbeddedLimits::read),
        };
        gearman.warn_of_idle_keys(table);
        let (listen, key) = (gearman.embedded_listen, table.key("embedded_listen"));
        if gearman.is_embedded() && !listen.ip().is_loopback() && !has_tls {
            table.session.fault_at(
                &key,
                &format!("{listen}, which is open to the network, without embedded_tls"),
                "client certificates wherever the embedded job server leaves loopback",
                "set gearman.embedded_tls, or listen on 127.0.0.1",
            );
        }
        gearman
    }

    /// The details of keepalive do nothing while it is off, which is easily overlooked.
    fn warn_of_idle_keys(&self, table: &mut TableReader<'_, '_>) {
        let given = [
            ("keepcnt", self.keepcnt.is_some()),
            ("keepidle", self.keepidle.is_some()),
            ("keepintvl", self.keepintvl.is_some()),
        ];
        for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given && !self.keepalive) {
            let key = table.key(name);
            let origin = table.session.origin(&key);
            let text = "has no effect without gearman.keepalive = true".to_owned();
            table.session.warnings.push(Warning { origin, key, text });
        }
    }
}

/// Clients elsewhere and this machine's `job send` know the job server by its port, so it cannot be left to chance.
fn embedded_listen(table: &mut TableReader<'_, '_>) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, GEARMAN_PORT));
    table.checked("embedded_listen", default, |listen: &SocketAddr| match listen.port() {
        0 => Err((
            "a port from 1 to 65535, by which workers and clients find the job server".to_owned(),
            format!("choose one, such as {GEARMAN_PORT}"),
        )),
        _ => Ok(()),
    })
}

/// libra's three options: all of them or none.
fn tls_of_client(table: &mut TableReader<'_, '_>) -> Option<TlsFiles> {
    let [ca, cert, key] = ["ssl_ca", "ssl_cert", "ssl_key"].map(|name| pem_file(table, name));
    match (ca, cert, key) {
        (Some(ca), Some(cert), Some(key)) => Some(TlsFiles { ca, cert, key }),
        (None, None, None) => None,
        (ca, cert, key) => {
            let names = [("ssl_ca", ca), ("ssl_cert", cert), ("ssl_key", key)];
            let given = names.iter().find(|(_, path)| path.is_some()).map_or("ssl_ca", |(name, _)| *name);
            let missing: Vec<_> = names.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
            let key = table.key(given);
            let found = format!("no {}", missing.join(" and no "));
            table.session.fault_at(
                &key,
                &found,
                "ssl_ca, ssl_cert and ssl_key together",
                "add what is missing, or remove all",
            );
            None
        }
    }
}

impl EmbeddedTls {
    fn read(table: &mut TableReader<'_, '_>) -> Option<Self> {
        let identity = ServerIdentity::read(table);
        if matches!(identity, Some(ServerIdentity::Names(_))) {
            return Some(Self { ca: pem_file(table, "ca"), identity: identity? });
        }
        let ca = table.required::<PathBuf>("ca", "a PEM file").and_then(|path| readable(table, "ca", path));
        Some(Self { ca: Some(ca?), identity: identity? })
    }
}

impl EmbeddedLimits {
    fn read(table: &mut TableReader<'_, '_>) -> Self {
        Self {
            max_connections: table.within("max_connections", 1024, 1..=1_000_000),
            max_queued_jobs: table.within("max_queued_jobs", 100_000, 1..=100_000_000),
            max_packet_bytes: table.within("max_packet_bytes", 64 << 20, 4096..=1 << 30),
        }
    }
}
