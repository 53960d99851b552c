//! All configured drivers, and what can be told of them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use capstan_plugin_api::Manifest;
use serde::Serialize;
use tokio::runtime::Handle;

use super::{
    DriverHandle, DriverUnavailable, Isolation, Kind, LoadError, Notification, RequiredDriversFailed, Settings,
    executor::Standing,
    figures::Figures,
    file,
    handle::{Driver, Phase},
    monitor,
    pipeline::{self, Generation},
};

/// Threads that load drivers.
const LOADERS: usize = 4;

/// The drivers of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    drivers: BTreeMap<(Kind, String), Arc<Driver>>,
    settings: Settings,
    /// Where the processes of isolated drivers are looked after.
    runtime: Handle,
}

/// State of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverState {
    /// In the table, not looked at yet.
    Declared,
    /// On its way through the stages.
    Loading,
    /// Takes calls.
    Ready,
    /// Takes no more calls and finishes those that are out.
    Draining,
    /// Takes calls, but says that it cannot do its work.
    Unhealthy,
    /// Its process ended; another one is on its way.
    Restarting,
    /// Its processes ended too often; it is left alone for a while, or until it is restarted by hand.
    CircuitOpen,
    /// Lost too many threads; takes no calls until they are back.
    Quarantined,
    /// Not loaded.
    Failed,
}

impl DriverState {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Declared,
        Self::Loading,
        Self::Ready,
        Self::Unhealthy,
        Self::Restarting,
        Self::CircuitOpen,
        Self::Draining,
        Self::Quarantined,
        Self::Failed,
    ];

    /// As lists and figures show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
            Self::Restarting => "restarting",
            Self::CircuitOpen => "circuit_open",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
        }
    }
}

/// A call that is out.
#[derive(Clone, Debug, Serialize)]
pub struct RunningCall {
    /// Method.
    pub method: String,
    /// Id of the request that caused it.
    pub request_id: String,
    /// Since it was handed over.
    pub seconds: f64,
    /// Steps done, of how many, and what it is at; as the driver told.
    pub progress: Option<(u64, u64, String)>,
}

/// A driver as lists, `/drivers/v1` and metrics show it.
#[derive(Clone, Debug, Serialize)]
pub struct DriverInfo {
    /// Kind.
    pub kind: Kind,
    /// Name in the table.
    pub name: String,
    /// State.
    pub state: DriverState,
    /// Version of the driver, once its manifest has been read.
    pub version: Option<String>,
    /// Vendor of the driver.
    pub vendor: Option<String>,
    /// Where it runs.
    pub isolation: Isolation,
    /// Its file, as configured and resolved.
    pub path: PathBuf,
    /// SHA-256 of what is loaded.
    pub sha256: Option<String>,
    /// Counts the versions of the file that were loaded since the daemon started; 0 without one.
    pub generation: u64,
    /// Calls that ended.
    pub calls: u64,
    /// Failed calls by code.
    pub errors: BTreeMap<String, u64>,
    /// Panics that were caught inside the driver.
    pub panics: u64,
    /// Calls that run.
    pub in_flight: usize,
    /// Calls that wait.
    pub queue: usize,
    /// Threads that did not come back.
    pub lost_threads: usize,
    /// Process of its own, while it has one.
    pub pid: Option<u32>,
    /// Processes that were started after the first one.
    pub restarts: u64,
    /// How processes of its own ended, by the word for it.
    pub ends: BTreeMap<String, u64>,
    /// Half of the calls took at most so many seconds.
    pub p50: Option<f64>,
    /// 99 of 100 calls took at most so many seconds.
    pub p99: Option<f64>,
    /// Seconds spent in calls.
    pub seconds: f64,
    /// The last thing that went wrong, in one line.
    pub last_error: Option<String>,
    /// Methods that it answers.
    pub methods: Vec<String>,
    /// Calls that are out.
    pub running: Vec<RunningCall>,
    /// The driver's own figures.
    pub figures: BTreeMap<String, f64>,
    /// What it pushed lately.
    pub notices: Vec<Notification>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.inner.drivers.values().map(|driver| driver.entry.full_name())).finish()
    }
}

