//! What a node needs around it.

use super::*;

#[test]
fn a_floating_address_moves_between_nodes() {
    let cloud = open(json!({ "quotas": { "floating_ips": 2 } }));
    let node = cloud.ok("create_node", &wanted("a"))["id"].clone();
    let other = cloud.ok("create_node", &wanted("b"))["id"].clone();
    let ip = cloud.ok("allocate_ip", &json!({}));
    let address = &ip["address"];
    cloud.ok("allocate_ip", &json!({ "pool": "public" }));
    assert_eq!(cloud.code("allocate_ip", &json!({})), "quota_exceeded");
    assert_eq!(cloud.code("allocate_ip", &json!({ "pool": "none" })), "not_found");
    let on = |node: &Value| json!({ "address": address, "node": node });
    cloud.ok("assign_ip", &on(&node));
    cloud.ok("assign_ip", &on(&node));
    assert_eq!(cloud.code("assign_ip", &on(&other)), "conflict");
    assert_eq!(cloud.code("remove_ip", &on(&other)), "conflict");
    assert_eq!(cloud.code("release_ip", &json!({ "address": address })), "conflict");
    assert_eq!(cloud.ok("get_node", &json!({ "id": node }))["public_ips"], json!([address]));
    assert_eq!(cloud.ok("list_ips", &json!({}))["items"][0]["node"], node);
    cloud.ok("destroy_node", &json!({ "id": node }));
    assert_eq!(cloud.ok("list_ips", &json!({}))["items"][0]["node"], Value::Null);
    cloud.ok("assign_ip", &on(&other));
    cloud.ok("remove_ip", &on(&other));
    cloud.ok("release_ip", &json!({ "address": address }));
    for gone in [address.clone(), json!("192.0.2.1"), json!("2001:db8::1")] {
        assert_eq!(cloud.code("release_ip", &json!({ "address": gone })), "not_found");
    }
}

#[test]
fn volumes_are_attached_to_one_node_and_outlive_it() {
    let cloud = open(json!({ "quotas": { "volume_gib": 100 } }));
    let node = cloud.ok("create_node", &wanted("a"))["id"].clone();
    let volume = cloud.ok("create_volume", &json!({ "name": "v", "size_gib": 60 }));
    assert_eq!(cloud.code("create_volume", &json!({ "name": "w", "size_gib": 41 })), "quota_exceeded");
    assert_eq!(cloud.code("create_volume", &json!({ "name": "w", "size_gib": 0 })), "invalid_argument");
    let attach = json!({ "id": volume["id"], "node": node });
    let attached = cloud.ok("attach_volume", &attach);
    assert_eq!(
        (&attached["state"], &attached["node"], &attached["device"]),
        (&json!("in_use"), &node, &json!("/dev/vdb"))
    );
    for (method, params) in [("attach_volume", &attach), ("delete_volume", &json!({ "id": volume["id"] }))] {
        assert_eq!(cloud.code(method, params), "conflict");
    }
    let snapshot = cloud.ok("create_snapshot", &json!({ "name": "s", "volume": volume["id"] }));
    let smaller = json!({ "name": "w", "size_gib": 10, "snapshot": snapshot["id"] });
    assert_eq!(cloud.code("create_volume", &smaller), "invalid_argument");
    cloud.ok("destroy_node", &json!({ "id": node }));
    assert_eq!(cloud.ok("list_volumes", &json!({ "name": "v" }))["items"][0], volume);
    assert_eq!(cloud.code("detach_volume", &json!({ "id": volume["id"] })), "conflict");
    cloud.ok("delete_volume", &json!({ "id": volume["id"] }));
    assert_eq!(cloud.ok("list_snapshots", &json!({}))["items"], json!([snapshot]));
    cloud.ok("delete_snapshot", &json!({ "id": snapshot["id"] }));
    assert_eq!(cloud.code("delete_snapshot", &json!({ "id": snapshot["id"] })), "not_found");
}

#[test]
fn key_pairs_and_groups_are_known_to_nodes() {
    let cloud = open(json!({}));
    let made = cloud.ok("create_key_pair", &json!({ "name": "k" }));
    assert!(made["private_key"].as_str().unwrap().contains("DUMMY"), "{made}");
    assert_eq!(cloud.ok("list_key_pairs", &json!({}))["items"][0]["private_key"], Value::Null, "shown once");
    let imported = cloud.ok("create_key_pair", &json!({ "name": "i", "public_key": "ssh-ed25519 AAAA me" }));
    assert_eq!((&imported["public_key"], &imported["private_key"]), (&json!("ssh-ed25519 AAAA me"), &Value::Null));
    assert_eq!(cloud.code("create_key_pair", &json!({ "name": "k" })), "already_exists");
    let rules = json!([{ "protocol": "tcp", "from_port": 80, "to_port": 80, "cidrs": ["0.0.0.0/0"] }]);
    let group = cloud.ok("create_security_group", &json!({ "name": "web", "rules": rules }));
    assert_eq!(cloud.code("create_security_group", &json!({ "name": "default" })), "already_exists");
    let mut request = wanted("a");
    request["key_pair"] = json!("k");
    request["security_groups"] = json!(["web"]);
    request["networks"] = json!(["network-1"]);
    request["user_data"] = json!("s3cr3t-token");
    let node = cloud.ok("create_node", &request);
    assert_eq!(node["extra"], json!({ "key_pair": "k", "security_groups": ["web"], "networks": ["network-1"] }));
    assert_eq!(cloud.code("delete_security_group", &json!({ "id": group["id"] })), "conflict");
    let console = cloud.ok("console_output", &json!({ "id": node["id"] }))["output"].clone();
    let console = console.as_str().unwrap();
    assert!(
        console.contains("12 bytes of user data") && console.contains("10.0.0.1") && console.ends_with("a login: ")
    );
    assert!(!console.contains("s3cr3t"));
    cloud.ok("destroy_node", &json!({ "id": node["id"] }));
    cloud.ok("delete_security_group", &json!({ "id": group["id"] }));
    cloud.ok("delete_key_pair", &json!({ "id": "k" }));
    assert_eq!(cloud.code("delete_key_pair", &json!({ "id": "k" })), "not_found");
    assert_eq!(cloud.ok("list_networks", &json!({}))["items"][0]["id"], "network-1");
    assert_eq!(cloud.ok("list_locations", &json!({ "name": "zone-2" }))["items"][0]["id"], "zone-2");
    assert_eq!(cloud.ok("quotas", &json!({}))["quotas"][8], json!({ "name": "security_groups", "used": 1 }));
}
