//! The files in `config/` load, and `config/capstan.toml` shows every key with its default.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use capstan::config::{Isolation, Role, load, reference};

/// Defaults that depend on the machine or on another key, so that the file can only show an example.
const EXAMPLES: [&str; 4] = ["worker.function", "worker.device", "http.tls.client_auth", "identity.name"];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

#[test]
fn one_machine_with_everything_on() {
    let config = load(&shipped("capstan.toml"), &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}")).config;
    assert_eq!(config.daemon.roles, Role::ALL);
    assert!(config.gearman.is_embedded());
    let drivers: Vec<_> = config.known_drivers.iter().map(|driver| driver.name.as_str()).collect();
    assert_eq!(drivers, ["dummy", "local", "haproxy", "noop", "dummy", "hp_rest", "local"]);
    assert_eq!(config.cloud_farm.get(None).unwrap().engine, "dummy");
}

#[test]
fn every_shipped_file_loads_and_runs_its_drivers_in_processes_of_their_own() {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(shipped("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.push(shipped("capstan.toml"));
    assert!(paths.len() >= 3);
    for path in paths {
        // The files that an example names beside itself are its machine's; here they hold no more than the marks of both.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("capstan.toml");
        fs::copy(&path, &copy).unwrap();
        fs::create_dir(folder.path().join("tls")).unwrap();
        for name in ["ca.pem", "node.pem", "node.key"] {
            fs::write(
                folder.path().join("tls").join(name),
                "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n",
            )
            .unwrap();
        }
        let loaded = load(&copy, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{}:\n{faults}", path.display()));
        for driver in loaded.config.known_drivers.iter() {
            assert_eq!(driver.isolation, Isolation::Process, "{} in {}", driver.name, path.display());
        }
    }
}

/// The keys of the file, the ones behind a bare `#` included, as (dotted key, text of the value, whether it is set).
fn shown() -> Vec<(String, String, bool)> {
    let text = fs::read_to_string(shipped("capstan.toml")).unwrap();
    let (mut section, mut keys) = (String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with("# ") && *line != "#") {
        let (line, is_set) = line.strip_prefix('#').map_or((line, true), |line| (line, false));
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            // A stock of its own is an example: it shows how one differs from [pool].
            let is_chosen = is_set || section.starts_with("pool.stocks.");
            keys.push((general(&format!("{section}.{key}")), value.to_owned(), is_chosen));
        }
    }
    keys
}

/// Kinds and names that an operator chooses, as the reference calls them.
fn general(key: &str) -> String {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        ["known_drivers", _, _, "config", ..] => "known_drivers.load_balancer.name.config".to_owned(),
        ["known_drivers", _, _, table @ ("limits" | "sandbox"), rest] => {
            format!("known_drivers.load_balancer.name.{table}.{rest}")
        }
        ["known_drivers", _, _, rest] => format!("known_drivers.load_balancer.name.{rest}"),
        ["cloud_farm", _, rest] => format!("cloud_farm.name.{rest}"),
        ["pool", "stocks", _, rest] => format!("pool.{rest}"),
        _ => key.to_owned(),
    }
}

#[test]
fn every_key_is_shown_and_what_is_commented_out_shows_the_default() {
    let shown = shown();
    let reference = reference();
    assert!(reference.len() > 50, "{}", reference.len());
    for key in &reference {
        let rows: Vec<_> = shown.iter().filter(|row| row.0 == key.key).collect();
        assert!(!rows.is_empty(), "config/capstan.toml does not show {}", key.key);
        for (name, value, is_set) in rows {
            if *is_set || key.value.is_null() || EXAMPLES.contains(&name.as_str()) {
                continue;
            }
            let table: toml::Table =
                toml::from_str(&format!("value = {value}")).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(serde_json::to_value(&table["value"]).unwrap(), key.value, "{name}");
        }
    }
    for (key, ..) in &shown {
        assert!(reference.iter().any(|known| known.key == *key), "config/capstan.toml shows {key}, which there is not");
    }
}

#[test]
fn the_manual_explains_every_key() {
    let manual = fs::read_to_string(shipped("../docs/configuration.md")).unwrap();
    for key in reference() {
        let (_, name) = key.key.rsplit_once('.').unwrap();
        assert!(manual.contains(&format!("| `{name}` |")), "docs/configuration.md does not explain {}", key.key);
    }
}

#[test]
fn the_unit_leaves_haproxy_running() {
    let unit = fs::read_to_string(shipped("capstan.service")).unwrap();
    for line in ["Type=notify", "KillMode=process", "RuntimeDirectoryPreserve=yes"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn the_unit_lets_the_daemon_confine_drivers() {
    let unit = fs::read_to_string(shipped("capstan.service")).unwrap();
    for line in ["Delegate=memory pids", "DelegateSubgroup=capstan-daemon", "OOMPolicy=continue"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let rights = unit.lines().find(|line| line.starts_with("CapabilityBoundingSet=")).unwrap();
    assert!(rights.contains("CAP_SETGID") && rights.contains("CAP_SETUID"), "the change of user needs both");
    assert!(!unit.contains("\nProtectControlGroups=yes"));
}
