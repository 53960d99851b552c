//! The store as the rooms above hold it.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    Error, Health, Location, Migration, Restored, Settings, Transaction,
    health::{Pulse, Way},
    meta, postgres, sqlite,
    work::{Boxed, Call, Mode},
};

/// How often a store that fails is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How often a store that works is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// How long the store may be silent before readiness says so.
const SILENCE: Duration = Duration::from_secs(10);

/// Which database is behind a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backend {
    /// A server that several daemons share.
    Postgres,
    /// A file on this machine.
    Sqlite,
}

/// State that survives. Clones share it; the last one that is dropped ends its threads.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    lanes: Mutex<Option<Lanes>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pulse: Pulse,
    arrivals: watch::Sender<u64>,
    backend: Backend,
    deployment: String,
    restored: Option<Restored>,
    /// Looks at what no read and no write would notice.
    look: Box<dyn Fn() -> Result<(), Error> + Send + Sync>,
}

/// The ways to the threads.
#[derive(Clone)]
pub(super) struct Lanes {
    pub reads: mpsc::Sender<Boxed>,
    pub writes: mpsc::Sender<Boxed>,
}

/// What a backend gives when it has opened.
pub(super) struct Opened {
    pub lanes: Lanes,
    pub threads: Vec<JoinHandle<()>>,
    pub facts: meta::Facts,
    pub backend: Backend,
    pub look: Box<dyn Fn() -> Result<(), Error> + Send + Sync>,
}

/// What the threads of a backend report to.
#[derive(Clone)]
pub(super) struct Reports {
    pub pulse: Pulse,
    pub arrivals: watch::Sender<u64>,
}

impl Store {
    /// Opens the store, makes it where there is none, and brings its tables up to date. Must be called within a runtime.
    ///
    /// # Errors
    /// The store cannot be used, is in use by another daemon, is damaged, or was written by a newer program.
    pub async fn open(settings: &Settings, migrations: &[Migration]) -> Result<Self, Error> {
        let reports = Reports { pulse: Pulse::new(), arrivals: watch::Sender::new(0) };
        let (settings, migrations, told) = (settings.clone(), migrations.to_vec(), reports.clone());
        let opened = tokio::task::spawn_blocking(move || match &settings.location {
            Location::Sqlite(path) => sqlite::open(path, &settings.clock, &migrations, told),
            location @ Location::Postgres { .. } => {
                postgres::open(location, &settings.clock, &migrations, told, settings.connections)
            }
        });
        let opened = opened.await.map_err(|_| Error::Closed)??;
        let store = Self(Arc::new(Shared {
            lanes: Mutex::new(Some(opened.lanes)),
            threads: Mutex::new(opened.threads),
            pulse: reports.pulse,
            arrivals: reports.arrivals,
            backend: opened.backend,
            deployment: opened.facts.deployment,
            restored: opened.facts.restored,
            look: opened.look,
        }));
        tokio::spawn(tend(Arc::downgrade(&store.0), store.health()));
        Ok(store)
    }

    /// Runs a closure that changes nothing, on one consistent state of the store.
    ///
    /// # Errors
    /// What the closure gives, or the store's own error.
    pub async fn read<T, E>(
        &self,
        closure: impl Fn(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let lane = self.lane(|lanes| lanes.reads.clone())?;
        send(lane, closure, Mode::Read).await
    }

    /// Runs a closure and answers once all it did is on disk. If the closure fails, nothing of it is stored. It sees the store
    /// as if no other change were going on, and may be run again, so it has no effect outside.
    ///
    /// A caller that stops waiting does not take the change back.
    ///
    /// # Errors
    /// What the closure gives, or the store's own error; then nothing is stored, save for [`Error::Unconfirmed`].
    pub async fn write<T, E>(
        &self,
        closure: impl Fn(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let lane = self.lane(|lanes| lanes.writes.clone())?;
        send(lane, closure, Mode::Serial).await
    }

    /// As [`write`](Self::write), for what happens often and in many daemons at once. The closure sees what others commit while it
    /// runs, so what it decides on it takes by one conditional statement, or with [`Transaction::for_update`] or
    /// [`Transaction::for_update_skip_locked`] first. All calls of [`jobs`](super::jobs), [`leases`](super::leases) and
    /// [`events`](super::events) do. On SQLite it is `write`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_locking<T, E>(
        &self,
        closure: impl Fn(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let lane = self.lane(|lanes| lanes.writes.clone())?;
        send(lane, closure, Mode::Locking).await
    }

    /// Whether the store can be relied on, as it changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.pulse.watch()
    }

    /// Changes whenever this process has stored a job that can run. Jobs that other daemons store are not told of: look for
    /// them from time to time as well.
    #[must_use]
    pub fn job_arrivals(&self) -> watch::Receiver<u64> {
        self.0.arrivals.subscribe()
    }

    /// The id of this deployment, made when the store was: all that is ours in a cloud carries it.
    #[must_use]
    pub fn deployment(&self) -> &str {
        &self.0.deployment
    }

    /// Whether this store came out of a backup, and of when: what the clouds hold may be newer than what is known here.
    #[must_use]
    pub fn restored(&self) -> Option<Restored> {
        self.0.restored
    }

    /// Which database is behind it.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.0.backend
    }

    /// Stores what was accepted, ends the threads and lets go of the database. Later calls are refused.
    pub async fn close(&self) {
        drop(self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _its_panic_is_logged = thread.join();
            }
        });
        let _ended = ended.await;
    }

    fn lane(&self, pick: impl FnOnce(&Lanes) -> mpsc::Sender<Boxed>) -> Result<mpsc::Sender<Boxed>, Error> {
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(pick).ok_or(Error::Closed)
    }
}

async fn send<T, E>(
    lane: mpsc::Sender<Boxed>,
    closure: impl Fn(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    mode: Mode,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let (call, answer) = Call::new(closure, mode);
    lane.send(Box::new(call)).await.map_err(|_| Error::Closed)?;
    // The thread ends a close with what it has taken already, so it goes only when it has answered.
    drop(lane);
    answer.await.map_err(|_| Error::Closed)?
}

/// Looks at the store from time to time, and tries one that fails until it works again.
async fn tend(shared: Weak<Shared>, mut health: watch::Receiver<Health>) {
    loop {
        let failing = *health.borrow_and_update() != Health::Ready;
        let rest = tokio::time::sleep(if failing { RETRY } else { LOOK });
        tokio::select! {
            () = rest => {}
            changed = health.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let Some(store) = shared.upgrade().map(Store) else { return };
        if store.0.lanes.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return;
        }
        if let Err(error) = (store.0.look)() {
            store.0.pulse.failed(Way::Place, &error);
            continue;
        }
        store.0.pulse.well(Way::Place);
        // The threads tell the pulse how it went, if they are heard of at all.
        let tried = async { if failing { store.write(meta::touch).await } else { store.read(meta::glance).await } };
        if tokio::time::timeout(SILENCE, tried).await.is_err() {
            let text = format!("no answer within {} s; look at the disk, or at the server", SILENCE.as_secs());
            store.0.pulse.failed(Way::Read, &Error::Unavailable(text));
        }
    }
}
