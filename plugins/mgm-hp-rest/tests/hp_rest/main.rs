//! The driver through its exported table, against an admin API on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../../device-api/tests/admin_api/mod.rs"]
mod admin_api;
mod faults;
mod requests;
mod servers;
#[path = "../../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;
mod tls;

use capstan_mgm_hp_rest as _;
use capstan_plugin_api::abi::{self, DriverTable};
use serde_json::{Value, json};

use admin_api::AdminApi;
use stand_in::Driven;

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn open(config: &Value) -> Driven {
    // SAFETY: the driver's attribute made it.
    Driven::open(unsafe { &*capstan_driver_epoch_1() }, config).unwrap_or_else(|(_, error)| panic!("{config}: {error}"))
}

/// A driver of these servers without TLS, and with these further keys.
fn of(servers: &[&AdminApi], more: &Value) -> Driven {
    let servers: Vec<String> = servers.iter().map(|server| server.server()).collect();
    let mut config = json!({ "servers": servers, "tls": false });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    open(&config)
}

/// The error of a call with a deadline.
fn failed(driven: &Driven, method: &str, params: &Value, deadline_ms: u64) -> Value {
    let request = json!({ "deadline_ms": deadline_ms, "params": params });
    let (status, body) = driven.invoke_raw(method.as_bytes(), request.to_string().as_bytes());
    assert_eq!(status, abi::STATUS_ERROR, "{method}: {body}");
    assert!(
        body["message"].as_str().is_some_and(|message| !message.is_empty() && !message.contains("127.0.0.1")),
        "{body}"
    );
    body
}

fn node(name: &str) -> Value {
    json!({ "name": name, "address": "15.1.2.3", "az": 2, "type": "basename: b, image: i" })
}
