//! Binding: all listeners or none.

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

use super::{
    Certificates, ConnectionLimits,
    accept::{Listener, Serving},
};

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// TCP addresses. Off loopback only with certificates.
    pub tcp: Vec<SocketAddr>,
    /// The operator's socket, mode 0660.
    pub unix: Option<PathBuf>,
    /// TLS of all TCP listeners.
    pub certificates: Option<Certificates>,
    /// Bounds of connections.
    pub limits: ConnectionLimits,
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
    /// Tokens would cross the network in the clear.
    #[error(
        "http: {address} is not on loopback, and there is no TLS; set http.tls.cert and http.tls.key, or listen on 127.0.0.1"
    )]
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
    certificates: Option<Certificates>,
    limits: ConnectionLimits,
}

impl Server {
    /// Binds all listeners or none. A socket file that nobody answers on is replaced.
    ///
    /// # Errors
    /// A listener cannot be had, or would be open to the network without TLS.
    pub async fn bind(listeners: &Listeners) -> Result<Self, BindError> {
        let mut tcp = Vec::with_capacity(listeners.tcp.len());
        for &address in &listeners.tcp {
            if !address.ip().is_loopback() && listeners.certificates.is_none() {
                return Err(BindError::NotLoopback { address });
            }
            tcp.push(TcpListener::bind(address).await.map_err(|source| BindError::Tcp { address, source })?);
        }
        let unix = match &listeners.unix {
            Some(path) => Some((bind_socket(path).await?, path.clone())),
            None => None,
        };
        Ok(Self { tcp, unix, certificates: listeners.certificates.clone(), limits: listeners.limits })
    }

    /// The TCP addresses that were bound; tells which port 0 became.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `shutdown` is true, then lets requests end and removes the socket.
    pub async fn serve(self, router: Router, shutdown: watch::Receiver<bool>) {
        let mut listeners = JoinSet::new();
        let limits = self.limits;
        let serving = |places| Serving { router: router.clone(), limits, places, shutdown: shutdown.clone() };
        let places = Serving::places(limits);
        for listener in self.tcp {
            let listener = Listener::tcp(listener, self.certificates.clone());
            listeners.spawn(listener.serve(serving(places.clone())));
        }
        let mut socket = None;
        if let Some((listener, path)) = self.unix {
            socket = Some(path);
            // Places of its own: the operator gets through when the network has taken all others.
            listeners.spawn(Listener::Unix(listener).serve(serving(Serving::places(limits))));
        }
        while let Some(ended) = listeners.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an HTTP listener ended");
            }
        }
        if let Some(path) = socket {
            let _gone_already_is_fine = std::fs::remove_file(path);
        }
    }
}

async fn bind_socket(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Socket { path: path.to_owned(), source };
    if path.exists() && UnixStream::connect(path).await.is_ok() {
        return Err(BindError::SocketInUse { path: path.to_owned() });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Under another name until its mode is right: nobody slips in between.
    let unfinished = path.with_file_name(format!(".{name}.{}", std::process::id()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let _from_a_process_of_the_same_id = std::fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished).map_err(failed)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    std::fs::rename(&unfinished, path).map_err(failed)?;
    Ok(listener)
}