impl Registry {
    /// Loads all entries, several at a time, on threads of its own. A driver that fails stays in the registry as failed; only
    /// when a required one fails are the others closed again and the failures returned.
    pub async fn open(settings: Settings) -> Result<Self, RequiredDriversFailed> {
        let registry = Self::declare(settings);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let loading = registry.clone();
        let started = thread::Builder::new().name("drivers".into()).spawn(move || {
            loading.load_all();
            let _nobody_waits = sender.send(());
        });
        match started {
            Ok(_thread) => drop(receiver.await),
            Err(error) => tracing::error!(%error, "no thread to load drivers on; none is loaded"),
        }
        let failures: Vec<LoadError> = registry
            .inner
            .drivers
            .values()
            .filter(|driver| driver.entry.required)
            .filter_map(|driver| match &**driver.phase.load() {
                Phase::Failed(error) => Some(error.clone()),
                _ => None,
            })
            .collect();
        if failures.is_empty() {
            return Ok(registry);
        }
        registry.close(Duration::from_secs(5)).await;
        Err(RequiredDriversFailed(failures))
    }

    fn declare(settings: Settings) -> Self {
        let driver = |entry: &super::DriverEntry| Driver {
            entry: entry.clone(),
            call_timeout: entry.call_timeout.unwrap_or(settings.call_timeout),
            figures: Arc::new(Figures::new(entry.kind.as_str(), &entry.name, settings.figures.clone())),
            generation: arc_swap::ArcSwapOption::empty(),
            phase: arc_swap::ArcSwap::from_pointee(Phase::Declared),
            unwell: arc_swap::ArcSwap::from_pointee(None),
        };
        let drivers =
            settings.drivers.iter().map(|entry| ((entry.kind, entry.name.clone()), Arc::new(driver(entry)))).collect();
        Self { inner: Arc::new(Inner { drivers, settings, runtime: Handle::current() }) }.watched()
    }

    fn watched(self) -> Self {
        let Inner { drivers, settings, runtime } = &*self.inner;
        for driver in drivers.values() {
            monitor::watch(driver, settings.health_interval, settings.health_timeout, runtime);
        }
        self
    }

