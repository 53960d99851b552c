//! Certificate and key of the listeners, read again without a restart.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::tls::{self, LocalAuthority, Revocations, ServerIdentity, TlsError};

/// The PEM files of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// What the daemon shows.
    pub identity: ServerIdentity,
    /// Whose certificates are accepted of clients.
    pub clients: ClientCertificates,
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    None,
    /// One of this authority or the daemon's own, where one is shown.
    Optional {
        /// The authority.
        ca: Option<PathBuf>,
    },
    /// One of this authority or the daemon's own.
    Required {
        /// The authority.
        ca: Option<PathBuf>,
    },
}

/// What the listeners show. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificates {
    config: Arc<ArcSwap<ServerConfig>>,
    local: LocalAuthority,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or holds something else.
    pub fn read(files: &ServerFiles, local: LocalAuthority) -> Result<Self, TlsError> {
        Ok(Self { config: Arc::new(ArcSwap::from_pointee(config(files, &local)?)), local })
    }

    /// Reads the files again. Connections from now on see what they hold; on an error what was is kept.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn reload(&self, files: &ServerFiles) -> Result<(), TlsError> {
        self.config.store(Arc::new(config(files, &self.local)?));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    pub(super) const fn revocations(&self) -> &Revocations {
        &self.local.revocations
    }
}

fn config(files: &ServerFiles, local: &LocalAuthority) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Invalid { path: PathBuf::new(), reason: error.to_string() })?;
    let builder = match &files.clients {
        ClientCertificates::None => builder.with_no_client_auth(),
        ClientCertificates::Optional { ca } | ClientCertificates::Required { ca } => {
            let is_demanded = matches!(files.clients, ClientCertificates::Required { .. });
            let roots = tls::client_roots(ca.as_deref(), local)?;
            let verifier = tls::client_verifier(roots, &local.revocations, is_demanded).map_err(|error| {
                TlsError::Invalid { path: ca.clone().unwrap_or_default(), reason: error.to_string() }
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = files.identity.complete(builder, local)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
