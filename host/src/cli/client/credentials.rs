//! How the commands make themselves known to a daemon, and whom they trust.

use std::{env, fs, path::PathBuf, sync::Arc};

use hyper::header::HeaderValue;
use rustls::ClientConfig;

use crate::{cli::exit::Failure, tls::TlsFiles};

const VARIABLE: &str = "CAPSTAN_TOKEN";

/// What the options say of it.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// File with the token; else the environment's.
    pub token_file: Option<PathBuf>,
    /// Authority of the daemon's certificate.
    pub ca: Option<PathBuf>,
}

impl Credentials {
    /// The header that shows the token, if there is a token.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let (text, place) = match &self.token_file {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    Failure::Usage(format!("--token-file: {} cannot be read: {error}", path.display()))
                })?;
                (text, path.display().to_string())
            }
            None => match env::var(VARIABLE) {
                Ok(text) if !text.is_empty() => (text, VARIABLE.to_owned()),
                _ => return Ok(None),
            },
        };
        let text = text.trim();
        let value = Some(text).filter(|text| !text.is_empty()).and_then(|text| {
            let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        value
            .map(Some)
            .ok_or_else(|| Failure::Usage(format!("{place}: found no token; expected one line of `capstan token new`")))
    }

    /// Whom to trust over TLS.
    pub(super) fn trust(&self) -> Result<Arc<ClientConfig>, Failure> {
        let Some(ca) = &self.ca else {
            return Err(Failure::Usage(
                "--url https://… needs --ca FILE: the authority of the daemon's certificate, in PEM; for a certificate \
                 of a public authority name the system's bundle, such as /etc/ssl/certs/ca-certificates.crt"
                    .to_owned(),
            ));
        };
        TlsFiles { ca: ca.clone(), identity: None }
            .client_config()
            .map_err(|error| Failure::Usage(format!("--ca: {error}")))
    }
}
