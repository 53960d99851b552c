//! Taking connections, a bounded number at a time.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{Certificates, ConnectionLimits, connection};
use crate::{http::Peer, tls};

/// After an `accept` that failed because the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

/// To a connection that is one too many.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
connection: close\r\n\r\n\
{\"type\":\"unavailable\",\"title\":\"Not available\",\"status\":503,\"detail\":\"all connections are taken; ask again\",\"retry_after\":1}";

/// A bound listener.
pub(super) enum Listener {
    Tcp { listener: TcpListener, on_loopback: bool, certificates: Option<Certificates> },
    Unix(UnixListener),
}

/// A connection before anything was said on it.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream, u32),
}

/// What each connection of a listener is served with.
#[derive(Clone)]
pub(super) struct Serving {
    pub router: Router,
    pub limits: ConnectionLimits,
    pub places: Arc<Semaphore>,
    pub shutdown: watch::Receiver<bool>,
}

impl Serving {
    /// Places for connections, for one or several listeners.
    pub(super) fn places(limits: ConnectionLimits) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)))
    }
}

impl Listener {
    pub(super) fn tcp(listener: TcpListener, certificates: Option<Certificates>) -> Self {
        let on_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        Self::Tcp { listener, on_loopback, certificates }
    }

    /// Accepts until the end and waits for the connections that are open then. One without a place is turned away.
    pub(super) async fn serve(self, serving: Serving) {
        let mut shutdown = serving.shutdown.clone();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                // An error means that the sender is gone, which ends the daemon as well.
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(_ended) = connections.join_next(), if !connections.is_empty() => continue,
            };
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match Arc::clone(&serving.places).try_acquire_owned() {
                Ok(place) => {
                    connections.spawn(self.connection(accepted, serving.clone(), place));
                }
                Err(_) => self.turn_away(&accepted),
            }
        }
        // Who calls now is refused rather than left to wait for somebody who takes no more.
        drop(self);
        while connections.join_next().await.is_some() {}
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp { listener, .. } => {
                let (stream, address) = listener.accept().await?;
                // Answers are small and whole.
                let _only_slower_without = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, address))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred()?.uid();
                Ok(Accepted::Unix(stream, user))
            }
        }
    }

    /// Never waits: a new connection's buffer has room. Before a TLS handshake there is nothing to say.
    fn turn_away(&self, accepted: &Accepted) {
        let _gone_already = match (accepted, self) {
            (Accepted::Tcp(stream, _), Self::Tcp { certificates: None, .. }) => stream.try_write(FULL),
            (Accepted::Unix(stream, _), _) => stream.try_write(FULL),
            (Accepted::Tcp(..), _) => Ok(0),
        };
    }

    fn connection(
        &self,
        accepted: Accepted,
        serving: Serving,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (on_loopback, certificates) = match self {
            Self::Tcp { on_loopback, certificates, .. } => (*on_loopback, certificates.clone()),
            Self::Unix(_) => (false, None),
        };
        async move {
            match accepted {
                Accepted::Unix(stream, user) => connection::serve(stream, Peer::Unix { user }, serving).await,
                Accepted::Tcp(stream, address) => {
                    let peer = |certificate| Peer::Tcp { address, on_loopback, certificate };
                    match certificates {
                        None => connection::serve(stream, peer(None), serving).await,
                        Some(certificates) => secured(stream, &certificates, peer, serving).await,
                    }
                }
            }
            drop(place);
        }
    }
}

async fn secured(
    stream: TcpStream,
    certificates: &Certificates,
    peer: impl FnOnce(Option<String>) -> Peer,
    serving: Serving,
) {
    let handshake = certificates.acceptor().accept(stream);
    match tokio::time::timeout(serving.limits.header_timeout, handshake).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
            let name = shown.as_deref().and_then(tls::common_name);
            let served = connection::serve(stream, peer(name.clone()), serving);
            let Some(shown) = shown else { return served.await };
            tokio::select! {
                biased;
                reason = certificates.revocations().ended(&shown) => {
                    warn!(name, reason, "a connection is closed: its certificate is of no use any more");
                }
                () = served => {}
            }
        }
        Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
        Err(_) => debug!("a TLS handshake took too long"),
    }
}
