//! Runs jobs: claims those that are due, keeps their leases, and writes down how they ended.
//!
//! A handler may be stopped between any two of its steps (the process ends, the lease is lost) and begun again, here or elsewhere:
//! it looks at what is stored and goes on from there. [`Running::write`] is refused once somebody else has the job.

mod running;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tracing::{error, info, warn};

pub use running::{Running, Stop};

use super::{
    Error, Store,
    jobs::{self, Claim, Job, JobLease, Retry},
};

/// How long a job is held without a sign of life, unless the configuration says otherwise.
const LEASE: Duration = Duration::from_secs(30);
/// How often jobs are looked for that another daemon stored, or whose time has come.
const LOOK: Duration = Duration::from_millis(500);
/// How long a job whose store fails waits before it tries to write its end again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often what is old is forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// How a run of a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The job is done; this is its result.
    Done(Value),
    /// It goes on later.
    Later {
        /// How much later.
        after: Duration,
        /// Why, for people.
        why: String,
    },
    /// It has failed for good.
    Failed(String),
    /// It has stopped because somebody asked for that.
    Cancelled(String),
    /// It has stopped because the daemon ends; it is due at once, here after the restart or elsewhere.
    Released,
}

/// What does the jobs of one kind. An error of the store ends the run; the job is tried again.
pub trait Handler: Send + Sync + 'static {
    /// Does one job.
    fn run(&self, running: Running) -> Pin<Box<dyn Future<Output = Result<Next, Error>> + Send + '_>>;
}

/// Jobs of one kind.
struct Kind {
    handler: Arc<dyn Handler>,
    places: Arc<Semaphore>,
}

/// Claims and runs jobs. It has begun nothing yet.
pub struct Runner {
    store: Store,
    owner: String,
    lease: Duration,
    kinds: BTreeMap<String, Kind>,
}

impl Runner {
    /// A runner that knows no kind of job yet.
    pub fn new(store: Store) -> Self {
        // No two processes share the name, and no process has it twice.
        let owner = format!("{}/{}", std::process::id(), uuid::Uuid::new_v4());
        Self { store, owner, lease: LEASE, kinds: BTreeMap::new() }
    }

    /// Holds jobs for so long without a sign of life.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Runs jobs of a kind with a handler, so many at a time.
    #[must_use]
    pub fn with(mut self, kind: &str, at_once: usize, handler: impl Handler) -> Self {
        let places = Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)));
        self.kinds.insert(kind.to_owned(), Kind { handler: Arc::new(handler), places });
        self
    }

    /// Runs until `end` is true; then begins nothing more, tells what runs to stop, and gives back what has not stopped after
    /// `grace`.
    pub async fn run(self, mut end: watch::Receiver<bool>, grace: Duration) {
        let mut arrivals = self.store.job_arrivals();
        let mut running = JoinSet::new();
        let mut wake = Instant::now();
        let mut is_failing = false;
        let forgetting = tokio::spawn(forget(self.store.clone()));
        let _ends_with_us = AbortOnDrop(forgetting.abort_handle());
        while !*end.borrow() {
            match self.claim(&mut running, &end).await {
                Ok(()) => is_failing = false,
                Err(error) if is_failing => tracing::debug!(%error, "no jobs can be taken"),
                Err(error) => {
                    is_failing = true;
                    warn!(%error, "no jobs can be taken; they wait");
                }
            }
            let look = wake.max(Instant::now()).min(Instant::now() + LOOK);
            tokio::select! {
                _ = end.wait_for(|end| *end) => {}
                _ = arrivals.changed() => {}
                Some(ended) = running.join_next() => {
                    if let Ok(Some(next)) = ended {
                        wake = next;
                    }
                }
                () = tokio::time::sleep_until(look.into()) => wake = Instant::now() + LOOK,
            }
        }
        let all = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            warn!(jobs = running.len(), "jobs have not stopped in time; they go on after the restart");
            running.shutdown().await;
        }
    }

    /// Takes as many jobs of each kind as there are free places.
    async fn claim(&self, running: &mut JoinSet<Option<Instant>>, end: &watch::Receiver<bool>) -> Result<(), Error> {
        let mut places: BTreeMap<String, Vec<OwnedSemaphorePermit>> = BTreeMap::new();
        for (name, kind) in &self.kinds {
            let free = std::iter::from_fn(|| Arc::clone(&kind.places).try_acquire_owned().ok());
            // A place that is not used goes back at the end of this function.
            places.insert(name.clone(), free.take(256).collect());
        }
        let claims: Vec<Claim> = places
            .iter()
            .filter(|(_, free)| !free.is_empty())
            .map(|(kind, free)| Claim {
                owner: self.owner.clone(),
                kinds: vec![kind.clone()],
                limit: u32::try_from(free.len()).unwrap_or(u32::MAX),
                lease: self.lease,
            })
            .collect();
        if claims.is_empty() {
            return Ok(());
        }
        let claimed = self.store.write_locking(move |tx| {
            let mut all = Vec::new();
            for claim in &claims {
                all.extend(jobs::claim(tx, claim)?);
            }
            Ok::<_, Error>(all)
        });
        for job in claimed.await? {
            let (Some(kind), Some(free)) = (self.kinds.get(&job.kind), places.get_mut(&job.kind)) else { continue };
            let place = free.pop();
            let (store, handler, end) = (self.store.clone(), Arc::clone(&kind.handler), end.clone());
            let held = self.lease;
            running.spawn(async move {
                let next = one(store, handler, job, held, end).await;
                drop(place);
                next
            });
        }
        Ok(())
    }
}

