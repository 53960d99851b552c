//! What a job server can be told, and why it may refuse to start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::access::{Access, PatternError};
use crate::jobs::packet::DEFAULT_MAX_PACKET;
use crate::tls::{LocalAuthority, ServerIdentity, TlsError, TlsFiles};

/// TLS of a job server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file of authorities that clients' certificates may come from, beside the daemon's own.
    pub ca: Option<PathBuf>,
    /// What the server shows.
    pub identity: ServerIdentity,
}

impl TryFrom<TlsFiles> for ServerTls {
    type Error = TlsError;

    fn try_from(files: TlsFiles) -> Result<Self, TlsError> {
        let identity = files.identity.ok_or(TlsError::NoIdentity)?;
        Ok(Self { ca: Some(files.ca), identity: ServerIdentity::Files(identity) })
    }
}

/// Settings of a job server. `Default` serves this machine: no TLS, all allowed to whoever reaches loopback.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Keys and certificates. Required off loopback; clients must then show a certificate of the authority named here.
    pub tls: Option<ServerTls>,
    /// The daemon's own authority: its nodes may come in, and those it has revoked may not.
    pub authority: LocalAuthority,
    /// What a certificate allows. Without TLS everything is allowed.
    pub access: Access,
    /// Connections at once; a further one is closed at once.
    pub max_connections: usize,
    /// Bytes of one packet's body; a larger one is answered by ERROR and skipped.
    pub max_packet: usize,
    /// Jobs of one function that wait or run; a further one is answered by ERROR. `maxqueue` changes it by function.
    pub max_queue: usize,
    /// Bytes of payload in all jobs together.
    pub max_bytes: usize,
    /// Function names known at once; names without jobs, workers or a queue limit of their own are forgotten to make room.
    pub max_functions: usize,
    /// How often a job is given out before it fails because its workers vanished.
    pub max_attempts: u32,
    /// Bytes that may wait for a connection that does not read; beyond them it is closed. At least twice `max_packet`
    /// is used.
    pub max_unsent: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            tls: None,
            authority: LocalAuthority::default(),
            access: Access::default(),
            max_connections: 4096,
            max_packet: DEFAULT_MAX_PACKET,
            max_queue: 10_000,
            max_bytes: 1024 * 1024 * 1024,
            max_functions: 100_000,
            max_attempts: 5,
            max_unsent: 2 * DEFAULT_MAX_PACKET,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a job server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A rule of access is not understood.
    #[error("access rule of the embedded job server: {0}")]
    Access(#[from] PatternError),
    /// The address could not be taken.
    #[error(
        "the embedded job server cannot listen on {listen}: {source}; end what listens there (`ss -ltnp` names it), or give \
         gearman.embedded_listen another address or port"
    )]
    Bind {
        /// Which address.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Reachable from other machines without TLS.
    #[error(
        "the embedded job server will not listen on {listen} without TLS: whoever reaches it could take any job. \
         Give it a certificate, a key and the authority of its clients' certificates, or listen on 127.0.0.1"
    )]
    NeedsTls {
        /// Which address.
        listen: SocketAddr,
    },
    /// Keys or certificates are of no use.
    #[error("TLS of the embedded job server: {0}")]
    Tls(#[from] TlsError),
}
