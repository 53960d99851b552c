//! Nodes with networks of their own, where the suite may make any.

use std::{fs, path::Path, process::Command};

use capstan_tests::{free_port, process::signal_to, wait_for};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Cloud, LONG, Node, WEB, ask};

/// The machine's side of a node's network.
fn has_interface(id: &str) -> bool {
    Path::new("/sys/class/net").join(format!("cl-{id}")).exists()
}

#[test]
fn nodes_have_networks_of_their_own() {
    let port = free_port();
    let cloud = Cloud::with_namespaces(port);
    // Both take the port on every address that they have.
    let anywhere = WEB.replace("@ADDRESS@", "0.0.0.0");
    cloud.image("web", &anywhere, &format!("ready = {{ port = {port}, path = '/' }}\nrestart = {{ delay_ms = 10 }}"));
    if !rustix::process::geteuid().is_root() {
        // Said of the node, with what it takes.
        let id = cloud.create("red", "web")["id"].as_str().unwrap().to_owned();
        let fault = cloud.until(&id, "error")["fault"].as_str().unwrap().to_owned();
        assert!(fault.contains("that takes root"), "{fault}");
        return cloud.destroy(&id);
    }
    let nodes: Vec<Node> = ["red", "blue"].map(|name| cloud.running(name, "web")).into();
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(network(nodes[0].program), network(nodes[1].program));
    for (name, node) in ["red", "blue"].iter().zip(&nodes) {
        assert!(node.address.starts_with("10.") && has_interface(&node.id), "{node:?}");
        assert_eq!(ask(&node.address, port).as_deref(), Some(*name));
        assert_ne!(network(node.program), network(std::process::id()));
    }
    // The network is the node's and not its program's.
    signal_to(nodes[0].program, Signal::KILL);
    let again = wait_for("the next start", LONG, || {
        let seen = cloud.get(&nodes[0].id);
        (seen["state"] == "running" && seen["extra"]["starts"] == 2).then(|| Node::of(&seen))
    });
    assert_eq!(ask(&again.address, port).as_deref(), Some("red"));
    cloud.call("reboot_node", &json!({ "id": again.id }));
    cloud.until(&again.id, "running");
    assert_eq!(ask(&again.address, port).as_deref(), Some("red"));

    let ip = cloud.call("allocate_ip", &json!({}));
    cloud.call("assign_ip", &json!({ "address": ip["address"], "node": nodes[1].id }));
    assert_eq!(ask(ip["address"].as_str().unwrap(), port).as_deref(), Some("blue"));
    for (name, node) in ["red", "blue"].iter().zip(&nodes) {
        cloud.destroy(&node.id);
        wait_for("the interface to go", LONG, || (!has_interface(&node.id)).then_some(()));
        // Whatever this machine's network lets answer there now, it is not the node.
        assert_ne!(ask(&node.address, port).as_deref(), Some(*name));
    }
    // The machine's own address stays, by design; this one was the suite's.
    let machine = format!("{}.1/32", nodes[0].address.rsplit_once('.').unwrap().0);
    let removed = Command::new("/usr/sbin/ip").args(["address", "delete", &machine, "dev", "lo"]).status().unwrap();
    assert!(removed.success(), "{machine}");
}
