//! Drivers in C, built when a test asks for one, and folders that the loader trusts.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use capstan::drivers::{DriverEntry, DriverHandle, Isolation, Kind, Registry, Settings};
use serde_json::{Value, json};

const METHODS: [&str; 21] = [
    "echo",
    "request",
    "version",
    "config",
    "sleep",
    "held",
    "obedient",
    "cancels",
    "garbage",
    "unknown_status",
    "null_body",
    "bad_error",
    "panic",
    "huge",
    "slow_work",
    "endless_work",
    "poll",
    "host",
    "null_host",
    "flood",
    "missing",
];

/// Every isolation that there is.
pub const ISOLATIONS: [Isolation; 2] = [Isolation::InProcess, Isolation::Process];

/// A folder below the target folder: nobody else can write there, while anybody can below `/tmp`.
pub fn folder() -> tempfile::TempDir {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(base).unwrap();
    tempfile::Builder::new().prefix("drivers-").tempdir_in(base).unwrap()
}

/// A manifest that passes; `change` is merged over it.
pub fn manifest(change: Value) -> Value {
    let mut manifest = json!({
        "name": "test", "version": "1.2.3", "vendor": "Test", "kind": "cloud", "interface": "cloud/1", "epoch": 1,
        "target": capstan_plugin_api::manifest::TARGET, "panic": "none", "serial_by": "none", "methods": METHODS,
    });
    if let (Some(manifest), Value::Object(change)) = (manifest.as_object_mut(), change) {
        manifest.extend(change);
    }
    manifest
}

/// Builds `driver.c` with a manifest and switches (`-DNAME=VALUE`) into `folder/NAME.so`.
pub fn build(folder: &Path, name: &str, manifest: &str, switches: &[&str]) -> PathBuf {
    let headers = folder.join(format!("{name}.headers"));
    fs::create_dir_all(&headers).unwrap();
    let quoted = manifest.replace('\\', "\\\\").replace('"', "\\\"");
    let section = r#"__attribute__((section(".capstan_manifest"), used))"#;
    let section = if switches.contains(&"-DNO_SECTION") { "" } else { section };
    fs::write(headers.join("manifest.h"), format!("static const char manifest[] {section} = \"{quoted}\";\n")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers_support/driver.c");
    let path = folder.join(format!("{name}.so"));
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-w", "-pthread", "-o"])
        .arg(&path)
        .arg("-I")
        .arg(&headers)
        .args(switches)
        .arg(source)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Builds a driver that passes, under the name `good`.
pub fn good(folder: &Path) -> PathBuf {
    build(folder, "good", &manifest(json!({})).to_string(), &[])
}

/// Builds a driver whose `version` answers this, with the manifest changed, and puts it in place as an installer does: by a
/// rename.
pub fn install(folder: &Path, version: &str, change: Value, switches: &[&str]) -> PathBuf {
    let mut manifest = manifest(change);
    manifest["version"] = json!(version);
    let answer = format!("-DVERSION=\"{version}\"");
    let built = build(folder, "next", &manifest.to_string(), &[&[answer.as_str()], switches].concat());
    let path = folder.join("d.so");
    fs::rename(built, &path).unwrap();
    path
}

/// Settings with everything below `folder`.
pub fn settings(folder: &Path) -> Settings {
    let mut settings = Settings::new(folder.join("state"), folder);
    settings.trust_own_files = true;
    settings.probe_executable = env!("CARGO_BIN_EXE_capstan").into();
    settings
}

/// An entry of kind cloud.
pub fn entry(name: &str, library: impl Into<PathBuf>) -> DriverEntry {
    DriverEntry::new(Kind::Cloud, name, library)
}

/// A registry with these entries.
pub async fn open(folder: &Path, drivers: Vec<DriverEntry>) -> Registry {
    let mut settings = settings(folder);
    settings.drivers = drivers;
    Registry::open(settings).await.unwrap()
}

/// A registry with one entry, and its handle.
pub async fn open_one(folder: &Path, entry: DriverEntry) -> (Registry, DriverHandle) {
    let name = entry.name.clone();
    let registry = open(folder, vec![entry]).await;
    let handle = registry.handle(Kind::Cloud, &name).unwrap();
    (registry, handle)
}

/// The one line of a driver that must not load.
pub async fn refused(folder: &Path, entry: DriverEntry) -> String {
    let (kind, name) = (entry.kind, entry.name.clone());
    let registry = open(folder, vec![entry]).await;
    let line = registry.handle(kind, &name).expect_err("it must be refused").to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("found ") && line.contains("; expected ") && line.rsplit("; ").next().is_some(), "{line}");
    line
}

/// Waits until a condition holds, at most 10 s.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// As [`until`], for tasks.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
