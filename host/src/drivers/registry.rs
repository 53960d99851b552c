//! All configured drivers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    io::PipeWriter,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use capstan_plugin_api::Manifest;
use tokio::runtime::Handle;

use super::{
    DriverEntry, DriverHandle, DriverInfo, DriverUnavailable, Kind, LoadError, RequiredDriversFailed, Settings,
    generations::{Drains, Driver, History, Lineage, Loading, Phase, Times, on_thread},
    monitor,
    store::Store,
};

/// Threads that load drivers.
const LOADERS: usize = 4;

/// How an entry is found.
pub(super) type Key = (Kind, String);

/// The drivers of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub drivers: ArcSwap<BTreeMap<Key, Arc<Driver>>>,
    pub settings: ArcSwap<Settings>,
    pub drains: Drains,
    /// Where generations drain, and the processes of isolated drivers are looked after.
    pub runtime: Handle,
    /// Held while a new table is taken over.
    pub applying: Arc<tokio::sync::Mutex<()>>,
    /// Tells the watcher of files that the table has changed, and by being closed that it is to end.
    watcher: Mutex<Option<PipeWriter>>,
    /// By name, also of drivers that were removed, as long as one of their generations is there.
    lineages: Mutex<BTreeMap<Key, Weak<Lineage>>>,
    loads: Mutex<usize>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.drivers().iter().map(|driver| driver.full_name())).finish()
    }
}

impl Inner {
    pub fn loads(&self) -> MutexGuard<'_, usize> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn watcher(&self) -> MutexGuard<'_, Option<PipeWriter>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the copies of files that no driver needs any more.
    pub fn prune(&self) {
        let drivers = self.drivers.load();
        let needed: BTreeSet<String> = drivers.values().flat_map(|driver| driver.hashes()).collect();
        let known: BTreeSet<String> = drivers.values().map(|driver| driver.full_name()).collect();
        Store::prune(&self.settings.load().state_dir, |hash| needed.contains(hash), |driver| known.contains(driver));
    }

    /// A driver for an entry, not loaded yet.
    pub fn declare(&self, settings: &Settings, entry: &DriverEntry) -> Arc<Driver> {
        let mut lineages = self.lineages.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lineages.entry((entry.kind, entry.name.clone())).or_default();
        let lineage = match kept.upgrade() {
            Some(before) => before.renewed(settings, entry.kind, &entry.name),
            None => Lineage::new(settings, entry.kind, &entry.name),
        };
        let lineage = Arc::new(lineage);
        *kept = Arc::downgrade(&lineage);
        let history = History::read(Store::history_path(&settings.state_dir, &entry.full_name()));
        Arc::new(Driver::new(entry.clone(), lineage, history))
    }
}

impl Registry {
    /// Loads all entries, several at a time, on threads of its own. A driver that fails stays in the registry as failed; only
    /// when a required one fails are the others closed again and the failures returned. Needs a tokio runtime.
    pub async fn open(settings: Settings) -> Result<Self, RequiredDriversFailed> {
        let inner = Inner {
            drivers: ArcSwap::default(),
            settings: ArcSwap::from_pointee(settings),
            drains: Drains::default(),
            runtime: Handle::current(),
            applying: Arc::default(),
            watcher: Mutex::default(),
            lineages: Mutex::default(),
            loads: Mutex::new(0),
        };
        let settings = inner.settings.load_full();
        let drivers =
            settings.drivers.iter().map(|entry| ((entry.kind, entry.name.clone()), inner.declare(&settings, entry)));
        inner.drivers.store(Arc::new(drivers.collect()));
        let registry = Self { inner: Arc::new(inner) };
        registry.drivers().iter().for_each(|driver| monitor::watch(&registry.inner, driver));
        let loading = registry.clone();
        let load_all = move || {
            let _loading = Loading::begin(&loading.inner);
            let drivers = loading.drivers();
            in_parallel(&drivers, |driver| loading.load(driver));
        };
        if let Err(error) = on_thread(load_all).await {
            tracing::error!(%error, "the drivers cannot be loaded");
        }
        let required = |driver: &&Arc<Driver>| driver.entry.load().required;
        let failures: Vec<_> =
            registry.drivers().iter().filter(required).filter_map(|driver| failure(driver)).collect();
        if failures.is_empty() {
            return Ok(registry);
        }
        registry.close(Duration::from_secs(5)).await;
        Err(RequiredDriversFailed(failures))
    }

