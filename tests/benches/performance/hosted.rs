//! Drivers loaded by the daemon's own pipeline, in this process.

use std::path::Path;

use capstan::drivers::{DriverEntry, DriverHandle, Kind, Registry, Settings};
use capstan_tests::paths;
use serde_json::Value;
use tokio::runtime::Runtime;

/// One entry of `known_drivers` with a shipped driver's file.
pub fn entry(kind: Kind, name: &str, config: Value) -> DriverEntry {
    let file = format!("libcapstan_{kind}_{name}.so");
    DriverEntry { config, ..DriverEntry::new(kind, name, file) }
}

/// Settings of a daemon whose state is in `state`.
pub fn settings(state: &Path, entries: Vec<DriverEntry>) -> Settings {
    Settings {
        trust_own_files: true,
        probe_executable: paths::capstan(),
        drivers: entries,
        ..Settings::new(state, paths::build())
    }
}

/// Opens a registry with one driver and a handle on it.
pub fn open(runtime: &Runtime, state: &Path, entry: DriverEntry) -> (Registry, DriverHandle) {
    let (kind, name) = (entry.kind, entry.name.clone());
    let settings = settings(state, vec![entry]);
    let registry = runtime.block_on(Registry::open(settings)).expect("a registry");
    let handle = registry.handle(kind, &name).unwrap_or_else(|error| panic!("{error}"));
    (registry, handle)
}
