//! Listeners on TCP and on the operator's Unix socket, and their clean end.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use axum::Router;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// TCP addresses. Loopback only: this API has no authentication.
    pub tcp: Vec<SocketAddr>,
    /// The operator's socket, mode 0660.
    pub unix: Option<PathBuf>,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket's place cannot be used.
    #[error("http: the socket {path} cannot be opened: {source}; check that its directory exists and is writable")]
    Socket {
        /// Path of the socket.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Somebody answers there.
    #[error("http: another daemon answers on {path}; stop it, or set http.socket to another path")]
    SocketInUse {
        /// Path of the socket.
        path: PathBuf,
    },
    /// The address cannot be used.
    #[error("http: {address} cannot be bound: {source}; set http.listen to a free address")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// Anyone could call.
    #[error("http: {address} is not on loopback, and this API has no authentication; listen on 127.0.0.1 or [::1]")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
}

/// Bound listeners, not yet serving.
#[derive(Debug)]
pub struct Server {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
}

impl Server {
    /// Binds all listeners or none. A socket file that nobody answers on is replaced.
    pub async fn bind(listeners: &Listeners) -> Result<Self, BindError> {
        let mut tcp = Vec::with_capacity(listeners.tcp.len());
        for &address in &listeners.tcp {
            if !address.ip().is_loopback() {
                return Err(BindError::NotLoopback { address });
            }
            tcp.push(TcpListener::bind(address).await.map_err(|source| BindError::Tcp { address, source })?);
        }
        let unix = match &listeners.unix {
            Some(path) => Some((bind_socket(path).await?, path.clone())),
            None => None,
        };
        Ok(Self { tcp, unix })
    }

    /// The TCP addresses that were bound; tells which port 0 became.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `shutdown` is true, then lets requests end and removes the socket.
    pub async fn serve(self, router: Router, shutdown: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for listener in self.tcp {
            let (router, stop) = (router.clone(), stopped(shutdown.clone()));
            tasks.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop).await });
        }
        let mut socket = None;
        if let Some((listener, path)) = self.unix {
            socket = Some(path);
            let stop = stopped(shutdown.clone());
            tasks.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop).await });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::error!(%error, "an HTTP listener ended");
            }
        }
        if let Some(path) = socket {
            let _gone_already_is_fine = std::fs::remove_file(path);
        }
    }
}

async fn stopped(mut shutdown: watch::Receiver<bool>) {
    // An error means that the sender is gone, which ends the daemon as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn bind_socket(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Socket { path: path.to_owned(), source };
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            return Err(BindError::SocketInUse { path: path.to_owned() });
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}
