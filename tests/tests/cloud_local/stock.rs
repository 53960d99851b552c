//! A stock of real workers: the pool manager asks them how they are.

use capstan_tests::{
    daemon::Site,
    http,
    pool::{PoolSetup, local_cloud},
    process, wait_for,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{self, LONG, Node};

/// A daemon that keeps two nodes of the shipped image.
fn site() -> Site {
    let (addresses, floating) = support::ranges();
    let setup = PoolSetup {
        extra_params: &local_cloud(&addresses, &floating),
        pool: "nodes = 2
check_interval_seconds = 0.2
poll_interval_seconds = 0.1
health_interval_seconds = 0.2
health_limit = 2
diagnostics_timeout_seconds = 2",
        ..PoolSetup::LOCAL
    };
    setup.site()
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
