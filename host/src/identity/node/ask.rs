//! One question to the daemon, over a connection of its own.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{Trust, pin::Pinned};
use crate::{config::DaemonUrl, identity::request::sha256, tls};

/// How long one question may take, with its answer.
const LIMIT: Duration = Duration::from_secs(30);
/// No answer here is longer.
const LONGEST: usize = 256 * 1024;

/// Where the daemon is and by what it is known.
pub(super) struct Daemon {
    url: DaemonUrl,
    trust: Trust,
    tls: Option<Arc<ClientConfig>>,
}

impl Daemon {
    pub fn new(url: &DaemonUrl, trust: &Trust) -> Result<Self, String> {
        let tls = if url.is_tls() { Some(Arc::new(client(trust)?)) } else { None };
        Ok(Self { url: url.clone(), trust: trust.clone(), tls })
    }

    /// POSTs JSON and gives the answer's. Anything but a success is an error with the daemon's words.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let asked = tokio::time::timeout(LIMIT, self.exchange(path, body)).await;
        asked
            .unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
            .map_err(|reason| format!("{}: {reason}", self.url))
    }

    async fn exchange(&self, path: &str, body: &Value) -> Result<Value, String> {
        let endpoint = self.url.endpoint();
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await.map_err(|error| error.to_string())?;
        match &self.tls {
            None => self.talk(stream, path, body).await,
            Some(config) => {
                let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|error| error.to_string())?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
                self.talk(stream, path, body).await
            }
        }
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let text = |error: hyper::Error| error.to_string();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.url.endpoint().to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&bytes.to_bytes()).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let detail = answer["detail"].as_str().unwrap_or("without words");
        Err(format!("{detail} (HTTP {})", status.as_u16()))
    }

    /// Without TLS nobody has vouched for what came; it is held against what the daemon is known by, where that is told.
    pub fn check_authority(&self, ca: &str) -> Result<(), String> {
        let certificates = |pem: &str| {
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap_or_default()
        };
        let found = certificates(ca);
        let is_known = match &self.trust {
            _ if found.is_empty() => false,
            _ if self.tls.is_some() => true,
            Trust::Loopback => true,
            Trust::Authority(pem) => certificates(pem).iter().any(|one| found.contains(one)),
            Trust::Fingerprint(fingerprint) => found.iter().any(|one| sha256(one) == *fingerprint),
        };
        if is_known {
            Ok(())
        } else {
            Err("the daemon has another authority than identity.ca or ca_fingerprint says".to_owned())
        }
    }
}

fn client(trust: &Trust) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(match trust {
        Trust::Fingerprint(fingerprint) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned(fingerprint.clone())))
            .with_no_client_auth(),
        Trust::Authority(pem) => {
            let mut roots = RootCertStore::empty();
            for one in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let one = one.map_err(|error| format!("identity.ca is not valid PEM: {error}"))?;
                roots.add(one).map_err(|error| format!("identity.ca is no authority's certificate: {error}"))?;
            }
            if roots.is_empty() {
                return Err("identity.ca holds no certificate; expected the authority's in PEM".to_owned());
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Loopback => {
            return Err("identity.enrol_url with https needs identity.ca or identity.ca_fingerprint".to_owned());
        }
    })
}
