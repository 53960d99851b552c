//! Drivers that misbehave before there is a call: each entry of the table, and what the file says of itself.

use std::{fs, path::Path};

use capstan::drivers::{DriverEntry, DriverState, Isolation, Kind, Registry, Settings};
use capstan_tests::{elf, paths, process, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

use super::host;

/// A driver that must not load: name, patch of the file, configuration, and what its one line says.
struct Refused {
    name: &'static str,
    /// After `CAPSTAN-BAD-ENTRY=`.
    entry: &'static str,
    config: Value,
    says: [&'static str; 2],
}

fn refused(name: &'static str, entry: &'static str, config: Value, says: [&'static str; 2]) -> Refused {
    Refused { name, entry, config, says }
}

fn library(folder: &Path, case: &Refused) -> std::path::PathBuf {
    let path = folder.join(format!("{}.so", case.name));
    let whole = fs::read(paths::driver("bad_driver")).unwrap();
    let word = format!("CAPSTAN-BAD-ENTRY={:.<5}", case.entry);
    let mut bytes = elf::patched(&whole, 0..whole.len(), "CAPSTAN-BAD-ENTRY=good.", &word);
    if case.name == "lying-section" {
        bytes = elf::with_manifest(&bytes, "Misbehaves", "Is good as");
    }
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_that_goes_wrong_costs_its_driver_only() {
    let folder = tempfile::Builder::new().prefix("zoo-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cases = [
        refused("entry-null", "null", json!({}), ["stage load", "null"]),
        refused("entry-magic", "magic", json!({}), ["stage load", "magic"]),
        refused("entry-epoch", "epoch", json!({}), ["stage load", "epoch 7"]),
        refused("entry-size", "size", json!({}), ["stage load", "8 bytes"]),
        refused("entry-panic", "panic", json!({}), ["stage load", "it crashed (SIGABRT)"]),
        refused("entry-abort", "abort", json!({}), ["stage load", "it crashed (SIGABRT)"]),
        refused("entry-hang", "hang", json!({}), ["stage load", "no hello within"]),
        refused("describe-panic", "descr", json!({}), ["stage load", "it crashed (SIGABRT)"]),
        refused("describe-other", "other", json!({}), ["stage ", "manifest"]),
        refused("lying-section", "good", json!({}), ["stage ", "the manifest lies"]),
        refused("open-panic", "good", json!({ "open": "panic" }), ["stage open", "the bad driver panics"]),
        refused(
            "open-panic-uncaught",
            "good",
            json!({ "open": "panic_uncaught" }),
            ["stage open", "it crashed (SIGABRT)"],
        ),
        refused("open-exit", "good", json!({ "open": "exit:0" }), ["stage open", "it ended by itself with code 0"]),
        refused("open-hang", "good", json!({ "open": "hang" }), ["stage open", "no answer within"]),
        refused("open-segfault", "good", json!({ "open": "segfault" }), ["stage open", "it crashed (SIGSEGV)"]),
        refused(
            "open-garbage-frame",
            "good",
            json!({ "open": "frames:no_json" }),
            ["stage open", "it broke the protocol"],
        ),
        refused(
            "open-grandchild",
            "good",
            json!({ "open": "grandchild:60+abort" }),
            ["stage open", "it crashed (SIGABRT)"],
        ),
        refused("health-panic", "good", json!({ "health": "panic" }), ["stage health", "the bad driver panics"]),
        refused("health-abort", "good", json!({ "health": "abort" }), ["stage health", "it crashed (SIGABRT)"]),
        refused("health-hang", "good", json!({ "health": "hang" }), ["stage health", "no answer within"]),
    ];
    let entry = |name: &str, file, config: &Value| DriverEntry {
        isolation: Isolation::Process,
        config: config.clone(),
        ..DriverEntry::new(Kind::LoadBalancer, name, file)
    };
    let mut drivers: Vec<DriverEntry> =
        cases.iter().map(|case| entry(case.name, library(folder.path(), case), &case.config)).collect();
    drivers.push(entry("good", paths::driver("bad_driver"), &json!({})));
    let mut settings = Settings { drivers, ..host::settings(folder.path()) };
    settings.probe_timeout = Duration::from_secs(3);
    settings.open_timeout = Duration::from_secs(3);
    settings.health_timeout = Duration::from_secs(3);
    let registry = Registry::open(settings).await.unwrap();
    let mut faults = Vec::new();
    for case in &cases {
        let info = registry.info(Kind::LoadBalancer, case.name).unwrap();
        let why = info.last_error.unwrap_or_default();
        let is_told = case.says.iter().all(|part| why.contains(part)) && why.lines().count() == 1;
        if info.state != DriverState::Failed || !is_told {
            faults.push(format!("{}: {:?}: {why}", case.name, info.state));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let good = registry.handle(Kind::LoadBalancer, "good").unwrap();
    good.health(Duration::from_secs(5)).await.unwrap();
    // Of the good one there are two: the keeper and the driver.
    wait_for("the others to be gone", Duration::from_secs(20), || {
        let left = process::with_command_line(&folder.path().display().to_string());
        (left.len() == 2).then_some(())
    });
    registry.close(Duration::from_secs(1)).await;
}
