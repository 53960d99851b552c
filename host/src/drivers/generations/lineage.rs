//! What all generations of one driver have in common.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::drivers::{
    Kind, Settings, figures::Figures, host_services::Kept, instance_state::InstanceState, turns::Turns,
};

/// What one generation of a driver leaves to the next, and shares with it while both have calls.
pub(in crate::drivers) struct Lineage {
    pub figures: Arc<Figures>,
    pub turns: Arc<Turns>,
    /// One for all: versions of a key are compared and raised under its lock.
    pub state: Arc<InstanceState>,
    pub kept: Arc<Kept>,
    /// Hashes of the libraries that were loaded into the daemon for this driver. They stay there.
    mapped: Mutex<BTreeSet<String>>,
}

impl Lineage {
    pub fn new(settings: &Settings, kind: Kind, name: &str) -> Self {
        let folder = settings.state_dir.join("driver-state").join(format!("{kind}.{name}")).join("default");
        Self {
            figures: Arc::new(Figures::new(kind.as_str(), name, settings.figures.clone())),
            turns: Arc::new(Turns::new()),
            state: Arc::new(InstanceState::new(folder)),
            kept: Arc::default(),
            mapped: Mutex::default(),
        }
    }

    /// For a driver that is configured again while a generation of the removed one still ends: counted anew, the rest shared.
    pub fn renewed(&self, settings: &Settings, kind: Kind, name: &str) -> Self {
        Self {
            figures: Arc::new(Figures::new(kind.as_str(), name, settings.figures.clone())),
            turns: Arc::clone(&self.turns),
            state: Arc::clone(&self.state),
            kept: Arc::clone(&self.kept),
            mapped: Mutex::new(self.mapped.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// Notes that a library is in the daemon's memory from now on.
    pub fn note_mapped(&self, sha256: &str) {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256.to_owned());
    }

    /// Libraries in the daemon's memory besides the one that serves, `serving`.
    pub fn retired(&self, serving: Option<&str>) -> usize {
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.iter().filter(|hash| Some(hash.as_str()) != serving).count()
    }
}
