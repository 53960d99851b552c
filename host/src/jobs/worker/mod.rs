//! Taking jobs.

mod handler;
mod session;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use self::handler::{Handler, Job, JobResult, Progress};
use self::session::Session;
use super::packet::MAX_FUNCTION;
use super::transport::Transport;
use crate::{backoff::Backoff, config::Endpoint};

/// The first wait before a lost server is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// What the worker calls itself on the servers. White space becomes `_`.
    pub client_id: String,
    /// What it can do: at least one name, without NUL bytes.
    pub functions: Vec<String>,
    /// Jobs at once, over all servers together.
    pub concurrency: usize,
    /// The largest payload in bytes; a job with a larger one fails and the next is served.
    pub max_payload: usize,
    /// The longest wait before a lost server is tried again.
    pub reconnect_sleep: Duration,
}

impl WorkerOptions {
    /// One function, one job at a time, 16 MiB of payload, at most 60 s between attempts.
    pub fn new(client_id: impl Into<String>, function: impl Into<String>) -> WorkerOptions {
        WorkerOptions {
            client_id: client_id.into(),
            functions: vec![function.into()],
            concurrency: 1,
            max_payload: 16 * 1024 * 1024,
            reconnect_sleep: Duration::from_secs(60),
        }
    }
}

/// Why a worker cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// A name that no server would take.
    #[error("a worker cannot register the function {name:?}: a name has 1 to {MAX_FUNCTION} bytes and no NUL byte")]
    Function {
        /// The name.
        name: String,
    },
    /// Nothing to do.
    #[error("a worker needs at least one function to register")]
    NoFunction,
    /// Nowhere to go.
    #[error("a worker needs at least one job server: name it as host:port")]
    NoServer,
}

/// What can be seen of a worker from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerState {
    /// Servers that have confirmed our registration.
    pub connected: BTreeSet<Endpoint>,
    /// Jobs being done.
    pub running: usize,
    /// Jobs answered since the start, whatever the answer.
    pub done: u64,
    /// Why a server was last lost or could not be reached.
    pub last_error: Option<String>,
}

/// A worker that registers with all servers and takes jobs from each of them.
pub struct Worker {
    endpoints: Vec<Endpoint>,
    transport: Transport,
    options: WorkerOptions,
    state: watch::Sender<WorkerState>,
}

/// What the sessions with all servers share.
struct Shared {
    options: WorkerOptions,
    state: watch::Sender<WorkerState>,
    /// One permit for each job at once. Whoever asks a server for a job holds one.
    permits: Arc<Semaphore>,
    /// Sessions that wait for a permit.
    waiting: AtomicUsize,
}

impl Worker {
    /// A worker that is not yet connected. A server named twice counts once.
    ///
    /// # Errors
    /// [`WorkerError`] when there is nothing to do or nowhere to go.
    pub fn new(endpoints: &[Endpoint], transport: &Transport, options: WorkerOptions) -> Result<Worker, WorkerError> {
        if options.functions.is_empty() {
            return Err(WorkerError::NoFunction);
        }
        let is_bad = |name: &&String| name.is_empty() || name.len() > MAX_FUNCTION || name.contains('\0');
        if let Some(name) = options.functions.iter().find(is_bad) {
            return Err(WorkerError::Function { name: name.clone() });
        }
        let mut known: Vec<Endpoint> = Vec::new();
        for endpoint in endpoints {
            if !known.contains(endpoint) {
                known.push(endpoint.clone());
            }
        }
        if known.is_empty() {
            return Err(WorkerError::NoServer);
        }
        let state = watch::Sender::new(WorkerState::default());
        Ok(Worker { endpoints: known, transport: transport.clone(), options, state })
    }

    /// What can be seen of it, now and later. Ready means that `connected` is not empty.
    pub fn state(&self) -> watch::Receiver<WorkerState> {
        self.state.subscribe()
    }

