//! A stock of real workers: the pool manager asks them how they are.

use std::path::Path;

use capstan_tests::{
    daemon::{Setup, Site},
    http, paths, process, wait_for,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{self, LONG, Node};

/// A daemon that keeps two nodes of the shipped image.
fn site() -> Site {
    let site = Site::new(Setup::default());
    let (http, gearman) = (site.http_port, site.job_server_port);
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("config/images");
    let (directory, images) = (paths::build(), images.display().to_string());
    let (addresses, floating) = support::ranges();
    site.configure(&format!(
        r#"[daemon]
roles = ["lbaas", "pool-manager"]
state_dir = "@ROOT@/state"
run_dir = "@ROOT@/run"

[http]
listen = ["127.0.0.1:{http}"]

[gearman]
servers = ["embedded"]
embedded_listen = "127.0.0.1:{gearman}"

[drivers]
directory = "{directory}"
trust_own_files = true

[known_drivers.mgm.local]
library = "libcapstan_mgm_local.so"
[known_drivers.mgm.local.config]
socket = "@ROOT@/run/capstan.sock"
token = {{ file = "@ROOT@/run/device.token" }}

[known_drivers.cloud.local]
library = "libcapstan_cloud_local.so"
[cloud_farm.default]
engine = "local"
[cloud_farm.default.extra_params]
directory = "@ROOT@/cloud"
images = "{images}"
addresses = "{addresses}"
floating = {{ addresses = "{floating}" }}
variables = {{ GEARMAN_SERVERS = '["127.0.0.1:{gearman}"]', TRUST_OWN_FILES = "true" }}

[pool]
driver = "local"
image = "lb-node"
size = "small"
nodes = 2
check_interval_seconds = 0.2
poll_interval_seconds = 0.1
health_interval_seconds = 0.2
health_limit = 2
diagnostics_timeout_seconds = 2
"#,
        directory = directory.display(),
    ));
    site
}

fn get(site: &Site, path: &str) -> Value {
    let answer = http::get(site.http_port, path, "").unwrap();
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

fn ready(site: &Site) -> Vec<Value> {
    get(site, "/pool/v1/nodes?state=ready")["nodes"].as_array().unwrap().clone()
}

#[test]
fn a_worker_that_hangs_is_given_another_chance_and_then_replaced() {
    let site = site();
    let daemon = site.start();
    let nodes = wait_for("two nodes in stock", LONG, || Some(ready(&site)).filter(|nodes| nodes.len() == 2));
    let row = |node: &Value| get(&site, &format!("/pool/v1/nodes/{}", node["id"].as_str().unwrap()))["node"].clone();
    let worker = |node: &Value| {
        let seen = get(&site, &format!("/clouds/v1/clouds/default/nodes/{}", node["node"].as_str().unwrap()));
        Node::of(&seen).program
    };
    let hung = worker(&nodes[0]);
    process::signal_to(hung, Signal::STOP);
    wait_for("a first failure", LONG, || (row(&nodes[0])["health_failures"] == 1).then_some(()));
    process::signal_to(hung, Signal::CONT);
    wait_for("its recovery", LONG, || (row(&nodes[0])["health_failures"] == 0).then_some(()));
    assert_eq!(row(&nodes[0])["state"], "ready", "one failure cost a node");

    process::signal_to(hung, Signal::STOP);
    let reason = wait_for("the node to be given up", LONG, || {
        let row = row(&nodes[0]);
        (row["state"] == "deleting").then(|| row["reason"].as_str().unwrap().to_owned())
    });
    assert!(reason.starts_with("not well 2 times in a row"), "{reason}");
    process::signal_to(hung, Signal::CONT);
    wait_for("another node in its place", LONG, || {
        let ready = ready(&site);
        (ready.len() == 2 && ready.iter().all(|node| node["id"] != nodes[0]["id"])).then_some(())
    });
    wait_for("the node to be gone", LONG, || (row(&nodes[0])["state"] == "deleted").then_some(()));
    assert!(!process::is_alive(hung));
    assert_eq!(row(&nodes[1])["state"], "ready");
    daemon.stop();
}
