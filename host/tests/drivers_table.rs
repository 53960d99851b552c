//! A new table of drivers is taken over whole or not at all, and files that change are loaded by themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod drivers_support;

use std::{fs, io::Write, os::unix::fs::symlink, path::Path, time::Duration};

use capstan::drivers::{CallOptions, DriverEntry, DriverInfo, DriverState, Kind, Registry, Settings};
use capstan_plugin_api::ErrorCode;
use drivers_support::{build, entry, eventually, folder, good, install, manifest, settings};
use serde_json::{Value, json};

fn table(folder: &Path, drivers: Vec<DriverEntry>) -> Settings {
    Settings { drivers, ..settings(folder) }
}

fn info(registry: &Registry, name: &str) -> DriverInfo {
    registry.info(Kind::Cloud, name).unwrap()
}

fn states(registry: &Registry) -> Vec<(String, u64, DriverState)> {
    registry.list().into_iter().map(|driver| (driver.name, driver.generation, driver.state)).collect()
}

fn configured(name: &str, library: &Path, region: &str) -> DriverEntry {
    let mut entry = entry(name, library);
    entry.config = json!({ "region": region });
    entry
}

async fn config(registry: &Registry, name: &str) -> Value {
    let handle = registry.handle(Kind::Cloud, name).unwrap();
    handle.call("config", &(), CallOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_done_and_the_rest_is_left_alone() {
    let folder = folder();
    let library = good(folder.path());
    let here = |name: &str| configured(name, &library, "here");
    let registry = Registry::open(table(folder.path(), vec![here("a"), here("b"), here("c")])).await.unwrap();
    let (a, b) = (registry.handle(Kind::Cloud, "a").unwrap(), registry.handle(Kind::Cloud, "b").unwrap());

    let applied = registry.apply(table(folder.path(), vec![here("a"), here("b"), here("c")])).await.unwrap();
    assert!(applied.is_empty(), "{applied:?}");

    let there = configured("a", &library, "there");
    let mut limits = here("c");
    (limits.max_concurrency, limits.required) = (2, true);
    let mut timeout = limits.clone();
    timeout.call_timeout = Some(Duration::from_secs(3));
    let applied = registry.apply(table(folder.path(), vec![there.clone(), limits, here("d")])).await.unwrap();
    assert_eq!((applied.added, applied.removed), (vec!["cloud.d".to_owned()], vec!["cloud.b".to_owned()]));
    assert_eq!(applied.changed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    let ready = |name: &str, generation| (name.to_owned(), generation, DriverState::Ready);
    assert_eq!(states(&registry), [ready("a", 2), ready("c", 2), ready("d", 1)]);
    assert_eq!(config(&registry, "a").await, json!({ "region": "there" }));
    let from_before: Value = a.call("config", &(), CallOptions::default()).await.unwrap();
    assert_eq!(from_before, json!({ "region": "there" }), "a handle stays good");
    let gone = b.call::<_, Value>("config", &(), CallOptions::default()).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::UNAVAILABLE);
    assert!(!folder.path().join("state/drivers/cloud.b.history.json").exists());

    let c = registry.handle(Kind::Cloud, "c").unwrap();
    assert_eq!(c.call_timeout(), Some(Duration::from_secs(30)));
    let applied = registry.apply(table(folder.path(), vec![there, timeout, here("d"), here("b")])).await.unwrap();
    assert_eq!((applied.added.len(), applied.changed.len()), (1, 1));
    assert_eq!(c.call_timeout(), Some(Duration::from_secs(3)));
    assert_eq!(states(&registry), [ready("a", 2), ready("b", 1), ready("c", 3), ready("d", 1)]);
    assert_eq!(config(&registry, "b").await, json!({ "region": "here" }), "it may come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_keeps_everything_as_it_is() {
    let folder = folder();
    let library = good(folder.path());
    let here = |name: &str| configured(name, &library, "here");
    let there = |name: &str| configured(name, &library, "there");
    let registry = Registry::open(table(folder.path(), vec![here("a"), here("b")])).await.unwrap();
    let before = states(&registry);

    let refuse = r#"-DOPEN=if (strstr((const char *)config.data, "there")) return text(1, "{\"code\":\"auth_failed\",\"message\":\"no\"}")"#;
    let picky = build(folder.path(), "picky", &manifest(json!({})).to_string(), &[refuse]);
    let broken = configured("b", &picky, "there");
    // What can be refused without running it is, before anything of the new table is opened.
    let opened = folder.path().join("opened");
    let witness = format!("-DOPEN=fclose(fopen(\"{}\", \"w\"))", opened.display());
    let eager = build(folder.path(), "eager", &manifest(json!({})).to_string(), &[&witness]);
    let mut pinned = configured("d", &library, "here");
    pinned.sha256 = Some("0".repeat(64));
    let wanted = vec![configured("a", &eager, "there"), broken.clone(), entry("c", "none.so"), pinned];
    let faults = registry.apply(table(folder.path(), wanted)).await.unwrap_err().0;
    assert_eq!(faults.len(), 2, "each is told: {faults:?}");
    assert!(
        faults[0].contains("driver cloud.c: stage resolve") && faults[1].contains("driver cloud.d: stage checksum")
    );
    assert!(!opened.exists(), "a driver was opened for nothing");
    // What only `open` can tell is told by it, and nothing is put in place either.
    let wanted = vec![configured("a", &eager, "there"), broken];
    let faults = registry.apply(table(folder.path(), wanted)).await.unwrap_err().0;
    assert!(faults.len() == 1 && faults[0].contains("driver cloud.b: stage open"), "{faults:?}");
    assert!(opened.exists(), "the witness shows what was opened");
    assert_eq!(states(&registry), before);
    assert_eq!(config(&registry, "a").await, json!({ "region": "here" }));
    assert_eq!((info(&registry, "a").failed_reloads, info(&registry, "b").failed_reloads), (0, 1));
    assert_eq!(info(&registry, "b").last_reload_error.as_deref(), Some(faults[0].as_str()));

    // One that a running service uses stays, by name.
    let used = registry.handle(Kind::Cloud, "b").unwrap().used_by("the pool manager", &[]);
    assert_eq!(info(&registry, "b").used_by, ["the pool manager"]);
    let faults = registry.apply(table(folder.path(), vec![there("a")])).await.unwrap_err().0;
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("driver cloud.b") && faults[0].contains("the pool manager uses it"), "{faults:?}");
    assert_eq!(states(&registry), before);
    let clone = used.clone();
    drop(used);
    registry.apply(table(folder.path(), vec![there("a")])).await.unwrap_err();
    drop(clone);
    registry.apply(table(folder.path(), vec![there("a")])).await.unwrap();
    assert_eq!(config(&registry, "a").await, json!({ "region": "there" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_count_as_well_and_a_rollback_is_kept_to() {
    let folder = folder();
    let path = folder.path();
    let entries = |region: &str| vec![configured("d", Path::new("d.so"), region), entry("late", "late.so")];
    install(path, "1", json!({}), &[]);
    let registry = Registry::open(table(path, entries("here"))).await.unwrap();
    assert_eq!(info(&registry, "late").state, DriverState::Failed);
    let version = |registry: &Registry| info(registry, "d").version.unwrap();

    install(path, "2", json!({}), &[]);
    let applied = registry.apply(table(path, entries("here"))).await.unwrap();
    assert_eq!((applied.changed.len(), version(&registry).as_str()), (1, "2"));
    assert_eq!(info(&registry, "late").state, DriverState::Failed, "tried again, and no obstacle");

    registry.rollback(Kind::Cloud, "d").await.unwrap();
    assert!(registry.apply(table(path, entries("here"))).await.unwrap().is_empty(), "the file is the declined one");
    let applied = registry.apply(table(path, entries("there"))).await.unwrap();
    assert_eq!((applied.changed.len(), version(&registry).as_str()), (1, "1"));
    assert_eq!(config(&registry, "d").await, json!({ "region": "there" }));
    registry.restart(Kind::Cloud, "d").await.unwrap();
    assert!(registry.apply(table(path, entries("there"))).await.unwrap().is_empty());

    install(path, "3", json!({}), &[]);
    fs::copy(path.join("d.so"), path.join("late.so")).unwrap();
    registry.apply(table(path, entries("there"))).await.unwrap();
    assert_eq!(version(&registry), "3", "another file is another matter");
    assert_eq!(info(&registry, "late").state, DriverState::Ready);

    // A file that went away or that nobody may read is no difference as long as nothing asks for it.
    fs::remove_file(path.join("d.so")).unwrap();
    assert!(registry.apply(table(path, entries("there"))).await.unwrap().is_empty());
    fs::write(path.join("d.so"), "no library").unwrap();
    registry.apply(table(path, entries("there"))).await.unwrap_err();
    assert_eq!(version(&registry), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_reloaded_once_it_is_whole() {
    let folder = folder();
    let path = folder.path();
    install(path, "1", json!({}), &[]);
    for release in ["old", "new"] {
        fs::create_dir(path.join(release)).unwrap();
        fs::copy(path.join("d.so"), path.join(release).join("d.so")).unwrap();
    }
    symlink("old", path.join("current")).unwrap();
    let drivers = vec![entry("d", "d.so"), entry("linked", "current/d.so"), entry("late", "not/yet/d.so")];
    let registry = Registry::open(table(path, drivers)).await.unwrap();
    registry.watch().unwrap();
    let serves = async |name: &str, version: &str| {
        eventually(&format!("{name} {version}"), || info(&registry, name).version.as_deref() == Some(version)).await;
    };

    // Replaced, as an installer does.
    install(path, "2", json!({}), &[]);
    serves("d", "2").await;

    // Written in place, in pieces with pauses between them.
    let bytes = fs::read(build(path, "in_place", &manifest(json!({ "version": "4" })).to_string(), &[])).unwrap();
    let mut file = fs::File::create(path.join("d.so")).unwrap();
    for piece in bytes.chunks(bytes.len() / 8) {
        file.write_all(piece).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(file);
    serves("d", "4").await;
    eventually("counted", || info(&registry, "d").reloads == 2).await;

    // A link that is turned, and a folder that was not there.
    fs::copy(path.join("d.so"), path.join("new/d.so")).unwrap();
    symlink("new", path.join("next")).unwrap();
    fs::rename(path.join("next"), path.join("current")).unwrap();
    serves("linked", "4").await;
    fs::create_dir_all(path.join("not/yet")).unwrap();
    fs::copy(path.join("d.so"), path.join("not/yet/d.so")).unwrap();
    serves("late", "4").await;

    // What is no driver is refused once, and what only looks new is left alone.
    fs::write(path.join("d.so"), "no library").unwrap();
    let refused = || info(&registry, "d").last_reload_error.is_some_and(|error| error.contains("no ELF file"));
    eventually("refused", refused).await;
    fs::write(path.join("d.so"), &bytes).unwrap();
    fs::copy(path.join("d.so"), path.join("current/d.so")).unwrap();
    install(path, "5", json!({}), &[]);
    serves("d", "5").await;
    assert_eq!(info(&registry, "linked").generation, 2, "the same bytes again");

    // Entries that come are watched too.
    let drivers = vec![entry("d", "d.so"), entry("more", "new/d.so")];
    registry.apply(table(path, drivers)).await.unwrap();
    install(path, "6", json!({}), &[]);
    fs::rename(path.join("d.so"), path.join("new/d.so")).unwrap();
    serves("more", "6").await;
    registry.close(Duration::from_secs(1)).await;
}