    /// A way to call a driver.
    ///
    /// # Errors
    /// The entry does not exist (the known ones are named), or its driver was not loaded.
    pub fn handle(&self, kind: Kind, name: &str) -> Result<DriverHandle, DriverUnavailable> {
        let driver = self.driver(kind, name)?;
        if let Some(error) = failure(&driver) {
            return Err(DriverUnavailable::Failed(error));
        }
        let manifest = driver.generation.load().as_ref().map(|generation| Arc::clone(&generation.manifest));
        let manifest = manifest.ok_or_else(|| DriverUnavailable::Closed { kind, name: name.to_owned() })?;
        Ok(DriverHandle::new(driver, manifest))
    }

    pub(super) fn driver(&self, kind: Kind, name: &str) -> Result<Arc<Driver>, DriverUnavailable> {
        let drivers = self.inner.drivers.load();
        drivers.get(&(kind, name.to_owned())).map(Arc::clone).ok_or_else(|| DriverUnavailable::Unknown {
            kind,
            name: name.to_owned(),
            known: drivers.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect(),
        })
    }

    /// By kind and name.
    pub(super) fn drivers(&self) -> Vec<Arc<Driver>> {
        self.inner.drivers.load().values().map(Arc::clone).collect()
    }

    /// All drivers, by kind and name.
    pub fn list(&self) -> Vec<DriverInfo> {
        self.drivers().iter().map(|driver| self.describe(driver)).collect()
    }

    /// One driver.
    ///
    /// # Errors
    /// The entry does not exist; one that failed is described like any other.
    pub fn info(&self, kind: Kind, name: &str) -> Result<DriverInfo, DriverUnavailable> {
        self.driver(kind, name).map(|driver| self.describe(&driver))
    }

    /// The manifest of a loaded driver; none while it has none.
    pub fn manifest(&self, kind: Kind, name: &str) -> Option<Arc<Manifest>> {
        let driver = self.driver(kind, name).ok()?;
        driver.generation.load().as_ref().map(|generation| Arc::clone(&generation.manifest))
    }

    /// Why each driver that was not loaded was not.
    pub fn failures(&self) -> Vec<LoadError> {
        self.drivers().iter().filter_map(|driver| failure(driver)).collect()
    }

    /// Takes no more calls, waits at most `grace` for those that are out, and closes each driver in which none is. What a driver
    /// started with `program.start` goes on.
    pub async fn close(&self, grace: Duration) {
        self.inner.drains.end_by(Instant::now() + grace);
        *self.inner.watcher() = None;
        for driver in self.drivers() {
            self.retire(&driver, grace);
        }
        self.inner.drains.ended().await;
    }

    /// Has a driver take no more calls, and closes it when those that are out have ended.
    pub(super) fn retire(&self, driver: &Arc<Driver>, calls: Duration) {
        let switch = driver.switch.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(**driver.phase.load(), Phase::Loaded) {
            return;
        }
        driver.phase.store(Arc::new(Phase::Draining));
        let generation = driver.generation.swap(None);
        drop(switch);
        if let Some(generation) = generation {
            let times = Times { calls, grace: self.inner.settings.load().cancel_grace };
            self.inner.drains.begin(&self.inner.runtime, driver, generation, times);
        }
    }
}

fn failure(driver: &Driver) -> Option<LoadError> {
    match &**driver.phase.load() {
        Phase::Failed(error) => Some(error.clone()),
        _ => None,
    }
}

/// Does something with each of `all`, several at a time, and answers what came of it, in the same order.
pub(super) fn in_parallel<T: Sync, R: Send>(all: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let waiting: Mutex<VecDeque<(usize, &T)>> = Mutex::new(all.iter().enumerate().collect());
    let done: Mutex<BTreeMap<usize, R>> = Mutex::default();
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((index, one)) = next else { return };
            let result = run(one);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(index, result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..LOADERS.min(all.len()) {
            // Fewer threads are slower, but get there.
            if thread::Builder::new().name("drivers".into()).spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
