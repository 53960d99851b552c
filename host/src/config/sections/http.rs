//! `[http]`: the listeners of the daemon, and who may call them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{Daemon, ServerIdentity, pem::pem_file};
use crate::config::{
    Warning,
    read::{TableReader, choices},
};

/// `sun_path` of unix(7) holds 108 bytes, the closing zero included.
const LONGEST_SOCKET_PATH: usize = 107;

choices! {
    /// What a request without credentials may do on a listener of loopback.
    AnonymousRole {
        /// Read everything and act, as the operator of this machine.
        Operator = "operator",
        /// Read everything.
        Viewer = "viewer",
        /// Nothing: credentials are demanded on loopback too.
        None = "none",
    }
}

choices! {
    /// Whether a client shows a certificate.
    ClientAuth {
        /// None is asked for.
        None = "none",
        /// One is checked where it is shown.
        Optional = "optional",
        /// No connection without one.
        Required = "required",
    }
}

/// `[http]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http {
    /// Off means neither TCP nor the Unix socket.
    pub enabled: bool,
    /// TCP listeners; off loopback only with TLS.
    pub listen: Vec<SocketAddr>,
    /// The socket for the operator's commands on this machine.
    pub socket: PathBuf,
    /// TLS of all TCP listeners.
    pub tls: Option<HttpTls>,
    /// What a request without credentials may do on loopback.
    pub anonymous: AnonymousRole,
    /// Common names of client certificates that administer.
    pub client_admins: Vec<String>,
    /// Common names of client certificates that operate.
    pub client_operators: Vec<String>,
    /// Common names of client certificates that look.
    pub client_viewers: Vec<String>,
    /// Connections over TCP at one time; the Unix socket has as many of its own.
    pub max_connections: usize,
    /// The longest body of a request.
    pub max_body_bytes: usize,
    /// How long a client may take to send the head of a request, and to send nothing on an open connection.
    pub header_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// How long a request may take to be answered, waiting for long work included.
    pub request_timeout: Duration,
}

/// `[http.tls]`: certificate and private key, in PEM, and the authority of client certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpTls {
    /// What the daemon shows.
    pub identity: ServerIdentity,
    /// Authorities of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
}

impl Http {
    pub(super) fn read(table: &mut TableReader<'_, '_>, daemon: &Daemon) -> Self {
        let tls = table.optional_table("tls", HttpTls::read);
        let has_tls = tls.is_some();
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8770))];
        let http = Self {
            enabled: table.get("enabled", true),
            listen: table.get("listen", listen),
            socket: socket(table, daemon),
            tls: tls.flatten(),
            anonymous: table.get("anonymous", AnonymousRole::Operator),
            client_admins: table.get("client_admins", Vec::new()),
            client_operators: table.get("client_operators", Vec::new()),
            client_viewers: table.get("client_viewers", Vec::new()),
            max_connections: table.within("max_connections", 1024, 1..=1_000_000),
            max_body_bytes: table.within("max_body_bytes", 1 << 20, 1024..=1 << 30),
            header_timeout: table.get("header_timeout_seconds", Duration::from_secs(15)),
            body_timeout: table.get("body_timeout_seconds", Duration::from_secs(30)),
            request_timeout: table.get("request_timeout_seconds", Duration::from_secs(180)),
        };
        if !has_tls {
            http.refuse_open_listeners(table);
        }
        http.check_names(table);
        http
    }

    /// Whoever reaches a listener off loopback has to show who they are, and nobody between may read it.
    fn refuse_open_listeners(&self, table: &mut TableReader<'_, '_>) {
        let Some(open) = self.listen.iter().find(|address| !address.ip().is_loopback()) else { return };
        let key = table.key("listen");
        table.session.fault_at(
            &key,
            &format!("{open}, which is open to the network, and there is no [http.tls]"),
            "loopback addresses only, for tokens would cross the network in the clear",
            "set http.tls.names, with the role lbaas or pool-manager, or http.tls.cert and http.tls.key; or listen on 127.0.0.1",
        );
    }

    /// Names in certificates that nobody checks, and a name that would have two roles.
    fn check_names(&self, table: &mut TableReader<'_, '_>) {
        let lists = [
            ("client_admins", &self.client_admins),
            ("client_operators", &self.client_operators),
            ("client_viewers", &self.client_viewers),
        ];
        let checked = self.tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::None);
        for (at, (name, list)) in lists.iter().enumerate() {
            let key = table.key(name);
            if !list.is_empty() && !checked {
                let origin = table.session.origin(&key);
                let text = "has no effect while http.tls.client_auth is \"none\" or there is no TLS".to_owned();
                table.session.warnings.push(Warning { origin, key: key.clone(), text });
            }
            let earlier = lists.get(..at).unwrap_or_default();
            for one in list.iter() {
                if let Some((other, _)) = earlier.iter().find(|(_, names)| names.contains(one)) {
                    let found = format!("{one:?}, which http.{other} has as well");
                    table.session.fault_at(&key, &found, "each name in one list", "remove it from one of them");
                }
            }
        }
    }
}

fn socket(table: &mut TableReader<'_, '_>, daemon: &Daemon) -> PathBuf {
    table.inherit("socket", "daemon.run_dir");
    let socket = table.get("socket", daemon.run_dir.join("capstan.sock"));
    let length = socket.as_os_str().len();
    if length > LONGEST_SOCKET_PATH {
        let (key, found) = (table.key("socket"), format!("{}, which has {length} bytes", socket.display()));
        let expected = format!("a path of at most {LONGEST_SOCKET_PATH} bytes");
        table.session.fault_at(&key, &found, &expected, "set http.socket to a shorter path");
    }
    socket
}

impl HttpTls {
    fn read(table: &mut TableReader<'_, '_>) -> Option<Self> {
        let identity = ServerIdentity::read(table);
        let client_ca = pem_file(table, "client_ca");
        // Where the daemon's own authority is, its nodes may show who they are.
        let has_authority = client_ca.is_some() || matches!(identity, Some(ServerIdentity::Names(_)));
        let default = if has_authority { ClientAuth::Optional } else { ClientAuth::None };
        let client_auth = table.get("client_auth", default);
        let stated = table.session.is_stated(&table.key("client_ca"));
        if client_auth != ClientAuth::None && !has_authority && !stated {
            let auth_key = table.key("client_auth");
            let found = format!("\"{client_auth}\" without client_ca");
            let expected = "the authority that client certificates come from";
            table.session.fault_at(&auth_key, &found, expected, "set http.tls.client_ca to a PEM file");
        }
        Some(Self { identity: identity?, client_ca, client_auth })
    }
}
