//! One connection to a daemon, of any kind.

use std::{
    io,
    net::IpAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// One connection.
pub(super) struct Stream(Box<dyn Both>);

impl Stream {
    pub(super) async fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self(Box::new(UnixStream::connect(path).await?)))
    }

    pub(super) async fn tcp(authority: &str) -> io::Result<Self> {
        Ok(Self(Box::new(TcpStream::connect(authority).await?)))
    }

    pub(super) async fn tls(authority: &str, trust: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(host(authority).to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(authority).await?;
        Ok(Self(Box::new(TlsConnector::from(trust).connect(name, stream).await?)))
    }
}

/// The host of `HOST:PORT`, without brackets.
fn host(authority: &str) -> &str {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Nothing that is sent there leaves this machine.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = host(authority);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}
