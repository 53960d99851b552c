//! The commands' way to a running daemon: HTTP over its Unix socket, or over a URL.

use std::{path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::exit::Failure;

const TIMEOUT: Duration = Duration::from_secs(30);
/// For what takes the daemon a while: to load a driver is a probe, an `open` and a `health`, perhaps behind another load.
const LONG_TIMEOUT: Duration = Duration::from_secs(180);
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// Where the daemon is.
#[derive(Clone, Debug)]
pub enum Daemon {
    /// Its Unix socket.
    Socket(PathBuf),
    /// Host and port of one of its listeners.
    Tcp(String),
}

impl Daemon {
    /// `http://host:port`.
    pub fn from_url(url: &str) -> Result<Self, Failure> {
        url.strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| rest.contains(':') && !rest.contains('/'))
            .map(|rest| Self::Tcp(rest.to_owned()))
            .ok_or_else(|| Failure::Usage(format!("--url: found {url:?}; expected http://HOST:PORT")))
    }

    fn unavailable(&self, error: impl std::fmt::Display) -> Failure {
        let (place, remedy) = match self {
            Self::Socket(path) => {
                (path.display().to_string(), "start it with `capstan serve`, or name another socket with --socket")
            }
            Self::Tcp(address) => (address.clone(), "start it with `capstan serve`, or correct --url"),
        };
        Failure::Unavailable(format!("the daemon does not answer on {place}: {error}; {remedy}"))
    }

    /// GETs a path and returns its JSON. A problem body becomes a failure with its detail.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, TIMEOUT).await
    }

    /// POSTs to a path, without a body, and returns its JSON. A problem body becomes a failure with its detail.
    pub async fn post(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::POST, path, LONG_TIMEOUT).await
    }

    async fn request(&self, method: Method, path: &str, timeout: Duration) -> Result<Value, Failure> {
        let exchange = async {
            match self {
                Self::Socket(socket) => {
                    let stream = UnixStream::connect(socket).await.map_err(|error| self.unavailable(error))?;
                    self.exchange(stream, "localhost", method, path).await
                }
                Self::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.map_err(|error| self.unavailable(error))?;
                    self.exchange(stream, address, method, path).await
                }
            }
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .map_err(|_| self.unavailable(format!("no answer within {} s", timeout.as_secs())))?
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        method: Method,
        path: &str,
    ) -> Result<Value, Failure> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unavailable(error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure::Usage(format!("{path:?} is no path: {error}")))?;
        let response = sender.send_request(request).await.map_err(|error| self.unavailable(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| self.unavailable(error))?
            .to_bytes();
        let value: Value = serde_json::from_slice(&body)
            .map_err(|error| Failure::Failed(format!("the daemon's answer to {path} is no JSON: {error}")))?;
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text = format!("{detail} (HTTP {})", status.as_u16());
        Err(if status == StatusCode::SERVICE_UNAVAILABLE { Failure::Unavailable(text) } else { Failure::Failed(text) })
    }
}
