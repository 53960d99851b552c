//! Which server, and how it is reached.

use std::{
    fs,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use postgres::{
    Config, NoTls,
    config::{Host, SslMode, TargetSessionAttrs},
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure;
use crate::store::{Error, Location};

/// How long a connection may take to come about, and how long a lost one goes unnoticed.
const REACH: Duration = Duration::from_secs(5);

/// For how long a server that could not be reached is not asked again: callers learn at once that it is gone.
const REST: Duration = Duration::from_millis(300);

/// A server, or several of which one takes changes.
pub(crate) struct Server {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    place: String,
    down: Mutex<Option<(Instant, Error)>>,
}

impl Server {
    /// Reads the URL; connects to nothing yet.
    pub fn new(location: &Location) -> Result<Self, Error> {
        let Location::Postgres { url, password, ca } = location else {
            return Err(Error::Invalid("store.url names no PostgreSQL".to_owned()));
        };
        let mut config = Config::from_str(url).map_err(|error| Error::Invalid(format!("store.url: {error}")))?;
        if let Some(password) = password {
            config.password(password.expose());
        }
        config
            .application_name("capstan")
            .connect_timeout(REACH)
            .tcp_user_timeout(REACH)
            .keepalives_idle(REACH)
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let tls = match ca {
            Some(ca) => {
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(client(ca)?))
            }
            None if config.get_ssl_mode() == SslMode::Require => {
                return Err(Error::Invalid(
                    "store.url has sslmode=require; set store.ca to the authority that the server's certificate comes from".to_owned(),
                ));
            }
            None => {
                config.ssl_mode(SslMode::Disable);
                None
            }
        };
        let place = place(&config);
        Ok(Self { config, tls, place, down: Mutex::default() })
    }

    /// Server and database, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// A connection, or at once the error of the last attempt if that was a moment ago.
    pub fn connect(&self) -> Result<postgres::Client, Error> {
        if let Some((since, error)) = &*self.down.lock().unwrap_or_else(PoisonError::into_inner)
            && since.elapsed() < REST
        {
            return Err(error.clone());
        }
        let connected = match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        };
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        match connected {
            Ok(client) => {
                *down = None;
                Ok(client)
            }
            Err(error) => {
                let error = Error::Unavailable(format!(
                    "{}: {}; see that PostgreSQL runs and lets this daemon in; once it does, a daemon that runs goes on by itself",
                    self.place,
                    failure::words(&error)
                ));
                *down = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<_> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        })
        .collect();
    format!("PostgreSQL {} at {}", config.get_dbname().unwrap_or("(no database named)"), hosts.join(", "))
}

/// Demands a certificate for the server's name from this authority.
fn client(ca: &Path) -> Result<ClientConfig, Error> {
    let broken = |reason: String| Error::Invalid(format!("store.ca {}: {reason}", ca.display()));
    let pem = fs::read(ca).map_err(|error| broken(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| broken(format!("not valid PEM: {error}")))?;
        roots.add(certificate).map_err(|error| broken(format!("not a certificate authority: {error}")))?;
    }
    if roots.is_empty() {
        return Err(broken("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
