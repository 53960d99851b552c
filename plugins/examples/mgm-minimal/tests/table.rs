//! The API server through its exported table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use capstan_mgm_minimal as _;
use capstan_plugin_api::abi::DriverTable;
use serde_json::json;
use stand_in::Driven;

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

#[test]
fn devices_are_counted() {
    // SAFETY: the driver's attribute made it.
    let table = unsafe { &*capstan_driver_epoch_1() };
    assert!(Driven::open(table, &json!({})).is_err(), "it needs a URL");
    let driven = Driven::open(table, &json!({ "url": "http://api" })).unwrap();
    let device = json!({ "name": "n", "address": "10.0.0.1" });
    assert_eq!(driven.ok("add_node", &device), json!({ "accepted": true }));
    assert_eq!(driven.code("add_node", &device), "already_exists");
    assert_eq!(driven.ok("get_free_count", &json!(null)), json!(1));
    assert_eq!(driven.ok("is_online", &json!(null)), json!(true));
    assert_eq!(driven.ok("get_url", &json!(null)), json!("http://api"));
}
