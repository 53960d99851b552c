//! `limits`, `sandbox` and `user` of a driver: what is read, what is inherited, and what is wrong with them.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs};

use capstan::config::{
    DriverKind, Environment as _, KnownDriver, Limits, Loaded, Loader, ProcessEnvironment, Sandbox, load,
};

const ENTRY: &str = "[known_drivers.cloud.acme]\nlibrary = \"a.so\"\n";

/// What the file `/etc/capstan/capstan.toml` with this text gives, or its faults without their file.
fn read(text: &str) -> Result<Loaded, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capstan.toml");
    fs::write(&path, text).unwrap();
    let environment = BTreeMap::from([("USERS".to_owned(), "acme,capstan-driver,root".to_owned())]);
    let prefix = format!("{}/", folder.path().display());
    load(&path, &environment)
        .map_err(|faults| faults.as_slice().iter().map(|fault| fault.to_string().replace(&prefix, "")).collect())
}

fn acme(text: &str) -> KnownDriver {
    let loaded = read(text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    loaded.config.known_drivers.get(DriverKind::Cloud, "acme").unwrap().clone()
}

/// Asserts that `text`, from its third line on in the entry of a driver, has exactly one fault that begins like this.
fn one(text: &str, begins: &str, contains: &str) {
    let found = read(&format!("{ENTRY}{text}")).unwrap_err();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("capstan.toml:{begins}")), "{}\n  expected {begins}", found[0]);
    assert!(found[0].contains(contains), "{}\n  expected to contain {contains}", found[0]);
}

#[test]
fn an_entry_has_the_defaults() {
    let driver = acme(ENTRY);
    assert_eq!(driver.limits, Limits { memory: None, files: Some(1024), processes: Some(256) });
    assert_eq!((driver.sandbox, driver.user), (None, None));
}

#[test]
fn limits_and_user_are_inherited_key_by_key() {
    let defaults =
        "[drivers]\nuser = \"capstan-driver\"\nlimits = { memory = \"1GiB\", files = 64, processes = \"unlimited\" }\n";
    let driver = acme(&format!("{defaults}{ENTRY}"));
    assert_eq!(driver.limits, Limits { memory: Some(1 << 30), files: Some(64), processes: None });
    assert_eq!(driver.user.as_deref(), Some("capstan-driver"));
    let own = "user = \"acme\"\nlimits = { memory = \"unlimited\", processes = 32 }\n";
    let driver = acme(&format!("{defaults}{ENTRY}{own}"));
    assert_eq!(driver.limits, Limits { memory: None, files: Some(64), processes: Some(32) });
    assert_eq!(driver.user.as_deref(), Some("acme"));
}

#[test]
fn sizes_have_units() {
    let memory = |value: &str| acme(&format!("{ENTRY}limits.memory = {value}\n")).limits.memory.unwrap();
    for (value, bytes) in [
        ("\"256MiB\"", 256 << 20),
        ("\"256 MiB\"", 256 << 20),
        ("\"20000KiB\"", 20_000 << 10),
        ("\"1TiB\"", 1 << 40),
        ("33554432", 32 << 20),
    ] {
        assert_eq!(memory(value), bytes, "{value}");
    }
    for value in [
        "\"256\"",
        "\"256MB\"",
        "\"1.5GiB\"",
        "\"-1GiB\"",
        "\"MiB\"",
        "\"\"",
        "\"99999999999TiB\"",
        "-1",
        "1.5",
        "true",
    ] {
        one(
            &format!("limits.memory = {value}\n"),
            "3: known_drivers.cloud.acme.limits.memory: found ",
            "expected a size such as \"256MiB\", or \"unlimited\"; write a whole number with KiB, MiB, GiB or TiB",
        );
    }
}

#[test]
fn shown_values_read_back() {
    let text = format!("{ENTRY}limits = {{ memory = 33554433, processes = \"unlimited\" }}\n");
    let loaded = read(&text).unwrap();
    let shown = |key: &str| {
        let key = format!("known_drivers.cloud.acme.limits.{key}");
        loaded.effective().iter().find(|value| value.key == key).unwrap().value.to_string()
    };
    assert_eq!(shown("memory"), "33554433");
    assert_eq!(shown("processes"), "\"unlimited\"");
    assert_eq!(shown("files"), "1024");
    let again = format!("{ENTRY}limits = {{ memory = {}, processes = {} }}\n", shown("memory"), shown("processes"));
    assert_eq!(acme(&again).limits, acme(&text).limits);
    let loaded = read(&format!("{ENTRY}limits.memory = 33554432\n")).unwrap();
    let value = loaded.effective().iter().find(|value| value.key.ends_with("acme.limits.memory")).unwrap();
    assert_eq!(value.value, "32MiB");
}

#[test]
fn a_variable_of_the_environment_sets_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capstan.toml");
    fs::write(&path, ENTRY).unwrap();
    let variables = BTreeMap::from([
        ("CAPSTAN_KNOWN_DRIVERS__CLOUD__ACME__LIMITS__MEMORY".to_owned(), "64MiB".to_owned()),
        ("CAPSTAN_DRIVERS__LIMITS__FILES".to_owned(), "100".to_owned()),
    ]);
    let loaded = Loader::new(&variables).file(&path).load().unwrap();
    let driver = loaded.config.known_drivers.get(DriverKind::Cloud, "acme").unwrap();
    assert_eq!(driver.limits, Limits { memory: Some(64 << 20), files: Some(100), processes: Some(256) });
}

