//! The embedded job server: what gearmand is to several machines, for one machine or a small fleet with certificates.
//!
//! Everything is in memory by design. Gearman carries messages and is never the truth: what must not be lost is stored by
//! whoever submits it, and submitted again. A restart of this server forgets all jobs, and its clients and workers come
//! back by themselves.

mod access;
mod connection;
mod core;
mod options;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

pub use self::access::{Access, AccessRule, PatternError};
use self::core::Core;
pub use self::options::{ServerError, ServerOptions, ServerTls};
use super::transport::is_loopback;
use crate::telemetry::{Figures, names};
use crate::tls;

/// How long a job may wait for the one worker that was woken before all others are.
const SECOND_CALL: Duration = Duration::from_millis(5);

/// How often jobs are held against the time limits of their workers.
const EXPIRY: Duration = Duration::from_millis(250);

/// How long at its end the server goes on for jobs that are being done: the daemon's own worker has ended by then, so as a
/// rule its last answer only has to be passed on.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// A job server that has its address and is ready to run.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections of a server share.
struct Shared {
    core: Mutex<Core>,
    options: ServerOptions,
    tls: Option<TlsAcceptor>,
    /// Workers were left asleep beside waiting jobs.
    second_call: Notify,
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then sends what came of it.
    fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let (outcome, dirty, has_left_asleep) = {
            let mut core = self.core();
            (change(&mut core), core.take_dirty(), core.has_left_asleep())
        };
        for outbox in dirty {
            outbox.flush();
        }
        if has_left_asleep {
            self.second_call.notify_one();
        }
        outcome
    }
}

impl Server {
    /// Takes the address. Nothing is served before [`Server::run`].
    ///
    /// # Errors
    /// [`ServerError`]: an address off loopback without TLS, files or access rules of no use, an address that cannot be
    /// had.
    pub async fn bind(listen: SocketAddr, options: ServerOptions) -> Result<Server, ServerError> {
        options.access.check()?;
        if options.tls.is_none() && !is_loopback(listen) {
            return Err(ServerError::NeedsTls { listen });
        }
        let tls = match &options.tls {
            Some(ServerTls { ca, identity }) => {
                Some(TlsAcceptor::from(tls::demanding_server(ca.as_deref(), identity, &options.authority)?))
            }
            None => None,
        };
        let failed = |source| ServerError::Bind { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let core = Mutex::new(Core::new(&options, handle_prefix()));
        let shared = Arc::new(Shared { core, options, tls, second_call: Notify::new() });
        Ok(Server { listener, address, shared })
    }

    /// The address it listens on, with the real port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Sets the gauges of this server whenever it is called, as long as the server exists.
    pub fn observer(&self, figures: Figures) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            let Some(shared) = shared.upgrade() else { return };
            let (connections, waiting, submitted) = shared.core().load();
            figures.gauge(&names::JOBS_CONNECTIONS, []).set(i64::try_from(connections).unwrap_or(i64::MAX));
            figures.gauge(&names::JOBS_WAITING, []).set(i64::try_from(waiting).unwrap_or(i64::MAX));
            let counter = figures.counter(&names::JOBS_SUBMITTED, []);
            counter.add(submitted.saturating_sub(counter.value()));
        }
    }

    /// Serves until `shutdown` becomes true or its sender is dropped, lets answers that are on their way reach their clients, and
    /// closes all connections.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        info!(listen = %self.address, tls = self.shared.tls.is_some(), "embedded job server is ready");
        let room = Arc::new(Semaphore::new(self.shared.options.max_connections));
        let mut tasks = JoinSet::new();
        let mut is_full = false;
        let shared = Arc::clone(&self.shared);
        tasks.spawn(async move { keep_time(&shared).await });
        loop {
            let accepted = tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                accepted = self.listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, as a rule: connections that end give some back.
                    warn!(%error, "embedded job server cannot accept connections");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                if !is_full {
                    let limit = self.shared.options.max_connections;
                    warn!(limit, %peer, "embedded job server refuses connections: it has as many as it may");
                }
                is_full = true;
                continue;
            };
            is_full = false;
            let shared = Arc::clone(&self.shared);
            tasks.spawn(async move {
                connection::serve(&shared, stream, peer).await;
                drop(place);
            });
        }
        let last_answers = async {
            while self.shared.core().is_busy() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _cut_off = tokio::time::timeout(LAST_ANSWERS, last_answers).await;
        tasks.shutdown().await;
        info!(listen = %self.address, "embedded job server has stopped");
    }
}

/// Wakes the workers that [`Core`] left asleep, and fails the jobs that take too long.
async fn keep_time(shared: &Shared) {
    let mut expiry = tokio::time::interval(EXPIRY);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.second_call.notified() => {
                tokio::time::sleep(SECOND_CALL).await;
                shared.change(Core::wake_rest);
            }
            _ = expiry.tick() => shared.change(|core| core.expire(Instant::now())),
        }
    }
}

/// `H:host.XXXX`: gearmand's form, and different at each start.
fn handle_prefix() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "-.".contains(*letter);
    let host: String = host.chars().filter(is_plain).take(30).collect();
    let host = if host.is_empty() { "capstan" } else { &host };
    let start = uuid::Uuid::new_v4().simple().to_string();
    format!("H:{host}.{}", start.get(..4).unwrap_or_default())
}

/// Settings of a socket that a server accepted: small packets at once, and vanished peers found out within minutes.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let minute = Duration::from_secs(60);
    let keepalive = super::transport::Keepalive { idle: Some(minute), interval: Some(minute / 4), count: Some(4) };
    keepalive.apply(stream)?;
    Ok(())
}
