//! The driver through its exported table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use capstan_mgm_dummy as _;
use capstan_plugin_api::abi::DriverTable;
use serde_json::{Value, json};
use stand_in::Driven;

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn open(config: &Value) -> Result<Driven, (u32, Value)> {
    // SAFETY: the driver's attribute made it.
    Driven::open(unsafe { &*capstan_driver_epoch_1() }, config)
}

#[test]
fn p23_it_is_libras_dummy() {
    let driven = open(&json!({})).unwrap();
    assert_eq!(driven.ok("get_free_count", &json!({})), 5);
    let added = driven.ok("add_node", &json!({ "name": "n", "address": "10.0.0.1" }));
    assert_eq!(added, json!({ "accepted": true, "response": "test response" }));
    assert_eq!(driven.ok("get_free_count", &json!({})), 5, "whatever is added, five are free");
    assert_eq!(driven.ok("is_online", &json!({})), true);
    assert_eq!(driven.ok("get_url", &json!({})), "Dummy Connection");
    let logged = driven.services.logged.lock().unwrap();
    assert!(logged.iter().any(|(_, _, _, message, _)| message.contains("\"n\" at 10.0.0.1")), "{logged:?}");
}

#[test]
fn counts_and_faults_are_set() {
    let faults = json!({
        "add_node": { "answer": "refused", "times": 2 }, "get_free_count": { "answer": "unavailable", "times": 1 },
        "get_url": { "answer": "auth_failed" },
    });
    let driven = open(&json!({ "free": 0, "online": false, "faults": faults })).unwrap();
    assert_eq!(driven.ok("is_online", &json!({})), false);
    assert_eq!(driven.code("get_free_count", &json!({})), "unavailable");
    assert_eq!(driven.ok("get_free_count", &json!({})), 0);
    let node = json!({ "name": "n", "address": "10.0.0.1" });
    let accepted = [0, 1, 2].map(|_| driven.ok("add_node", &node)["accepted"] == true);
    assert_eq!(accepted, [false, false, true]);
    for _ in 0..3 {
        assert_eq!(driven.code("get_url", &json!({})), "auth_failed");
    }
}

#[test]
fn faults_of_the_configuration_name_their_key() {
    for (config, key) in [
        (json!({ "faults": { "add_nodes": { "answer": "timeout" } } }), "faults.add_nodes"),
        (json!({ "faults": { "is_online": { "answer": "refused" } } }), "faults.is_online.answer"),
        (json!({ "faults": { "add_node": { "answer": "burn" } } }), "burn"),
    ] {
        let (_, error) = open(&config).err().unwrap();
        assert!(error["message"].as_str().unwrap().contains(key), "{config}: {error}");
    }
}
