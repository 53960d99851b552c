//! What can be told of a driver: for lists, `/drivers/v1` and metrics.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Serialize;

use super::{
    Isolation, Kind, Notification, Registry,
    executor::Standing,
    figures::Bucket,
    file,
    generations::{Driver, Phase},
    pipeline::Generation,
};

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
    /// Counts the generations that served since the daemon started; 0 without one.
    pub generation: u64,
    /// Reloads and rollbacks that were done.
    pub reloads: u64,
    /// Reloads, rollbacks and restarts that were refused.
    pub failed_reloads: u64,
    /// Restarts, by the operator and by themselves.
    pub restarts: u64,
    /// Generations before this one that still finish calls.
    pub draining_generations: usize,
    /// Libraries of generations that serve no more and stay in the daemon's memory.
    pub retired_generations: usize,
    /// Why the last reload, rollback or restart was refused; none once one was done.
    pub last_reload_error: Option<String>,
    /// SHA-256 of what a rollback would bring.
    pub rollback_sha256: Option<String>,
    /// Running services that use it.
    pub used_by: Vec<String>,
    /// Calls that ended.
    pub calls: u64,
    /// Failed calls by code.
    pub errors: BTreeMap<String, u64>,
    /// Panics that were caught inside the driver.
    pub panics: u64,
    /// Calls that run, those of draining generations included; likewise below.
    pub in_flight: usize,
    /// Calls that wait.
    pub queue: usize,
    /// Threads that did not come back.
    pub lost_threads: usize,
    /// Process of its own, while it has one.
    pub pid: Option<u32>,
    /// How processes of its own ended, by the word for it.
    pub ends: BTreeMap<String, u64>,
    /// Half of the calls took at most so many seconds.
    pub p50: Option<f64>,
    /// 99 of 100 calls took at most so many seconds.
    pub p99: Option<f64>,
    /// How many calls took at most so long; what took more than the last bound is counted in `calls` only.
    pub latency: Vec<Bucket>,
    /// Seconds spent in calls.
    pub seconds: f64,
    /// The last thing that went wrong, in one line. A refusal of what was asked (not_found, invalid_argument and the like) is no fault
    /// of the driver and does not count.
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

impl Registry {
    pub(super) fn describe(&self, driver: &Driver) -> DriverInfo {
        let generation = driver.generation.load_full();
        let draining = driver.draining();
        let all: Vec<&Arc<Generation>> = draining.iter().chain(&generation).collect();
        let condition = generation.as_ref().map(|generation| generation.executor.condition()).unwrap_or_default();
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
        let lineage = &driver.lineage;
        let (errors, last_call_error) = lineage.figures.errors();
        let last_error = match &**phase {
            Phase::Failed(error) => Some(error.to_string()),
            _ => match condition.standing {
                Standing::Serving => Option::clone(&unwell).or(last_call_error),
                Standing::Restarting(why) | Standing::CircuitOpen(why) | Standing::Quarantined(why) => Some(why),
            },
        };
        let entry = driver.entry.load();
        let sha256 = generation.as_ref().map(|generation| generation.sha256.clone());
        let manifest = generation.as_ref().map(|generation| &generation.manifest);
        let record = driver.record();
        let conditions = all.iter().map(|generation| generation.executor.condition());
        let (lost_threads, restarts) = conditions.fold((0, record.restarts), |(lost, restarts), condition| {
            (lost + condition.lost_threads, restarts + condition.restarts)
        });
        DriverInfo {
            kind: driver.kind,
            name: driver.name.clone(),
            state,
            version: manifest.map(|manifest| manifest.version.clone()),
            vendor: manifest.map(|manifest| manifest.vendor.clone()),
            isolation: entry.isolation,
            path: file::resolve(&self.inner.settings.load().driver_directory, entry.file()),
            generation: generation.as_ref().map_or(0, |generation| generation.number),
            reloads: record.reloads,
            failed_reloads: record.failed_reloads,
            restarts,
            draining_generations: draining.len(),
            retired_generations: lineage.retired(sha256.as_deref()),
            last_reload_error: record.last_reload_error.clone(),
            rollback_sha256: record.history.before(sha256.as_deref()).map(|served| served.sha256.clone()),
            sha256,
            used_by: driver.services(),
            calls: lineage.figures.calls(),
            errors,
            panics: lineage.figures.panics(),
            in_flight: all.iter().map(|generation| generation.gate.running()).sum(),
            queue: all.iter().map(|generation| generation.gate.waiting()).sum(),
            lost_threads,
            pid: condition.pid,
            ends: lineage.figures.ends(),
            p50: lineage.figures.quantile(0.5),
            p99: lineage.figures.quantile(0.99),
            latency: lineage.figures.latency(),
            seconds: lineage.figures.seconds(),
            last_error,
            methods: manifest.map(|manifest| manifest.methods.clone()).unwrap_or_default(),
            running: all.iter().flat_map(|generation| running(generation)).collect(),
            figures: lineage.kept.figures(),
            notices: lineage.kept.notices(),
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
