//! How a server is reached: TLS (or, on this machine, plain TCP), or a Unix socket.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use capstan_plugin_api::{CallContext, DriverError};
use ureq::{
    Agent, Error,
    config::Config,
    http::Uri,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{ConnectionDetails, Connector, NextTimeout, RustlsConnector},
    },
};

use crate::line::Line;

/// One request on its way.
#[derive(Clone, Debug)]
pub struct Attempt {
    call: CallContext,
    is_connected: Arc<AtomicBool>,
}

impl Attempt {
    pub(crate) fn new(call: &CallContext) -> Self {
        Self { call: call.clone(), is_connected: Arc::default() }
    }

    /// The server was reached, its certificate included: whatever failed after that, the server may have done its work.
    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    fn connected(&self) {
        self.is_connected.store(true, Ordering::Release);
    }
}

/// A way to a server.
pub trait Channel: Send + Sync + 'static {
    /// An agent for one request. `config` has all but what belongs to the channel.
    fn agent(&self, config: Config, attempt: Attempt) -> Agent;

    /// What belongs to the channel in an agent's configuration.
    fn tls_config(&self) -> TlsConfig {
        TlsConfig::default()
    }
}

/// TCP, with TLS wherever the URL says `https`.
pub struct Tls {
    config: TlsConfig,
    /// Holds the certificates of the first request for all later ones.
    connector: Arc<RustlsConnector>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    /// Certificates are held against those of `ca_file` (PEM), or against Mozilla's list where there is none; or against
    /// nothing where `verify` is false.
    pub fn new(verify: bool, ca_file: Option<&Path>) -> Result<Self, DriverError> {
        let mut config = TlsConfig::builder().disable_verification(!verify);
        if let Some(path) = ca_file {
            config = config.root_certs(RootCerts::from(certificates(path)?));
        }
        Ok(Self { config: config.build(), connector: Arc::default() })
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, DriverError> {
    let bad = |what: &str| DriverError::invalid_argument(format!("ca_file: {}: {what}", path.display()));
    let pem = std::fs::read(path).map_err(|error| bad(&format!("found a file that cannot be read ({error})")))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(bad(&format!("found no PEM ({error}); expected certificates"))),
        }
    }
    if certificates.is_empty() {
        return Err(bad("found no certificate; expected those of the authorities, as BEGIN CERTIFICATE blocks"));
    }
    Ok(certificates)
}

impl Channel for Tls {
    fn agent(&self, config: Config, attempt: Attempt) -> Agent {
        let dial = DialTcp { attempt, tls: Arc::clone(&self.connector) };
        Agent::with_parts(config, dial, DefaultResolver::default())
    }

    fn tls_config(&self) -> TlsConfig {
        self.config.clone()
    }
}

#[derive(Debug)]
struct DialTcp {
    attempt: Attempt,
    tls: Arc<RustlsConnector>,
}

impl Connector for DialTcp {
    type Out = <RustlsConnector as Connector<Line>>::Out;

    fn connect(&self, details: &ConnectionDetails<'_>, _chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        let line = Line::tcp(details, &self.attempt.call)?;
        let ready = self.tls.connect(details, Some(line))?;
        self.attempt.connected();
        Ok(ready)
    }
}

/// A Unix socket; the host of the URL counts for nothing.
#[derive(Debug)]
pub struct Unix {
    path: PathBuf,
}

impl Unix {
    /// The socket at an absolute path.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Channel for Unix {
    fn agent(&self, config: Config, attempt: Attempt) -> Agent {
        Agent::with_parts(config, DialUnix { attempt, path: self.path.clone() }, NoNames)
    }
}

#[derive(Debug)]
struct DialUnix {
    attempt: Attempt,
    path: PathBuf,
}

impl Connector for DialUnix {
    type Out = Line;

    fn connect(&self, details: &ConnectionDetails<'_>, _chained: Option<()>) -> Result<Option<Line>, Error> {
        let line = Line::unix(&self.path, details, &self.attempt.call)?;
        self.attempt.connected();
        Ok(Some(line))
    }
}

/// Looks nothing up: a Unix socket has no host.
#[derive(Debug)]
struct NoNames;

impl Resolver for NoNames {
    fn resolve(&self, _uri: &Uri, _config: &Config, _timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}
