//! The cloud through its exported table, as a host sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

mod around;
mod faults;
mod file;
mod limits;

use capstan_cloud_dummy as _;
use capstan_plugin_api::{Manifest, abi::DriverTable};
use serde_json::{Value, json};
use stand_in::Driven;

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn table() -> &'static DriverTable {
    // SAFETY: the driver's attribute made it.
    unsafe { &*capstan_driver_epoch_1() }
}

fn open(config: Value) -> Driven {
    Driven::open(table(), &config).unwrap()
}

fn wanted(name: &str) -> Value {
    json!({ "name": name, "image": "image-1", "size": "size-1" })
}

fn count(cloud: &Driven) -> usize {
    cloud.ok("list_nodes", &json!({}))["items"].as_array().unwrap().len()
}

#[test]
fn nodes_come_and_go() {
    let (cloud, other) = (open(json!({})), open(json!({})));
    let image = &cloud.ok("list_images", &json!({}))["items"][1]["id"];
    let sizes = cloud.ok("list_sizes", &json!({ "limit": 2 }));
    assert_eq!(sizes["items"].as_array().unwrap().len(), 2);
    assert_eq!(cloud.ok("list_sizes", &json!({ "cursor": sizes["next"] }))["items"][0]["name"], "large");

    let wanted = json!({ "name": "n", "image": image, "size": "size-1", "client_token": "t", "tags": { "pool": "a" } });
    let node = cloud.ok("create_node", &wanted);
    assert_eq!(cloud.ok("create_node", &wanted), node, "the same token asks for the same node");
    assert_eq!(cloud.ok("get_node", &json!({ "id": node["id"] })), node);
    assert_eq!(cloud.ok("list_nodes", &json!({ "tags": { "pool": "a" } }))["items"], json!([node]));
    assert_eq!(other.ok("list_nodes", &json!({}))["items"], json!([]), "instances share nothing");
    cloud.ok("destroy_node", &json!({ "id": node["id"] }));
    assert_eq!(cloud.code("destroy_node", &json!({ "id": node["id"] })), "not_found");
    assert_eq!(cloud.code("get_node", &json!({ "id": node["id"] })), "not_found");

    // SAFETY: static bytes.
    let manifest: Manifest = serde_json::from_slice(unsafe { (table().describe)().as_slice() }).unwrap();
    assert_eq!(manifest.methods.len(), 35, "all that there are");
    assert_eq!(manifest.secrets, ["password"]);
    for method in &manifest.methods {
        let (_, answer) = cloud.invoke(method, &json!({ "id": "x", "name": "x", "image": "x", "size": "x" }));
        assert_ne!(answer["code"], "not_supported", "{method}");
    }
}

#[test]
fn a_farms_entry_sets_what_the_top_does() {
    for config in
        [json!({ "max_nodes": 1 }), json!({ "user": "u", "password": "p", "extra_params": { "max_nodes": 1 } })]
    {
        let cloud = open(config);
        cloud.ok("create_node", &wanted("a"));
        assert_eq!(cloud.code("create_node", &wanted("b")), "quota_exceeded");
    }
    let refused = Driven::open(table(), &json!({ "extra_params": { "page_size": 0 } })).err().unwrap();
    assert!(refused.1["message"].as_str().unwrap().contains("page_size"), "{}", refused.1);
}
