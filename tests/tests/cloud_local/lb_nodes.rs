//! The shipped image of a load-balancer node: real workers with real HAProxies beside each other on one machine.

use std::{fs, path::Path};

use capstan_tests::{daemon::update, free_port, gearman, gearmand::Gearmand, process, wait_for, web::WebServer};
use serde_json::{Value, json};

use crate::support::{self, Cloud, LONG, Node};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn pass(gearmand: &Gearmand, function: &str, message: &Value) -> Value {
    match gearman::submit(gearmand.port(), function, message.to_string().as_bytes()) {
        gearman::Outcome::Complete(reply) => {
            let reply: Value = serde_json::from_slice(&reply).unwrap();
            assert_eq!(reply["hpcs_response"], "PASS", "{reply}");
            reply
        }
        other => panic!("{message} got {other:?}"),
    }
}

#[test]
fn two_nodes_serve_on_the_same_port_and_leave_no_haproxy() {
    let gearmand = Gearmand::start();
    let port = free_port();
    let variables = format!("GEARMAN_SERVERS = '[\"{}\"]', TRUST_OWN_FILES = \"true\"", gearmand.address());
    let cloud = Cloud::with(&variables, &[port], "");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/images/lb-node");
    copy(&shipped, &cloud.images().join("lb-node"));

    let nodes: Vec<(&str, Node)> = ["lb-red", "lb-blue"].map(|name| (name, cloud.running(name, "lb-node"))).into();
    let webs: Vec<WebServer> = ["red", "blue"].map(WebServer::start).into();
    let ask = |address: &str| support::ask(address, port);
    for ((name, node), web) in nodes.iter().zip(&webs) {
        gearmand.wait_for_worker(name);
        let reply = pass(&gearmand, name, &json!({ "hpcs_action": "DIAGNOSTICS" }));
        assert_eq!((&reply["network"], &reply["gearman"][0]["status"]), (&json!("PASS"), &json!("PASS")), "{reply}");
        pass(&gearmand, name, &update(port, &[("1", web.port())]));
        assert_eq!(ask(&node.address).as_deref(), Some(web.name()));
    }
    assert_ne!(nodes[0].1.address, nodes[1].1.address);

    // A worker that crashes finds its HAProxy again, which served meanwhile.
    let (name, red) = &nodes[0];
    let haproxies = |node: &Node| process::with_command_line(&format!("{}/state/haproxy", node.folder.display()));
    let before = haproxies(red);
    assert!(!before.is_empty());
    process::signal_to(red.program, rustix::process::Signal::KILL);
    assert_eq!(ask(&red.address).as_deref(), Some("red"));
    wait_for("the next worker", LONG, || {
        let seen = cloud.get(&red.id);
        (seen["state"] == "running" && seen["extra"]["starts"] == 2).then_some(())
    });
    gearmand.wait_for_worker(name);
    pass(&gearmand, name, &json!({ "hpcs_action": "DIAGNOSTICS" }));
    assert_eq!(haproxies(red), before);

    for (_, node) in &nodes {
        let all = cloud.processes(&node.id);
        assert!(all.len() > 3, "supervisor, worker, HAProxy's master and its worker: {all:?}");
        cloud.destroy(&node.id);
        assert_eq!(ask(&node.address), None);
        for pid in all {
            assert!(!process::is_alive(pid), "process {pid} was left");
        }
    }
}
