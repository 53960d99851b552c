//! The mgm drivers as the daemon runs them: the conformance kit in both modes, and their configuration through the built binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

#[path = "../../plugins/device-api/tests/admin_api/mod.rs"]
mod admin_api;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use admin_api::{AdminApi, Authority, Fault};
use capstan_tests::paths;
use serde_json::Value;

fn capstan(arguments: &[&str]) -> Output {
    let nowhere = ["--config", "/nowhere/capstan.toml"];
    Command::new(paths::capstan()).args(nowhere).args(arguments).output().unwrap()
}

/// What the kit says of a driver, checked with these arguments.
fn check(driver: &str, arguments: &[&str]) -> Vec<Value> {
    let library = paths::driver(driver);
    let common = ["driver", "check", library.to_str().unwrap(), "--trust-own-files", "--output", "json"];
    let output = capstan(&[&common, arguments].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let checks = report["checks"].as_array().unwrap_or_else(|| panic!("{report:#}")).clone();
    let failed: Vec<_> = checks.iter().filter(|check| check["verdict"] == "failed").collect();
    assert!(output.status.success() && failed.is_empty(), "{driver} {arguments:?}: {failed:#?}");
    for mode in ["process", "in-process"] {
        assert!(
            checks.iter().any(|check| check["isolation"] == mode && check["check"] == "open-close"),
            "{driver} {mode}"
        );
    }
    checks
}

/// Checks that the contract itself was asked in both modes, and whether secrets were looked for.
fn check_live(driver: &str, folder: &Path, config: &str, has_secret: bool) {
    let live = folder.join(format!("{driver}.toml"));
    fs::write(&live, format!("[config]\n{config}\n[conformance]\nshared_backend = true\n")).unwrap();
    let checks = check(driver, &["--live", live.to_str().unwrap()]);
    let passed =
        |name: &str| checks.iter().filter(|check| check["check"] == name && check["verdict"] == "passed").count();
    assert_eq!((passed("reads"), passed("add-node")), (2, 2), "{checks:#?}");
    assert_eq!(passed("secrets"), if has_secret { 2 } else { 0 }, "{checks:#?}");
}

#[test]
fn each_passes_the_kit_without_a_server() {
    for driver in ["mgm_dummy", "mgm_hp_rest", "mgm_local"] {
        check(driver, &[]);
    }
}

#[test]
fn each_passes_the_kit_with_its_server() {
    let folder = tempfile::tempdir().unwrap();
    check_live("mgm_dummy", folder.path(), "", false);

    let authority = Authority::new();
    let servers = [AdminApi::tls(&authority, "127.0.0.1"), AdminApi::tls(&authority, "127.0.0.1")];
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    for server in &servers {
        server.demand("conformance-token");
    }
    // The second one is broken in every way that a probe can find.
    servers[1].fail(Fault::with(200, "Content-Type: text/html\r\n", "<p>"));
    let config = format!(
        "servers = [\"{}\", \"{}\"]\nca_file = \"{}\"\ntoken = \"conformance-token\"",
        servers[0].server(),
        servers[1].server(),
        ca.display()
    );
    check_live("mgm_hp_rest", folder.path(), &config, true);
    assert!(servers[0].devices().is_empty(), "what the kit added, it removed");

    let socket = folder.path().join("daemon.sock");
    let daemon = AdminApi::unix(&socket);
    daemon.demand("conformance-token");
    check_live(
        "mgm_local",
        folder.path(),
        &format!("socket = \"{}\"\ntoken = \"conformance-token\"", socket.display()),
        true,
    );
    assert!(daemon.devices().is_empty(), "what the kit added, it removed");
}

#[test]
fn p26_one_call_of_an_operator_sends_the_body_of_its_generation() {
    let server = AdminApi::plain();
    let library = paths::driver("mgm_hp_rest");
    let config = format!(r#"{{"servers":["{}"],"tls":false,"body":"seed"}}"#, server.server());
    let output = capstan(&[
        "driver",
        "call",
        library.to_str().unwrap(),
        "add_node",
        r#"{"name":"n","address":"15.1.2.3","az":1,"type":"t"}"#,
        "--trust-own-files",
        "--driver-config",
        &config,
    ]);
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["accepted"], true);
    assert!(
        server.requests()[0].ends_with("\r\n\r\n{\"name\":\"n\",\"address\":\"15.1.2.3\"}"),
        "{:?}",
        server.requests()
    );
}

#[test]
fn a_fault_of_the_configuration_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capstan.toml");
    for (driver, config, says) in [
        ("hp_rest", "servers = \"a:1\"", "known_drivers.mgm.hp_rest.config.servers"),
        ("hp_rest", "body = \"v3\"", "known_drivers.mgm.hp_rest.config.body"),
        ("local", "sokcet = \"/x\"", "known_drivers.mgm.local.config.sokcet"),
        ("dummy", "faults = { add_node = { times = 1 } }", "answer"),
    ] {
        let library = paths::driver(&format!("mgm_{driver}"));
        let text = format!(
            "[drivers]\ntrust_own_files = true\n[known_drivers.mgm.{driver}]\nlibrary = {library:?}\n[known_drivers.mgm.{driver}.config]\n{config}\n"
        );
        fs::write(&file, text).unwrap();
        let output = Command::new(paths::capstan())
            .args(["--config", file.to_str().unwrap(), "config", "check"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(says), "{config}: {said}");
    }
}
