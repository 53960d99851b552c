//! One entry of `known_drivers`, over all its generations.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use capstan_plugin_api::{DriverError, Retry};

use super::{history::History, lineage::Lineage};
use crate::drivers::{DriverEntry, Kind, LoadError, pipeline::Generation};

/// One configured driver, loaded or not.
pub(in crate::drivers) struct Driver {
    pub kind: Kind,
    pub name: String,
    /// As configured now; the generation that serves was loaded with it, unless the driver failed.
    pub entry: ArcSwap<DriverEntry>,
    pub lineage: Arc<Lineage>,
    pub generation: ArcSwapOption<Generation>,
    pub phase: ArcSwap<Phase>,
    /// What it said when it was last asked for its health; none while it is well.
    pub unwell: ArcSwap<Option<String>>,
    /// Held while the driver is changed, so that one change follows the other.
    pub changing: Arc<tokio::sync::Mutex<()>>,
    /// Held for the moment in which `generation` and `phase` change together.
    pub switch: Mutex<()>,
    pub record: Mutex<Record>,
    /// Generations that no longer serve and are not closed yet.
    pub draining: Mutex<Vec<Weak<Generation>>>,
    users: Mutex<Vec<Weak<Use>>>,
    numbers: AtomicU64,
}

/// How far a driver is; what its threads do is known to its executor.
pub(in crate::drivers) enum Phase {
    Declared,
    Loading,
    Loaded,
    Draining,
    Failed(LoadError),
}

/// What is remembered of a driver's changes.
pub(in crate::drivers) struct Record {
    pub history: History,
    /// Hash of the entry's files when they were last loaded, or rolled back from: what differs from it is new.
    pub files: Option<String>,
    /// Serves a kept copy because the operator rolled back to it; a wish for a reload or new files end that.
    pub is_rolled_back: bool,
    pub reloads: u64,
    pub failed_reloads: u64,
    /// Restarts, without those of the generations that are still there.
    pub restarts: u64,
    pub last_reload_error: Option<String>,
}

/// A running service that uses a driver, and the methods that it needs.
pub(in crate::drivers) struct Use {
    pub service: String,
    pub methods: Vec<String>,
}

impl Record {
    /// Notes a change that did not happen.
    pub fn note_failure(&mut self, error: &dyn std::fmt::Display) {
        self.failed_reloads += 1;
        self.last_reload_error = Some(error.to_string());
    }
}

impl Driver {
    pub fn new(entry: DriverEntry, lineage: Arc<Lineage>, history: History) -> Self {
        Self {
            kind: entry.kind,
            name: entry.name.clone(),
            entry: ArcSwap::from_pointee(entry),
            lineage,
            generation: ArcSwapOption::empty(),
            phase: ArcSwap::from_pointee(Phase::Declared),
            unwell: ArcSwap::from_pointee(None),
            changing: Arc::default(),
            switch: Mutex::default(),
            record: Mutex::new(Record {
                history,
                files: None,
                is_rolled_back: false,
                reloads: 0,
                failed_reloads: 0,
                restarts: 0,
                last_reload_error: None,
            }),
            draining: Mutex::default(),
            users: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    /// `kind.name`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }

    /// The number of the next generation, without taking it: a load that fails has none.
    pub fn next_number(&self) -> u64 {
        self.numbers.load(Ordering::Acquire) + 1
    }

    /// Takes the number of a generation that serves now.
    pub fn note_number(&self, number: u64) {
        self.numbers.store(number, Ordering::Release);
    }

    /// The generation that takes a call now.
    pub fn ready(&self) -> Result<Arc<Generation>, DriverError> {
        let unavailable = |reason: String| {
            Err(DriverError::unavailable("the driver is not available").retry(Retry::Never).for_operator(reason))
        };
        match (&**self.phase.load(), self.generation.load_full()) {
            (Phase::Loaded, Some(generation)) => Ok(generation),
            (Phase::Failed(error), _) => unavailable(error.to_string()),
            (Phase::Draining, _) => unavailable(format!("{} is being closed", self.full_name())),
            _ => unavailable(format!("{} is not loaded yet", self.full_name())),
        }
    }

    /// The generation that serves, as long as the driver is not being closed.
    pub fn serving(&self) -> Option<Arc<Generation>> {
        matches!(**self.phase.load(), Phase::Loaded).then(|| self.generation.load_full()).flatten()
    }

    /// Generations that no longer serve and are not closed yet.
    pub fn draining(&self) -> Vec<Arc<Generation>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// Hashes of the files whose copies it needs.
    pub fn hashes(&self) -> Vec<String> {
        let mut hashes: Vec<String> = self.record().history.hashes().map(ToOwned::to_owned).collect();
        let live = self.generation.load_full().into_iter().chain(self.draining());
        hashes.extend(live.map(|generation| generation.sha256.clone()));
        hashes
    }

    /// Notes a use for as long as it is held.
    pub fn note_use(&self, used: &Arc<Use>) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|user| user.strong_count() > 0);
        users.push(Arc::downgrade(used));
    }

    /// Running services that use the driver.
    pub fn services(&self) -> Vec<String> {
        let mut names: Vec<String> = self.users().iter().map(|user| user.service.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Methods that running services need.
    pub fn needs(&self) -> Vec<String> {
        self.users().iter().flat_map(|user| user.methods.iter().cloned()).collect()
    }

    fn users(&self) -> Vec<Arc<Use>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// What is remembered of its changes.
    pub fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
