//! What the daemon's own authority brings to the servers of this process.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    ClientConfig,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::watch;

use super::Revocations;

/// Whom the daemon's own authority has certified, and what it gives to a server that has no files of its own. The default is a
/// daemon without an authority. Clones share all of it.
#[derive(Clone, Debug, Default)]
pub struct LocalAuthority {
    /// Its certificates; clients may show one that comes from there.
    pub roots: Vec<CertificateDer<'static>>,
    /// Certificates that are of no use any more.
    pub revocations: Revocations,
    /// For servers that are to show a certificate of this authority.
    pub server: Option<Arc<ServerCertificate>>,
    /// For the connections of this daemon to its own servers.
    pub client: Option<OwnClient>,
}

/// What this daemon shows to its own servers.
#[derive(Clone, Debug)]
pub struct OwnClient {
    /// The common name of the certificate, which no other process has.
    pub name: String,
    /// What connections are made with; it changes while the daemon runs.
    pub config: watch::Receiver<Option<Arc<ClientConfig>>>,
}

/// A server's certificate that is replaced while the server runs.
#[derive(Debug, Default)]
pub struct ServerCertificate(ArcSwapOption<CertifiedKey>);

impl ServerCertificate {
    /// Connections from now on see this one.
    pub fn replace(&self, certificate: CertifiedKey) {
        self.0.store(Some(Arc::new(certificate)));
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}