/// Runs one job; answers when it is due again, if it is and was not so long.
async fn one(
    store: Store,
    handler: Arc<dyn Handler>,
    job: Job,
    held: Duration,
    end: watch::Receiver<bool>,
) -> Option<Instant> {
    let lease = job.lease();
    let (id, kind) = (job.id.clone(), job.kind.clone());
    let (cancel, cancelled) = watch::channel(job.cancel_requested);
    let running = Running::new(store.clone(), job, held, cancelled, end);
    // A task of its own, so that a panic of the handler is one job's.
    let mut work = tokio::spawn(async move { handler.run(running).await });
    let _stops_with_us = AbortOnDrop(work.abort_handle());
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        lost = keep(&store, &lease, held, &cancel) => {
            warn!(job = id, kind, reason = %lost, "the job is somebody else's now; it is left as it is");
            return None;
        }
    };
    let next = match outcome {
        Ok(Ok(next)) => next,
        Ok(Err(Error::LeaseLost { .. })) => return None,
        Ok(Err(error)) => Next::Later { after: AGAIN, why: error.to_string() },
        Err(panic) if panic.is_panic() => {
            error!(job = id, kind, "a job panicked; it is tried again in a minute");
            Next::Later { after: Duration::from_secs(60), why: "its handler panicked".to_owned() }
        }
        Err(_) => Next::Released,
    };
    match &next {
        Next::Failed(reason) => warn!(job = id, kind, reason, "a job has failed"),
        Next::Later { after, why } => info!(job = id, kind, ?after, why, "a job goes on later"),
        Next::Cancelled(why) => info!(job = id, kind, why, "a job was cancelled"),
        Next::Done(_) | Next::Released => {}
    }
    write_end(&store, &lease, &next).await;
    match next {
        Next::Later { after, .. } => Some(Instant::now() + after),
        _ => None,
    }
}

/// Renews a lease for as long as it is waited for; returns when it is lost.
async fn keep(store: &Store, lease: &JobLease, time: Duration, cancel: &watch::Sender<bool>) -> Error {
    loop {
        tokio::time::sleep(time / 3).await;
        let held = lease.clone();
        match store.write_locking(move |tx| jobs::renew(tx, &held, time)).await {
            Ok(renewed) if renewed.cancel_requested || renewed.is_overdue => {
                cancel.send_if_modified(|cancel| !std::mem::replace(cancel, true));
            }
            Ok(_) => {}
            Err(lost @ Error::LeaseLost { .. }) => return lost,
            // The store may work again before the lease runs out.
            Err(error) => warn!(job = lease.id, %error, "a lease cannot be renewed"),
        }
    }
}

/// A reason as the store takes it: texts of other programs may have the one character that no text of a store may have.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Writes down how a run ended, however long the store needs to take it, unless somebody else has the job by then.
async fn write_end(store: &Store, lease: &JobLease, next: &Next) {
    loop {
        let (held, next) = (lease.clone(), next.clone());
        let written = store.write_locking(move |tx| match &next {
            Next::Done(result) => jobs::complete(tx, &held, Some(&result.to_string())),
            Next::Later { after, why } => jobs::fail(tx, &held, &storable(why), Retry::After(*after)).map(drop),
            Next::Failed(reason) => jobs::fail(tx, &held, &storable(reason), Retry::Never).map(drop),
            Next::Cancelled(reason) => jobs::cancelled(tx, &held, &storable(reason)),
            Next::Released => jobs::release(tx, &held),
        });
        match written.await {
            Ok(()) | Err(Error::LeaseLost { .. } | Error::Closed) => return,
            Err(error) => warn!(job = lease.id, %error, "the end of a job cannot be written yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Forgets from time to time what is old.
async fn forget(store: Store) {
    loop {
        match store.forget_what_is_old().await {
            Ok(0) => {}
            Ok(rows) => info!(rows, "jobs that ended long ago and old events are forgotten"),
            Err(error) => warn!(%error, "what is old is not forgotten yet"),
        }
        tokio::time::sleep(FORGET).await;
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
