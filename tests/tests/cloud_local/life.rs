//! A node from its creation to its end.

use std::{fs, os::unix::fs::PermissionsExt};

use capstan_tests::{process, wait_for};
use serde_json::json;

use crate::support::{Cloud, LONG, Node};

/// Starts something in a session and an environment of its own, as a worker has HAProxy started.
const FLEEING: &str = "echo begun as $0; env -i setsid tail -F @DIR@/fled & exec tail -F @DIR@/stays";

#[test]
fn a_node_has_its_address_folder_and_files_and_leaves_nothing() {
    let cloud = Cloud::with("GREETING = \"hello\"", &[8080], "");
    cloud.image("plain", FLEEING, "files = [{ from = 'etc', template = true }]\nfolders = ['a/b']\nname = 'Plain'");
    let etc = cloud.images().join("plain/etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("conf"), "@NAME@ @ADDRESS@ @GREETING@ @ID@ @DIR@ a@b\n").unwrap();
    fs::write(etc.join("secret"), "@USER_DATA@").unwrap();
    fs::create_dir(cloud.images().join("no-image")).unwrap();
    fs::create_dir(cloud.images().join("broken")).unwrap();
    fs::write(cloud.images().join("broken/image.toml"), "command = 1").unwrap();

    let images = cloud.call("list_images", &json!({}));
    assert_eq!(images["items"], json!([{ "id": "plain", "name": "Plain" }]));
    let sizes = cloud.call("list_sizes", &json!({}));
    assert_eq!(sizes["items"][0]["id"], "small");
    cloud.refused("create_node", &json!({ "name": "n", "image": "broken", "size": "small" }), "broken/image.toml");

    let wanted = json!({
        "name": "node-1", "image": "plain", "size": "small", "client_token": "t-1",
        "tags": { "pool": "a" }, "user_data": "@NAME@\"; token=1",
    });
    let made = cloud.call("create_node", &wanted);
    let id = made["id"].as_str().unwrap();
    assert_eq!(cloud.call("create_node", &wanted)["id"], *id, "the same token asks for the same node");
    let node = Node::of(&cloud.until(id, "running"));
    assert_eq!(cloud.nodes().len(), 1);
    assert_eq!(cloud.call("list_nodes", &json!({ "tags": { "pool": "a" } }))["items"][0]["id"], *id);
    assert_eq!(cloud.call("list_nodes", &json!({ "name": "node-2" }))["items"], json!([]));
    cloud.call("set_tags", &json!({ "id": id, "set": { "b": "2" }, "remove": ["pool"] }));
    assert_eq!(cloud.get(id)["tags"], json!({ "b": "2" }));

    let conf = fs::read_to_string(node.folder.join("etc/conf")).unwrap();
    assert_eq!(conf, format!("node-1 {} hello {id} {} a@b\n", node.address, node.folder.display()));
    let secret = node.folder.join("etc/secret");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "@NAME@\"; token=1", "user data is not read for words again");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o077, 0);
    assert!(node.folder.join("a/b").is_dir());
    wait_for("three processes", LONG, || (cloud.processes(id).len() == 3).then_some(()));
    assert!(cloud.console(id).contains(&format!("begun as {}/main", node.folder.display())), "{}", cloud.console(id));

    let before = cloud.processes(id);
    cloud.destroy(id);
    for pid in before {
        assert!(!process::is_alive(pid), "process {pid} of the node was left");
    }
    assert!(cloud.nodes().is_empty() && !node.folder.exists());
    cloud.refused("destroy_node", &json!({ "id": id }), "not_found");
    for method in ["get_node", "start_node", "stop_node", "reboot_node", "console_output"] {
        cloud.refused(method, &json!({ "id": "../../nodes" }), "not_found");
    }
}