    /// Works until `shutdown` becomes true or its sender is dropped; then takes no further job, finishes those at hand,
    /// sends their answers and leaves. Lost servers are tried again for ever.
    pub async fn run<H: Handler>(self, handler: H, mut shutdown: watch::Receiver<bool>) {
        let concurrency = self.options.concurrency.clamp(1, Semaphore::MAX_PERMITS >> 4);
        let shared = Arc::new(Shared {
            options: self.options,
            state: self.state,
            permits: Arc::new(Semaphore::new(concurrency)),
            waiting: AtomicUsize::new(0),
        });
        let handler = Arc::new(handler);
        let mut sessions = JoinSet::new();
        for endpoint in self.endpoints {
            let (shared, handler) = (Arc::clone(&shared), Arc::clone(&handler));
            let (transport, shutdown) = (self.transport.clone(), shutdown.clone());
            sessions.spawn(async move { keep_connected(&shared, &handler, &transport, &endpoint, shutdown).await });
        }
        let _ = shutdown.wait_for(|stop| *stop).await;
        while sessions.join_next().await.is_some() {}
        // Jobs whose server was lost under them run on without a session; each holds its permit until it ends.
        let all = u32::try_from(concurrency).unwrap_or(u32::MAX);
        let _ = shared.permits.acquire_many(all).await;
    }
}

/// Stays with one server until shutdown.
async fn keep_connected<H: Handler>(
    shared: &Arc<Shared>,
    handler: &Arc<H>,
    transport: &Transport,
    endpoint: &Endpoint,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, shared.options.reconnect_sleep);
    loop {
        // Before it connects: a change from here on is not missed.
        let mut changes = transport.changes();
        let opened = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            opened = Session::open(shared, handler, transport, endpoint) => opened,
        };
        let reason = match opened {
            Ok(session) => {
                backoff.reset();
                info!(server = %endpoint, functions = ?shared.options.functions, "worker is registered with the job server");
                shared.state.send_modify(|state| {
                    let _ = state.connected.insert(endpoint.clone());
                });
                let outcome = until_changed(session, shutdown.clone(), changes.take()).await;
                shared.state.send_modify(|state| {
                    let _ = state.connected.remove(endpoint);
                });
                match outcome {
                    Ok(()) if *shutdown.borrow() || shutdown.has_changed().is_err() => return,
                    Ok(()) => {
                        info!(server = %endpoint, "worker connects anew, for this node has a new certificate");
                        continue;
                    }
                    Err(reason) => reason,
                }
            }
            Err(reason) => reason,
        };
        let wait = backoff.wait();
        warn!(server = %endpoint, reason, retry_after = ?wait, "worker is not connected to the job server");
        shared.state.send_modify(|state| state.last_error = Some(reason));
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
            () = changed(&mut changes) => {}
        }
    }
}

/// Runs a session until shutdown, or until what it was connected with is not in force any more; what is at hand is finished then too.
async fn until_changed<H: Handler>(
    session: Session<H>,
    mut shutdown: watch::Receiver<bool>,
    mut changes: Changes,
) -> Result<(), String> {
    let (end, ending) = watch::channel(false);
    let told = async move {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = changed(&mut changes) => {}
        }
        let _ = end.send(true);
        // The sender's end would be taken for an end as well.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = session.run(ending) => outcome,
        () = told => Ok(()),
    }
}

type Changes = Option<watch::Receiver<Option<Arc<rustls::ClientConfig>>>>;

/// Returns when something has changed, if that is possible at all.
async fn changed(changes: &mut Changes) {
    let is_over = match changes {
        Some(changes) => changes.changed().await.is_err(),
        None => true,
    };
    if is_over {
        std::future::pending::<()>().await;
    }
}

impl Shared {
    /// Takes part in the queue for permits; fair, so a busy server does not starve a quiet one.
    async fn permit(self: Arc<Shared>) -> Option<tokio::sync::OwnedSemaphorePermit> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_work_or_server_is_refused() {
        let here = [Endpoint::new("127.0.0.1", 1)];
        let make = |endpoints: &[Endpoint], functions: &[&str]| {
            let mut options = WorkerOptions::new("w", "f");
            options.functions = functions.iter().map(|name| (*name).to_owned()).collect();
            Worker::new(endpoints, &Transport::plain(), options).err()
        };
        assert_eq!(make(&here, &[]), Some(WorkerError::NoFunction));
        assert_eq!(make(&[], &["f"]), Some(WorkerError::NoServer));
        assert!(make(&here, &["f", "a\0b"]).unwrap().to_string().contains("a\\0b"));
        assert_eq!(make(&here, &["f"]), None);
    }
}
