//! The database through its exported table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use std::sync::Arc;

use capstan_database_minimal as _;
use capstan_plugin_api::abi::DriverTable;
use serde_json::json;
use stand_in::{Driven, Services};

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

#[test]
fn servers_outlive_the_instance() {
    // SAFETY: the driver's attribute made it.
    let table = unsafe { &*capstan_driver_epoch_1() };
    let services = Arc::<Services>::default();
    let open = || Driven::open_with(table, b"{}", Arc::clone(&services)).unwrap();
    let server = json!({ "server": "s" });
    let driven = open();
    assert_eq!(driven.ok("status", &server)["state"], "absent");
    assert_eq!(driven.code("start", &server), "not_found");
    let wanted = json!({ "server": "s", "server_id": 1 });
    driven.ok("initialise", &wanted);
    assert_eq!(driven.ok("start", &server)["state"], "running");
    driven.ok("initialise", &wanted);
    drop(driven);
    let driven = open();
    assert_eq!(driven.ok("status", &server)["state"], "running", "initialising again changes nothing");
    driven.ok("stop", &server);
    assert_eq!(driven.ok("status", &server)["state"], "stopped");
    assert_eq!(driven.code("status", &json!({ "server": "../s" })), "invalid_argument");
}
