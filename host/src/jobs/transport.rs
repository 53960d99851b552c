//! Connecting to a job server, over plain TCP or TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::config::Endpoint;
use crate::tls::{self, Meaning, TlsError, TlsFiles};

/// The half of a connection that is read.
pub(super) type ReadEnd = Box<dyn AsyncRead + Send + Unpin>;

/// The half of a connection that is written.
pub(super) enum WriteEnd {
    Plain(OwnedWriteHalf),
    Tls(Box<dyn tokio::io::AsyncWrite + Send + Unpin>),
}

/// TCP keepalive: how a connection whose other side vanished without a word is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe; `None` keeps the system's default. Whole seconds, at least one.
    pub idle: Option<Duration>,
    /// Time between probes; `None` keeps the system's default. Whole seconds, at least one.
    pub interval: Option<Duration>,
    /// Probes without an answer before the connection is given up; `None` keeps the system's default.
    pub count: Option<u32>,
}

/// How to reach job servers. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    tls: Security,
    keepalive: Option<Keepalive>,
    connect_timeout: Duration,
}

#[derive(Clone)]
enum Security {
    Plain,
    Fixed(Arc<rustls::ClientConfig>),
    /// With a certificate that comes later and changes.
    Watched(watch::Receiver<Option<Arc<rustls::ClientConfig>>>),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Transport")
            .field("tls", &!matches!(self.tls, Security::Plain))
            .field("keepalive", &self.keepalive)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

/// Why a job server could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The TCP connection could not be made.
    #[error("cannot connect to job server {endpoint}: {source}")]
    Connect {
        /// Which server.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// The host is no name that a certificate could carry.
    #[error("job server {endpoint} cannot be reached over TLS: its host is no valid name or address")]
    Name {
        /// Which server.
        endpoint: Endpoint,
    },
    /// The node is to show a certificate and has none yet.
    #[error("job server {endpoint} is not asked before this node has its certificate")]
    NoCertificate {
        /// Which server.
        endpoint: Endpoint,
    },
    /// Nothing answered in time.
    #[error("job server {endpoint} did not answer within {limit:?}")]
    Timeout {
        /// Which server.
        endpoint: Endpoint,
        /// The limit.
        limit: Duration,
    },
    /// The TLS handshake failed.
    #[error("no TLS connection to job server {endpoint}: {}", refusal(.source))]
    Tls {
        /// Which server.
        endpoint: Endpoint,
        /// What the TLS layer said.
        source: io::Error,
    },
}

/// What the TLS layer says, and what to do about it.
fn refusal(error: &io::Error) -> String {
    match tls::meaning(error) {
        Meaning::NoTls => format!(
            "the other side does not speak TLS ({error}); give that job server TLS (gearman.embedded_tls, if it is a daemon's own), or \
             remove gearman.ssl_ca, gearman.ssl_cert and gearman.ssl_key, and on a node identity.enrol_url, for this side to do without"
        ),
        Meaning::CutOff => "the other side ended the connection in the handshake: it does not speak TLS, or it was ended itself; its log \
                            says why"
            .to_owned(),
        Meaning::Refused => format!("{error}; {SEE_CERTIFICATE}"),
        Meaning::Other => error.to_string(),
    }
}

/// Where to look when a certificate is refused.
const SEE_CERTIFICATE: &str = "the certificate of this side is not accepted, it may be revoked or have ended: see the job server's log and, for a node's, \
                               `capstan identity list` where its authority is";

/// What is read over TLS. A server checks a certificate after the client holds the handshake for done, so that a refusal comes with
/// the first read, if it comes as more than an end.
struct Told<R> {
    inner: R,
    /// Whether this side has shown a certificate.
    has_shown: bool,
}

impl<R: AsyncRead + Unpin> AsyncRead for Told<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let has_shown = self.has_shown;
        Pin::new(&mut self.inner).poll_read(context, buffer).map_err(|error| match tls::meaning(&error) {
            Meaning::Refused => io::Error::new(error.kind(), format!("{error}; {SEE_CERTIFICATE}")),
            Meaning::CutOff if has_shown => io::Error::new(
                error.kind(),
                format!(
                    "the other side ended it without a word: it was killed, the network broke, or {SEE_CERTIFICATE}"
                ),
            ),
            Meaning::CutOff => io::Error::new(error.kind(), "the other side ended it without a word"),
            Meaning::NoTls | Meaning::Other => error,
        })
    }
}

impl Transport {
    /// Plain TCP without keepalive; connecting may take 10 s.
    pub fn plain() -> Transport {
        Transport { tls: Security::Plain, keepalive: None, connect_timeout: Duration::from_secs(10) }
    }