#[test]
fn nodes_are_stopped_started_and_restarted() {
    let cloud = Cloud::new();
    cloud.image("plain", FLEEING, "");
    let first = cloud.running("n", "plain");
    let id = json!({ "id": first.id });
    cloud.refused("start_node", &id, "conflict");
    cloud.call("stop_node", &id);
    assert_eq!(cloud.get(&first.id)["state"], "stopped");
    assert_eq!(cloud.processes(&first.id), Vec::<u32>::new());
    cloud.refused("reboot_node", &id, "conflict");
    cloud.call("start_node", &id);
    let second = Node::of(&cloud.until(&first.id, "running"));
    assert!(second.address == first.address && second.program != first.program, "{first:?} {second:?}");
    for hard in [false, true] {
        let before = Node::of(&cloud.get(&first.id));
        cloud.call("reboot_node", &json!({ "id": first.id, "hard": hard }));
        let after = Node::of(&cloud.until(&first.id, "running"));
        assert!(after.supervisor != before.supervisor && !process::is_alive(before.program), "{before:?} {after:?}");
    }
    cloud.destroy(&first.id);
}

#[test]
fn a_node_is_pending_until_it_is_ready() {
    let cloud = Cloud::new();
    cloud.image("slow", "exec tail -F @DIR@/x", "ready = { file = '@DIR@/ready' }");
    cloud.image("never", "echo last words; exec tail -F @DIR@/x", "ready = { port = 9, timeout_seconds = 1 }");
    let slow = cloud.create("slow", "slow");
    let id = slow["id"].as_str().unwrap();
    assert_eq!(cloud.get(id)["state"], "pending");
    fs::write(cloud.site.path().join("cloud/nodes").join(id).join("disk/ready"), "").unwrap();
    cloud.until(id, "running");

    let never = cloud.create("never", "never");
    let id = never["id"].as_str().unwrap();
    let node = cloud.until(id, "error");
    let fault = node["fault"].as_str().unwrap();
    assert!(fault.contains(":9 takes no connection") && fault.contains("last words"), "{fault}");
    assert_eq!(cloud.processes(id), Vec::<u32>::new());
    for node in cloud.nodes() {
        cloud.destroy(node["id"].as_str().unwrap());
    }
}

#[test]
fn what_cannot_be_is_refused_and_nothing_stays() {
    let cloud = Cloud::new();
    cloud.image("plain", "exec tail -F @DIR@/x", "");
    cloud.image("odd", "exec tail -F @NOWHERE@", "");
    for (params, words) in [
        (json!({ "name": "a b", "image": "plain", "size": "small" }), "invalid_argument"),
        (json!({ "name": "", "image": "plain", "size": "small" }), "invalid_argument"),
        (json!({ "name": "n", "image": "none", "size": "small" }), "no image \"none\""),
        (json!({ "name": "n", "image": "../images/plain", "size": "small" }), "no image"),
        (json!({ "name": "n", "image": "plain", "size": "huge" }), "no size \"huge\""),
        (json!({ "name": "n", "image": "plain", "size": "small", "location": "mars" }), "one location"),
        (json!({ "name": "n", "image": "plain", "size": "small", "key_pair": "k" }), "no key pairs"),
    ] {
        cloud.refused("create_node", &params, words);
    }
    assert!(cloud.nodes().is_empty());
    // What is wrong with one node is said of it.
    let node = cloud.create("odd", "odd");
    assert_eq!(node["state"], "error");
    assert!(node["fault"].as_str().unwrap().contains("@NOWHERE@ stands for nothing"), "{node}");
    cloud.destroy(node["id"].as_str().unwrap());
    let token = json!({ "name": "one", "image": "plain", "size": "small", "client_token": "t" });
    let id = cloud.call("create_node", &token)["id"].as_str().unwrap().to_owned();
    let other = json!({ "name": "two", "image": "plain", "size": "small", "client_token": "t" });
    cloud.refused("create_node", &other, "a token belongs to one request");
    cloud.destroy(&id);
}