#[test]
fn limits_that_no_driver_can_live_with_are_refused() {
    one("limits.memory = \"1MiB\"\n", "3: known_drivers.cloud.acme.limits.memory: found ", "\"16MiB\" upwards");
    one("limits.files = 8\n", "3: known_drivers.cloud.acme.limits.files: found the number 8; ", "from 32 to 1048576");
    one("limits.files = \"many\"\n", "3: known_drivers.cloud.acme.limits.files: ", "a whole number, or \"unlimited\"");
    one("limits.processes = 0\n", "3: known_drivers.cloud.acme.limits.processes: ", "from 17 to 4194304");
    one("limits.proceses = 1\n", "3: known_drivers.cloud.acme.limits.proceses: ", "did you mean \"processes\"?");
    one("limits = 5\n", "3: known_drivers.cloud.acme.limits: found the number 5; ", "a table");
}

#[test]
fn there_are_processes_enough_for_the_calls() {
    one(
        "limits.processes = 20\n",
        "3: known_drivers.cloud.acme.limits.processes: found 20; expected at least 24, as 8 calls at one time have a thread each; ",
        "raise limits.processes or lower max_concurrency",
    );
    // The default is at fault as well.
    one(
        "max_concurrency = 241\n",
        "3: known_drivers.cloud.acme.limits.processes: ",
        "found 256; expected at least 257",
    );
    acme(&format!("{ENTRY}max_concurrency = 240\n"));
    acme(&format!("{ENTRY}max_concurrency = 1\nlimits.processes = 17\n"));
}

#[test]
fn a_sandbox_names_paths_and_ports() {
    let text = "[known_drivers.cloud.acme.sandbox]\nread = [\"/etc/acme\"]\nconnect = [443, 8774]\n";
    let sandbox = Sandbox { read: vec!["/etc/acme".into()], write: Vec::new(), connect: vec![443, 8774] };
    assert_eq!(acme(&format!("{ENTRY}{text}")).sandbox, Some(sandbox));
    assert_eq!(acme(&format!("{ENTRY}sandbox = {{}}\n")).sandbox, Some(Sandbox::default()));
    one(
        "sandbox.connect = [443,\n\"cloud.example.org:443\"]\n",
        "4: known_drivers.cloud.acme.sandbox.connect: found the text \"cloud.example.org:443\"; expected a port from 1 to 65535; ",
        "write the number alone: the kernel's rules know no hosts",
    );
    for port in ["0", "65536", "-1", "1.5"] {
        one(
            &format!("sandbox.connect = [{port}]\n"),
            "3: known_drivers.cloud.acme.sandbox.connect: found the number ",
            "a port from 1 to 65535; correct the number",
        );
    }
    one("sandbox.read = [\"\"]\n", "3: known_drivers.cloud.acme.sandbox.read: ", "a path");
    one("sandbox.reads = []\n", "3: known_drivers.cloud.acme.sandbox.reads: ", "did you mean \"read\"?");
}

#[test]
fn an_unknown_user_is_a_fault_where_it_stands() {
    one(
        "user = \"amce\"\n",
        "3: known_drivers.cloud.acme.user: found the unknown user \"amce\"; expected a user of this machine; ",
        "useradd --system",
    );
    one("user = \"\"\n", "3: known_drivers.cloud.acme.user: ", "unknown user \"\"");
    one("[drivers]\nuser = \"amce\"\n", "4: drivers.user: found the unknown user \"amce\"; ", "");
}

#[test]
fn the_users_of_this_machine_are_known() {
    assert!(ProcessEnvironment.has_user("root"));
    assert!(!ProcessEnvironment.has_user("no-such-user"));
    assert!(!ProcessEnvironment.has_user("a\0b"));
}

#[test]
fn nothing_confines_what_runs_in_the_daemon() {
    let found = read(&format!(
        "{ENTRY}isolation = \"in-process\"\nuser = \"acme\"\nlimits.files = 64\nsandbox.read = [\"/etc/acme\"]\n"
    ))
    .unwrap_err();
    assert_eq!(found.len(), 3, "{found:#?}");
    for (fault, (line, key)) in found.iter().zip([(4, "user"), (5, "limits"), (6, "sandbox")]) {
        let expected = format!(
            "capstan.toml:{line}: known_drivers.cloud.acme.{key}: found {key} of a driver that runs in the daemon, where nothing \
             can enforce it; expected isolation = \"process\"; set isolation = \"process\" or remove {key}"
        );
        assert_eq!(*fault, expected);
    }
    one("isolation = \"in-process\"\nsandbox = {}\n", "1: known_drivers.cloud.acme.sandbox: ", "remove sandbox");
}

#[test]
fn defaults_that_do_not_apply_in_the_daemon_are_no_fault() {
    let text = "[drivers]\nuser = \"acme\"\nisolation = \"in-process\"\nmax_concurrency = 4000\nlimits.files = 64\n";
    acme(&format!("{text}{ENTRY}"));
}
