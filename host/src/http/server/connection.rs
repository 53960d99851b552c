//! One connection, from its first byte to its last.

use std::{pin::pin, time::Duration};

use axum::body::Body;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::accept::Serving;
use crate::http::Peer;

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at one time.
    pub max_connections: usize,
    /// How long a client may take for its handshake, for the head of a request, and for nothing between two requests.
    pub header_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max_connections: 1024, header_timeout: Duration::from_secs(15) }
    }
}

/// Longer heads are refused with 431.
const LONGEST_HEAD: usize = 64 * 1024;

pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: Peer, serving: Serving) {
    let Serving { router, limits, mut shutdown, .. } = serving;
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        let mut router = router.clone();
        async move { router.call(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that went, was too slow or spoke no HTTP ends its own connection.
        _ = connection.as_mut() => return,
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _its_own_end = connection.await;
}
