//! Floating addresses: traffic goes to the node that has the address, and to no other.

use capstan_tests::{
    free_port,
    process::{self, is_alive},
    wait_for,
};
use serde_json::json;

use crate::support::{Cloud, LONG, Node, WEB, ask};

#[test]
fn an_address_goes_from_node_to_node_and_outlives_its_host() {
    let port = free_port();
    let cloud = Cloud::with(&format!("PORT = \"{port}\""), &[port], "");
    cloud.image("web", WEB, &format!("ready = {{ port = {port}, path = '/' }}"));
    let nodes: Vec<Node> = ["red", "blue"].map(|name| cloud.running(name, "web")).into();
    let ip = cloud.call("allocate_ip", &json!({}));
    let address = ip["address"].as_str().unwrap();
    assert_eq!((ip["pool"].as_str(), ip.get("node")), (Some("local"), None));
    assert_eq!(ask(address, port), None);
    let on = |node: &Node| json!({ "address": address, "node": node.id });

    cloud.call("assign_ip", &on(&nodes[0]));
    assert_eq!(ask(address, port).as_deref(), Some("red"), "once it is answered it is so");
    cloud.call("assign_ip", &on(&nodes[0]));
    cloud.refused("assign_ip", &on(&nodes[1]), "conflict");
    cloud.refused("remove_ip", &on(&nodes[1]), "conflict");
    cloud.refused("release_ip", &json!({ "address": address }), "conflict");
    assert_eq!(cloud.call("list_ips", &json!({}))["items"][0]["node"], json!(nodes[0].id));

    cloud.call("remove_ip", &on(&nodes[0]));
    assert_eq!(ask(address, port), None);
    cloud.call("assign_ip", &on(&nodes[1]));
    assert_eq!(ask(address, port).as_deref(), Some("blue"));

    // The node's restart is not the address's end, its destruction is.
    cloud.call("reboot_node", &json!({ "id": nodes[1].id }));
    wait_for("blue again", LONG, || (ask(address, port).as_deref() == Some("blue")).then_some(()));
    let forwarder = process::with_command_line(&format!("{address}.json"));
    assert_eq!(forwarder.len(), 1, "{forwarder:?}");
    cloud.destroy(&nodes[1].id);
    assert!(!is_alive(forwarder[0]) && ask(address, port).is_none());
    assert_eq!(cloud.call("list_ips", &json!({}))["items"][0].get("node"), None);

    // A port that is taken is said, and the address stays free.
    let taken = std::net::TcpListener::bind((address, port)).unwrap();
    cloud.refused("assign_ip", &on(&nodes[0]), "cannot be listened on");
    drop(taken);
    assert_eq!(cloud.call("list_ips", &json!({}))["items"][0].get("node"), None);
    cloud.call("assign_ip", &on(&nodes[0]));
    cloud.call("remove_ip", &on(&nodes[0]));
    cloud.call("release_ip", &json!({ "address": address }));
    cloud.refused("release_ip", &json!({ "address": address }), "not_found");
    cloud.destroy(&nodes[0].id);
}
