//! Keys and certificates from PEM files, for every room that speaks TLS, and which certificates are not accepted any more.

mod client_verifier;
mod failure;
mod local;
mod revocations;

pub(crate) use client_verifier::client_verifier;
pub(crate) use failure::{Meaning, meaning};
pub use local::{LocalAuthority, OwnClient, ServerCertificate};
pub use revocations::Revocations;
pub(crate) use revocations::serial;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The PEM files of one side of a TLS connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the authorities that the other side's certificate must come from.
    pub ca: PathBuf,
    /// What this side shows. A server needs one; job servers of this program demand one of their clients too.
    pub identity: Option<TlsIdentity>,
}

/// A certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, then those between it and the authority.
    pub certificate: PathBuf,
    /// The key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file holds no such thing.
    #[error("{} holds no {what}: expected a PEM block of it", .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A file is PEM, but its content is of no use.
    #[error("{} cannot be used: {reason}", .path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A server is to use the daemon's own authority, and there is none.
    #[error("this daemon has no authority of its own: run it with the role lbaas or pool-manager, or name PEM files")]
    NoAuthority,
    /// A server without certificate and key.
    #[error("a job server with TLS needs a certificate and a key of its own: name both")]
    NoIdentity,
    /// A file could not be read.
    #[error("cannot read the {what} file {}: {source}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), what, source })
}

/// Every certificate of a PEM file; at least one.
pub(crate) fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found
        .map_err(|error| TlsError::Invalid { path: path.to_owned(), reason: format!("not valid PEM: {error}") })?;
    if found.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

/// The private key of a PEM file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use rustls::pki_types::pem::Error;
    PrivateKeyDer::from_pem_slice(&read(path, "private key")?).map_err(|error| match error {
        Error::NoItemsFound => TlsError::Empty { path: path.to_owned(), what: "private key" },
        other => TlsError::Invalid { path: path.to_owned(), reason: format!("not a valid private key: {other}") },
    })
}

/// The cryptography that all TLS here is done with.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authorities of a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "certificate authority")? {
        roots.add(certificate).map_err(|error| TlsError::Invalid {
            path: path.to_owned(),
            reason: format!("not a certificate authority: {error}"),
        })?;
    }
    Ok(roots)
}

impl TlsFiles {
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let broken =
            |path: &Path, error: rustls::Error| TlsError::Invalid { path: path.to_owned(), reason: error.to_string() };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(&self.ca, error))?
            .with_root_certificates(roots(&self.ca)?);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates(&identity.certificate, "certificate")?;
                let key = private_key(&identity.key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| broken(&identity.certificate, error))?
            }
        };
        Ok(Arc::new(config))
    }
}

/// What a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerIdentity {
    /// These files.
    Files(TlsIdentity),
    /// A certificate that the daemon's own authority makes for it.
    Issued,
}

impl ServerIdentity {
    /// Completes a configuration with what this server shows.
    pub(crate) fn complete(
        &self,
        builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
        local: &LocalAuthority,
    ) -> Result<ServerConfig, TlsError> {
        match self {
            Self::Files(TlsIdentity { certificate, key }) => {
                let broken =
                    |error: rustls::Error| TlsError::Invalid { path: certificate.clone(), reason: error.to_string() };
                builder.with_single_cert(certificates(certificate, "certificate")?, private_key(key)?).map_err(broken)
            }
            Self::Issued => {
                let server = local.server.clone().ok_or(TlsError::NoAuthority)?;
                Ok(builder.with_cert_resolver(server))
            }
        }
    }
}

/// Whose certificates a server accepts: those of the files' authorities and of the daemon's own.
pub(crate) fn client_roots(ca: Option<&Path>, local: &LocalAuthority) -> Result<RootCertStore, TlsError> {
    let mut roots = ca.map_or_else(|| Ok(RootCertStore::empty()), roots)?;
    roots.add_parsable_certificates(local.roots.iter().cloned());
    if roots.is_empty() { Err(TlsError::NoAuthority) } else { Ok(roots) }
}

/// A server that demands a certificate of each client, and shows one itself.
pub(crate) fn demanding_server(
    ca: Option<&Path>,
    identity: &ServerIdentity,
    local: &LocalAuthority,
) -> Result<Arc<ServerConfig>, TlsError> {
    let path = || ca.map_or_else(PathBuf::new, Path::to_owned);
    let verifier = client_verifier(client_roots(ca, local)?, &local.revocations, true)
        .map_err(|error| TlsError::Invalid { path: path(), reason: error.to_string() })?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Invalid { path: path(), reason: error.to_string() })?
        .with_client_cert_verifier(verifier);
    identity.complete(builder, local).map(Arc::new)
}

/// The common name of a certificate in DER; `None` unless there is exactly one that is printable text.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    let is_fit = names.next().is_none() && !name.is_empty() && !name.chars().any(char::is_control);
    is_fit.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
        let identity = ServerIdentity::Files(files.identity.clone().unwrap());
        demanding_server(Some(&files.ca), &identity, &LocalAuthority::default())
    }

    // G08
    #[test]
    fn each_bad_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path("good.crt"), issued.cert.pem()).unwrap();
        std::fs::write(path("good.key"), issued.signing_key.serialize_pem()).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path("other.key"), other.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("empty"), "nothing here\n").unwrap();
        std::fs::write(path("broken"), "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();

        for (ca, certificate, key, culprit, reason) in [
            ("absent", "good.crt", "good.key", "absent", "cannot read the certificate authority file"),
            ("empty", "good.crt", "good.key", "empty", "holds no certificate"),
            ("broken", "good.crt", "good.key", "broken", "not valid PEM"),
            ("good.crt", "absent", "good.key", "absent", "cannot read the certificate file"),
            ("good.crt", "empty", "good.key", "empty", "holds no certificate"),
            ("good.crt", "good.crt", "absent", "absent", "cannot read the private key file"),
            ("good.crt", "good.crt", "empty", "empty", "holds no private key"),
            ("good.crt", "good.crt", "other.key", "good.crt", "cannot be used"),
        ] {
            let identity = Some(TlsIdentity { certificate: path(certificate), key: path(key) });
            let files = TlsFiles { ca: path(ca), identity };
            for error in [files.client_config().unwrap_err(), server_config(&files).unwrap_err()] {
                let text = error.to_string();
                let culprit = path(culprit).display().to_string();
                assert!(text.contains(&culprit) && text.contains(reason), "{ca} {certificate} {key}: {text}");
            }
        }
        let files = TlsFiles { ca: path("good.crt"), identity: None };
        assert!(files.client_config().is_ok());
        let nobody = demanding_server(None, &ServerIdentity::Issued, &LocalAuthority::default());
        assert!(matches!(nobody, Err(TlsError::NoAuthority)));
    }
}
