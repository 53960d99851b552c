//! The commands' way to a running daemon: HTTP over its Unix socket, or over a URL.

mod credentials;
mod stream;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group};
use serde_json::Value;

use super::exit::Failure;
pub use credentials::Credentials;
use stream::Stream;

const TIMEOUT: Duration = Duration::from_secs(30);
/// For what takes the daemon a while: to load a driver is a probe, an `open` and a `health`, perhaps behind another load.
const LONG_TIMEOUT: Duration = Duration::from_secs(180);
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// Where the daemon is, and how the commands make themselves known to it.
#[derive(Clone)]
pub struct Daemon {
    place: Place,
    /// `Bearer TOKEN`, if there is a token.
    authorization: Option<HeaderValue>,
}

#[derive(Clone)]
enum Place {
    Socket(PathBuf),
    /// Host and port.
    Plain(String),
    /// Host and port, and whom to trust.
    Tls(String, Arc<rustls::ClientConfig>),
}

/// What is asked of a daemon.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    /// By which a request that arrives twice is known to be one.
    idempotency_key: Option<String>,
    timeout: Duration,
}

impl<'a> Ask<'a> {
    /// A read.
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, idempotency_key: None, timeout: TIMEOUT }
    }

    /// A change.
    pub fn change(method: Method, path: &'a str) -> Self {
        Self { method, path, body: None, idempotency_key: None, timeout: LONG_TIMEOUT }
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(self, body: &'a Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Once for this key, however often it is asked.
    #[must_use]
    pub fn once(self, key: String) -> Self {
        Self { idempotency_key: Some(key), ..self }
    }
}

impl Daemon {
    /// By its Unix socket.
    pub fn on_socket(path: PathBuf, credentials: &Credentials) -> Result<Self, Failure> {
        Ok(Self { place: Place::Socket(path), authorization: credentials.authorization()? })
    }

    /// By `http://HOST:PORT` or `https://HOST:PORT`.
    pub fn from_url(url: &str, credentials: &Credentials) -> Result<Self, Failure> {
        let usage = || Failure::Usage(format!("--url: found {url:?}; expected http://HOST:PORT or https://HOST:PORT"));
        let (scheme, rest) = url.split_once("://").ok_or_else(usage)?;
        let authority = rest.trim_end_matches('/');
        if !authority.contains(':') || authority.contains(['/', '@', '?', '#']) {
            return Err(usage());
        }
        let authority = authority.to_owned();
        let place = match scheme {
            "http" => Place::Plain(authority),
            "https" => Place::Tls(authority, credentials.trust()?),
            _ => return Err(usage()),
        };
        let authorization = credentials.authorization()?;
        if authorization.is_some() && matches!(&place, Place::Plain(authority) if !stream::is_loopback(authority)) {
            return Err(Failure::Usage(format!(
                "--url: a token would cross the network in the clear to {url}; say https://, or ask on the daemon's own machine"
            )));
        }
        Ok(Self { place, authorization })
    }

    fn unavailable(&self, error: impl std::fmt::Display) -> Failure {
        let (place, remedy) = match &self.place {
            Place::Socket(path) => {
                (path.display().to_string(), "start it with `capstan serve`, or name another socket with --socket")
            }
            Place::Plain(address) | Place::Tls(address, _) => {
                (address.clone(), "start it with `capstan serve`, or correct --url")
            }
        };
        Failure::Unavailable(format!("the daemon does not answer on {place}: {error}; {remedy}"))
    }

    /// GETs a path and returns its JSON. A problem body becomes a failure with its detail.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Ask::get(path)).await
    }

    /// POSTs to a path, without a body, and returns its JSON. A problem body becomes a failure with its detail.
    pub async fn post(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Ask::change(Method::POST, path)).await
    }

    /// Asks, and returns the answer's JSON; null for an answer without a body.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Value, Failure> {
        let path = ask.path.to_owned();
        let timeout = ask.timeout;
        let exchange = async {
            let response = self.send(ask).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_LIMIT)
                .collect()
                .await
                .map_err(|error| self.unavailable(error))?
                .to_bytes();
            read(&path, status, &body)
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .map_err(|_| self.unavailable(format!("no answer within {} s", timeout.as_secs())))?
    }

    /// GETs a path whose answer comes piece by piece, and hands over each piece until `take` says that it is enough.
    pub async fn follow(&self, path: &str, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), Failure> {
        let response = tokio::time::timeout(TIMEOUT, self.send(Ask::get(path)))
            .await
            .map_err(|_| self.unavailable(format!("no answer within {} s", TIMEOUT.as_secs())))??;
        let (status, mut body) = (response.status(), response.into_body());
        if !status.is_success() {
            let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| self.unavailable(error))?;
            return read(path, status, &body.to_bytes()).map(drop);
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.unavailable(error))?;
            if frame.data_ref().is_some_and(|piece| take(piece)) {
                break;
            }
        }
        Ok(())
    }

    async fn send(&self, ask: Ask<'_>) -> Result<hyper::Response<Incoming>, Failure> {
        let (stream, host) = match &self.place {
            Place::Socket(socket) => (Stream::unix(socket).await, "localhost"),
            Place::Plain(authority) => (Stream::tcp(authority).await, authority.as_str()),
            Place::Tls(authority, trust) => (Stream::tls(authority, Arc::clone(trust)).await, authority.as_str()),
        };
        let stream = stream.map_err(|error| match &self.place {
            Place::Socket(path) if error.kind() == io::ErrorKind::PermissionDenied => not_admitted(path, &error),
            _ => self.unavailable(error),
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unavailable(error))?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(ask.method).uri(ask.path).header(HOST, host);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if ask.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &ask.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let body = ask.body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::Usage(format!("{:?} cannot be asked for: {error}", ask.path)))?;
        sender.send_request(request).await.map_err(|error| self.unavailable(error))
    }
}

/// The daemon is there, and its socket is not for this user.
fn not_admitted(socket: &Path, error: &io::Error) -> Failure {
    let gid = fs::metadata(socket).map(|metadata| Gid::from_raw(metadata.gid()));
    let group = gid.ok().and_then(|gid| Group::from_gid(gid).ok().flatten()).map(|group| format!(" {}", group.name));
    Failure::Unavailable(format!(
        "{} is for the daemon's user and the members of its group{} alone: {error}; run this as one of them, or show a token by --url",
        socket.display(),
        group.unwrap_or_default()
    ))
}

fn read(path: &str, status: StatusCode, body: &[u8]) -> Result<Value, Failure> {
    if status.is_success() && body.is_empty() {
        return Ok(Value::Null);
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::Failed(format!("the daemon's answer to {path} is no JSON: {error}")))?;
    if status.is_success() {
        return Ok(value);
    }
    let mut text = value["detail"].as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(message) = value["operator_message"].as_str() {
        text = format!("{text}: {message}");
    }
    let text = format!("{text} (HTTP {})", status.as_u16());
    Err(match status {
        StatusCode::SERVICE_UNAVAILABLE => Failure::Unavailable(text),
        StatusCode::UNAUTHORIZED => {
            Failure::Failed(format!("{text}; set CAPSTAN_TOKEN or --token-file to a token of `capstan token new`"))
        }
        _ => Failure::Failed(text),
    })
}