    /// TLS 1.2 or 1.3 with the files' authority, and their certificate if they name one. The server's certificate must
    /// carry the host of its endpoint. Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file that is missing, unreadable or holds nothing of use.
    pub fn tls(files: &TlsFiles) -> Result<Transport, TlsError> {
        Ok(Transport { tls: Security::Fixed(files.client_config()?), ..Transport::plain() })
    }

    /// TLS with whatever is in force; as long as that is nothing, nothing is connected. Workers connect anew when it changes.
    #[must_use]
    pub fn watched(tls: watch::Receiver<Option<Arc<rustls::ClientConfig>>>) -> Transport {
        Transport { tls: Security::Watched(tls), ..Transport::plain() }
    }

    /// What tells of a change of what is in force, from now on; none where nothing changes.
    pub(super) fn changes(&self) -> Option<watch::Receiver<Option<Arc<rustls::ClientConfig>>>> {
        match &self.tls {
            Security::Watched(tls) => {
                let mut tls = tls.clone();
                tls.mark_unchanged();
                Some(tls)
            }
            Security::Plain | Security::Fixed(_) => None,
        }
    }

    /// The same with keepalive on.
    #[must_use]
    pub fn with_keepalive(mut self, keepalive: Keepalive) -> Transport {
        self.keepalive = Some(keepalive);
        self
    }

    /// The same with another limit for connecting, handshake included.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Transport {
        self.connect_timeout = limit;
        self
    }

    /// The limit for connecting.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Connects. Small packets leave at once (TCP_NODELAY): with Nagle's algorithm a worker's answer waits up to 44 ms for
    /// the acknowledgement of the packet before it.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<(ReadEnd, WriteEnd), TransportError> {
        let limit = self.connect_timeout;
        match tokio::time::timeout(limit, self.open(endpoint)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TransportError::Timeout { endpoint: endpoint.clone(), limit }),
        }
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<(ReadEnd, WriteEnd), TransportError> {
        let failed = |source| TransportError::Connect { endpoint: endpoint.clone(), source };
        let config = match &self.tls {
            Security::Plain => None,
            Security::Fixed(config) => Some(Arc::clone(config)),
            Security::Watched(tls) => {
                let config = tls.borrow().clone();
                Some(config.ok_or_else(|| TransportError::NoCertificate { endpoint: endpoint.clone() })?)
            }
        };
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await.map_err(failed)?;
        if stream.local_addr().ok() == stream.peer_addr().ok() {
            // A loopback port of the ephemeral range can be joined to itself while its server is down.
            return Err(failed(io::ErrorKind::ConnectionRefused.into()));
        }
        stream.set_nodelay(true).map_err(failed)?;
        if let Some(keepalive) = self.keepalive {
            keepalive.apply(&stream).map_err(|errno| failed(errno.into()))?;
        }
        let Some(config) = config else {
            let (read, write) = stream.into_split();
            return Ok((Box::new(read), WriteEnd::Plain(write)));
        };
        let name = ServerName::try_from(endpoint.host().to_owned())
            .map_err(|_| TransportError::Name { endpoint: endpoint.clone() })?;
        let has_shown = config.client_auth_cert_resolver.has_certs();
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|source| TransportError::Tls { endpoint: endpoint.clone(), source })?;
        let (read, write) = tokio::io::split(stream);
        Ok((Box::new(Told { inner: read, has_shown }), WriteEnd::Tls(Box::new(write))))
    }
}

impl Keepalive {
    pub(super) fn apply(self, stream: &TcpStream) -> rustix::io::Result<()> {
        use rustix::net::sockopt;
        let second = Duration::from_secs(1);
        sockopt::set_socket_keepalive(stream, true)?;
        if let Some(idle) = self.idle {
            sockopt::set_tcp_keepidle(stream, idle.max(second))?;
        }
        if let Some(interval) = self.interval {
            sockopt::set_tcp_keepintvl(stream, interval.max(second))?;
        }
        if let Some(count) = self.count {
            sockopt::set_tcp_keepcnt(stream, count)?;
        }
        Ok(())
    }
}

/// What a server does with a socket it accepted.
pub(super) fn split_accepted(stream: TcpStream) -> (ReadEnd, WriteEnd) {
    let (read, write) = stream.into_split();
    (Box::new(read), WriteEnd::Plain(write))
}

/// Whether an address is reachable from this machine alone.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    // G07
    #[tokio::test]
    async fn keepalive_reaches_the_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let second = Duration::from_secs(1);
        let wanted = Keepalive { idle: Some(9 * second), interval: Some(4 * second), count: Some(3) };
        wanted.apply(&stream).unwrap();
        use rustix::net::sockopt;
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), 9 * second);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), 4 * second);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), 3);
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for (text, expected) in [
            ("127.0.0.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
        ] {
            assert_eq!(is_loopback(text.parse().unwrap()), expected, "{text}");
        }
    }
}