    fn load_all(&self) {
        let waiting: Mutex<VecDeque<&Arc<Driver>>> = Mutex::new(self.inner.drivers.values().collect());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            for _ in 1..LOADERS.min(self.inner.drivers.len()) {
                let helper = thread::Builder::new().name("drivers".into());
                let run = || {
                    while let Some(driver) = next() {
                        self.load(driver)
                    }
                };
                if helper.spawn_scoped(scope, run).is_err() {
                    break;
                }
            }
            while let Some(driver) = next() {
                self.load(driver);
            }
        });
    }

    fn load(&self, driver: &Driver) {
        driver.phase.store(Arc::new(Phase::Loading));
        match pipeline::load(&self.inner.settings, &driver.entry, 1, &driver.figures, &self.inner.runtime) {
            Ok(generation) => {
                tracing::info!(
                    driver = %driver.entry.full_name(), version = %generation.manifest.version,
                    sha256 = %generation.sha256, "driver loaded"
                );
                driver.generation.store(Some(Arc::new(generation)));
                driver.phase.store(Arc::new(Phase::Loaded));
            }
            Err(error) => {
                tracing::error!("{error}");
                driver.phase.store(Arc::new(Phase::Failed(error)));
            }
        }
    }

    /// A way to call a driver.
    ///
    /// # Errors
    /// The entry does not exist (the known ones are named), or its driver was not loaded.
    pub fn handle(&self, kind: Kind, name: &str) -> Result<DriverHandle, DriverUnavailable> {
        let driver = self.driver(kind, name)?;
        if let Phase::Failed(error) = &**driver.phase.load() {
            return Err(DriverUnavailable::Failed(error.clone()));
        }
        let manifest = driver.generation.load().as_ref().map(|generation| Arc::clone(&generation.manifest));
        let manifest = manifest.ok_or_else(|| DriverUnavailable::Closed { kind, name: name.to_owned() })?;
        Ok(DriverHandle::new(Arc::clone(driver), manifest))
    }

    fn driver(&self, kind: Kind, name: &str) -> Result<&Arc<Driver>, DriverUnavailable> {
        self.inner.drivers.get(&(kind, name.to_owned())).ok_or_else(|| DriverUnavailable::Unknown {
            kind,
            name: name.to_owned(),
            known: self.inner.drivers.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect(),
        })
    }

    /// All drivers, by kind and name.
    pub fn list(&self) -> Vec<DriverInfo> {
        self.inner.drivers.values().map(|driver| self.describe(driver)).collect()
    }

    /// One driver.
    ///
    /// # Errors
    /// The entry does not exist; one that failed is described like any other.
    pub fn info(&self, kind: Kind, name: &str) -> Result<DriverInfo, DriverUnavailable> {
        self.driver(kind, name).map(|driver| self.describe(driver))
    }

    /// The manifest of a loaded driver; none while it has none.
    pub fn manifest(&self, kind: Kind, name: &str) -> Option<Arc<Manifest>> {
        let driver = self.driver(kind, name).ok()?;
        driver.generation.load().as_ref().map(|generation| Arc::clone(&generation.manifest))
    }

    /// Why each driver that was not loaded was not.
    pub fn failures(&self) -> Vec<LoadError> {
        let failed = |driver: &Arc<Driver>| match &**driver.phase.load() {
            Phase::Failed(error) => Some(error.clone()),
            _ => None,
        };
        self.inner.drivers.values().filter_map(failed).collect()
    }

    /// Takes no more calls, waits at most `grace` for those that are out, and closes each driver in which none is. What a driver
    /// started with `program.start` goes on.
    pub async fn close(&self, grace: Duration) {
        let closing = self.inner.drivers.values().filter_map(|driver| {
            let generation = driver.generation.load_full()?;
            if !matches!(**driver.phase.load(), Phase::Loaded) {
                return None;
            }
            driver.phase.store(Arc::new(Phase::Draining));
            let driver = Arc::clone(driver);
            Some(tokio::spawn(async move {
                generation.services.end();
                if let Err(fault) = generation.executor.close(grace).await {
                    tracing::warn!(driver = %driver.entry.full_name(), "{fault}");
                }
            }))
        });
        for closed in closing.collect::<Vec<_>>() {
            let _a_panic_was_logged = closed.await;
        }
    }

    fn describe(&self, driver: &Driver) -> DriverInfo {
        let generation = driver.generation.load();
        let generation: Option<&Arc<Generation>> = generation.as_ref();
        let condition = generation.map(|generation| generation.executor.condition()).unwrap_or_default();
        let phase = driver.phase.load();
        let unwell = driver.unwell.load();
        let state = match &**phase {
            Phase::Declared => DriverState::Declared,
            Phase::Loading => DriverState::Loading,
            Phase::Loaded => match &condition.standing {
                Standing::Serving if unwell.is_some() => DriverState::Unhealthy,
                Standing::Serving => DriverState::Ready,
                Standing::Restarting(_) => DriverState::Restarting,
                Standing::CircuitOpen(_) => DriverState::CircuitOpen,
                Standing::Quarantined(_) => DriverState::Quarantined,
            },
            Phase::Draining => DriverState::Draining,
            Phase::Failed(_) => DriverState::Failed,
        };
        let (errors, last_call_error) = driver.figures.errors();
        let last_error = match &**phase {
            Phase::Failed(error) => Some(error.to_string()),
            _ => match condition.standing {
                Standing::Serving => Option::clone(&unwell).or(last_call_error),
                Standing::Restarting(why) | Standing::CircuitOpen(why) | Standing::Quarantined(why) => Some(why),
            },
        };
        DriverInfo {
            kind: driver.entry.kind,
            name: driver.entry.name.clone(),
            state,
            version: generation.map(|generation| generation.manifest.version.clone()),
            vendor: generation.map(|generation| generation.manifest.vendor.clone()),
            isolation: driver.entry.isolation,
            path: file::resolve(&self.inner.settings.driver_directory, driver.entry.file()),
            sha256: generation.map(|generation| generation.sha256.clone()),
            generation: generation.map_or(0, |generation| generation.number),
            calls: driver.figures.calls(),
            errors,
            panics: driver.figures.panics(),
            in_flight: generation.map_or(0, |generation| generation.gate.running()),
            queue: generation.map_or(0, |generation| generation.gate.waiting()),
            lost_threads: condition.lost_threads,
            pid: condition.pid,
            restarts: condition.restarts,
            ends: driver.figures.ends(),
            p50: driver.figures.quantile(0.5),
            p99: driver.figures.quantile(0.99),
            seconds: driver.figures.seconds(),
            last_error,
            methods: generation.map(|generation| generation.manifest.methods.clone()).unwrap_or_default(),
            running: generation.map(|generation| running(generation)).unwrap_or_default(),
            figures: generation.map(|generation| generation.services.kept.figures()).unwrap_or_default(),
            notices: generation.map(|generation| generation.services.kept.notices()).unwrap_or_default(),
        }
    }
}

fn running(generation: &Generation) -> Vec<RunningCall> {
    let calls = generation.calls.all();
    let shown = calls.iter().map(|call| RunningCall {
        method: call.method.to_string(),
        request_id: call.request_id.clone(),
        seconds: call.started.elapsed().as_secs_f64(),
        progress: call.progress().map(|progress| (progress.done, progress.total, progress.what)),
    });
    shown.collect()
}
