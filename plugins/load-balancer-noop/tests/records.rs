//! The eight calls as they reach the driver, through its exported table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use std::sync::Arc;

use capstan_load_balancer_noop as _;
use capstan_plugin_api::abi::{DriverTable, STATUS_ERROR};
use serde_json::{Value, json};
use stand_in::{Driven, Services};

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn table() -> &'static DriverTable {
    // SAFETY: the driver's attribute made it.
    unsafe { &*capstan_driver_epoch_1() }
}

fn device() -> Value {
    let member = json!({ "id": "m", "address": "10.0.0.1", "port": 8080, "weight": 3 });
    json!({ "device": "d", "generation": 1, "idempotency_key": "k", "load_balancers": [{
        "id": "a",
        "listeners": [{ "id": "l", "protocol": "HTTP", "port": 80 }],
        "pools": [{ "id": "p", "algorithm": "ROUND_ROBIN", "members": [member] }],
    }] })
}

#[test]
fn calls_are_counted_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("calls.jsonl");
    let services = Arc::<Services>::default();
    let config = json!({ "record": record }).to_string();
    let driven = Driven::open_with(table(), config.as_bytes(), Arc::clone(&services)).unwrap();
    driven.ok("apply", &device());
    driven.ok("suspend", &json!({ "device": "d", "generation": 1 }));
    drop(driven);

    let text = std::fs::read_to_string(&record).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|line| line["call"].as_str().unwrap()).collect();
    assert_eq!(names, ["init", "set_protocol", "set_algorithm", "add_server", "create", "suspend"]);
    let server =
        json!({ "protocol": "http", "id": "m", "host": "10.0.0.1", "port": 8080, "weight": 3, "backup": false });
    assert_eq!(lines[3]["arguments"], server);

    let counted: Vec<_> = services.called.lock().unwrap().drain(..).collect();
    assert_eq!(counted.len(), names.len());
    assert_eq!(counted[3], ("metric".into(), json!({ "name": "add_server", "value": 1.0 })));
}

#[test]
fn what_it_lacks_is_not_supported() {
    let driven = Driven::open(table(), &json!({ "lacks": ["init", "suspend"] })).unwrap();
    driven.ok("apply", &device());
    assert_eq!(driven.code("suspend", &json!({ "device": "d", "generation": 1 })), "not_supported");
    driven.ok("enable", &json!({ "device": "d", "generation": 1 }));
}

#[test]
fn a_record_that_cannot_be_written_stops_open() {
    let (status, error) = Driven::open(table(), &json!({ "record": "/no/such/folder/calls" })).err().unwrap();
    assert_eq!((status, &error["code"]), (STATUS_ERROR, &json!("invalid_argument")));
    assert!(error["operator_message"].as_str().unwrap().contains("/no/such/folder/calls"), "{error}");
    assert!(Driven::open(table(), &json!({})).is_ok());
}
