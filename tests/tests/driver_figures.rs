//! What the daemon tells of its drivers: in the list, in `driver info`, on HTTP and among the figures for Prometheus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use capstan_tests::{
    daemon::{Setup, Site, update},
    http,
};
use serde_json::json;

/// All that is said of a driver stands in the list, in `driver info`, on HTTP and among the figures.
#[test]
fn what_a_driver_does_is_shown_everywhere() {
    let site = Site::worker("noop", "lacks = [\"suspend\"]");
    let daemon = site.start();
    site.pass(&update(80, &[("1", 81)]));
    assert_eq!(site.ask(&json!({ "hpcs_action": "SUSPEND" }))["hpcs_response"], "FAIL");

    let said = http::get(site.http_port, "/drivers/v1/load_balancer/noop", "").unwrap().json();
    for (key, value) in [
        ("state", json!("ready")),
        ("isolation", json!("process")),
        ("generation", json!(1)),
        ("errors", json!({ "not_supported": 1 })),
        ("in_flight", json!(0)),
        ("queue", json!(0)),
        ("restarts", json!(0)),
        ("lost_threads", json!(0)),
    ] {
        assert_eq!(said[key], value, "{key}: {said}");
    }
    let calls = said["calls"].as_u64().unwrap();
    let sha256 = said["sha256"].as_str().unwrap();
    assert!(calls >= 2 && said["p50"].as_f64() <= said["p99"].as_f64(), "{said}");
    let latency = said["latency"].as_array().unwrap();
    assert!(latency.is_sorted_by_key(|bucket| bucket["calls"].as_u64()), "{said}");
    assert_eq!(latency.last().unwrap(), &json!({ "seconds": 60.0, "calls": calls }));
    assert_eq!(said["figures"]["create"], 1.0, "the driver's own");

    let table = site.expect(0, &["driver", "list"]).out;
    let (head, row) = table.split_once('\n').unwrap();
    let columns: Vec<&str> = head.split_whitespace().collect();
    let expected =
        "NAME KIND STATE VERSION ISOLATION GENERATION SHA256 CALLS ERRORS P50 P99 RUNNING WAITING RESTARTS LOST";
    assert_eq!(columns.join(" "), expected);
    let cells: Vec<&str> = row.split_whitespace().collect();
    let (version, calls_shown) = (env!("CARGO_PKG_VERSION"), calls.to_string());
    let first = ["noop", "load_balancer", "ready", version, "process", "1", &sha256[..12], &calls_shown, "1"];
    assert_eq!(cells[..9], first, "{row}");
    assert_eq!(cells[cells.len() - 4..], ["0"; 4], "{row}");

    let info = site.expect(0, &["driver", "info", "noop"]).out;
    let (_, info) = info.split_once("in the daemon").unwrap();
    let rows: Vec<String> = info.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for row in [
        "state ready",
        "isolation process",
        "generation 1",
        &format!("sha256 {sha256}"),
        "restarts 0",
        &format!("calls {calls}"),
        "errors not_supported 1",
        "running 0",
        "waiting 0",
        "lost threads 0",
    ] {
        assert!(rows.iter().any(|found| found == row), "{row} is not in {rows:#?}");
    }
    for title in ["p50 ", "p99 ", "figures ", "process "] {
        assert!(rows.iter().any(|row| row.starts_with(title)), "{title} is not in {rows:#?}");
    }

    let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
    let noop = r#"kind="load_balancer",driver="noop""#;
    for line in [
        format!(r#"capstan_driver_calls_total{{{noop},method="suspend",code="not_supported"}} 1"#),
        format!(r#"capstan_driver_call_seconds_count{{{noop},method="apply"}} 1"#),
        format!(r#"capstan_driver_call_seconds_bucket{{{noop},method="apply",le="+Inf"}} 1"#),
        format!(r#"capstan_driver_running_calls{{{noop}}} 0"#),
        format!(r#"capstan_driver_waiting_calls{{{noop}}} 0"#),
        format!(r#"capstan_driver_restarts_total{{{noop}}} 0"#),
        format!(r#"capstan_driver_lost_threads{{{noop}}} 0"#),
        format!(r#"capstan_driver_generation{{{noop}}} 1"#),
        format!(r#"capstan_driver_state{{{noop},state="ready"}} 1"#),
        format!(r#"capstan_driver_info{{{noop},version="{version}",sha256="{sha256}"}} 1"#),
        format!(r#"capstan_driver_figure{{{noop},name="create"}} 1"#),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    daemon.stop();
}

/// A driver that counts more than it may, under names that look like somebody else's.
const GREEDY: &str = r#"#!/usr/bin/python3 -IB
import os, sys
sys.path.append(os.path.dirname(os.environ["CAPSTAN_DRIVER_FILE"]))
from capstan_driver import DriverError, serve

class Greedy:
    MANIFEST = {"name": "greedy", "version": "1", "kind": "mgm", "interface": "mgm/1", "methods": ["get_url"]}

    def __init__(self, host, config):
        names = ["capstan_build_info", "up", "Up", "a b", "a\\n1", "x\"} 1", ""] + [f"n{number}" for number in range(200)]
        refused = 0
        for name in names:
            try:
                host.ask("metric", name=name, value=0.5)
            except DriverError:
                refused += 1
        host.log("info", f"refused {refused}")

serve(Greedy)
"#;

#[test]
fn the_figures_of_a_driver_have_a_place_of_their_own_and_a_limit() {
    let more = "[known_drivers.mgm.greedy]\ncommand = [\"@ROOT@/greedy.py\"]";
    let site = Site::new(Setup { more, ..Setup::default() });
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("plugin-api/python/capstan_driver.py");
    fs::copy(module, site.path().join("capstan_driver.py")).unwrap();
    fs::write(site.path().join("greedy.py"), GREEDY).unwrap();
    fs::set_permissions(site.path().join("greedy.py"), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = site.start();
    let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
    let greedy = r#"kind="mgm",driver="greedy""#;
    let figure = format!("capstan_driver_figure{{{greedy},");
    assert_eq!(metrics.lines().filter(|line| line.starts_with(&figure)).count(), 64, "{metrics}");
    for name in ["capstan_build_info", "up", "n0"] {
        let line = format!(r#"{figure}name="{name}"}} 0.5"#);
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(metrics.lines().filter(|line| line.starts_with("capstan_build_info{")).count(), 1, "{metrics}");
    assert!(!metrics.lines().any(|line| line.starts_with("up ") || line.starts_with("up{")), "{metrics}");
    // 207 were asked for.
    assert!(site.log().contains("refused 143"), "{}", site.log());
    // What is gone from the table is gone from the figures.
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(text.split("[known_drivers.mgm.greedy]").next().unwrap());
    daemon.signal(rustix::process::Signal::HUP);
    capstan_tests::wait_for("the driver to be gone", std::time::Duration::from_secs(30), || {
        let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
        (!metrics.contains("driver=\"greedy\"")).then_some(())
    });
    daemon.stop();
}
