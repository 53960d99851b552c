//! The driver through its exported table, against a device API on a Unix socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../device-api/tests/admin_api/mod.rs"]
mod admin_api;
#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use std::{fs, thread};

use admin_api::{AdminApi, Fault, parts};
use capstan_mgm_local as _;
use capstan_plugin_api::abi::DriverTable;
use serde_json::{Value, json};
use stand_in::Driven;
use tempfile::TempDir;

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn of(config: &Value) -> Driven {
    // SAFETY: the driver's attribute made it.
    Driven::open(unsafe { &*capstan_driver_epoch_1() }, config).unwrap_or_else(|(_, error)| panic!("{config}: {error}"))
}

fn server() -> (TempDir, AdminApi, Driven) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capstan.sock");
    let server = AdminApi::unix(&path);
    server.demand("the-token");
    let driven = of(&json!({ "socket": path, "token": "the-token" }));
    (folder, server, driven)
}

fn node() -> Value {
    json!({ "name": "n", "address": "127.1.2.3", "floating_address": "127.9.9.9", "type": "basename: , image: i" })
}

#[test]
fn the_device_api_is_spoken_over_the_socket() {
    let (_folder, server, driven) = server();
    assert_eq!(driven.ok("is_online", &json!({})), true);
    assert_eq!(driven.ok("get_url", &json!({})), format!("unix:{}:/v1", server.server()));
    assert_eq!(driven.ok("add_node", &node())["accepted"], true);
    assert_eq!(driven.ok("get_free_count", &json!({})), 1);
    assert_eq!(driven.ok("usage", &json!({}))["total"], 1);
    assert_eq!(driven.ok("list_nodes", &json!({}))["devices"][0]["address"], "127.1.2.3");
    driven.ok("update_node", &json!({ "id": "1", "status": "ERROR", "description": "gone" }));
    assert_eq!(driven.ok("get_node", &json!({ "id": "1" }))["status"], "ERROR");
    driven.ok("delete_node", &json!({ "id": "1" }));
    assert_eq!(driven.code("delete_node", &json!({ "id": "1" })), "not_found");

    let agent = concat!("capstan-mgm-local/", env!("CARGO_PKG_VERSION"));
    let body =
        r#"{"name":"n","publicIpAddr":"127.1.2.3","floatingIpAddr":"127.9.9.9","az":0,"type":"basename: , image: i"}"#;
    let head = format!(
        "POST /v1/devices HTTP/1.1\r\nhost: localhost\r\nuser-agent: {agent}\r\naccept: application/json\r\nconnection: close\r\n"
    );
    let more = format!(
        "authorization: Bearer the-token\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    assert_eq!(parts(&server.requests()[1]), parts(&(head + &more + body)));
}

#[test]
fn a_daemon_that_is_not_there_is_unavailable() {
    let (folder, mut server, driven) = server();
    server.stop();
    fs::remove_file(server.server()).unwrap();
    assert_eq!(driven.ok("is_online", &json!({})), false);
    let (_, error) = driven.invoke("get_free_count", &json!({}));
    assert_eq!(error["code"], "unavailable", "{error}");
    let operator = error["operator_message"].as_str().unwrap();
    assert!(operator.contains("capstan.sock") && operator.contains("No such file"), "{operator}");
    let again = AdminApi::unix(&folder.path().join("capstan.sock"));
    again.demand("the-token");
    assert_eq!(driven.ok("get_free_count", &json!({})), 0, "it is found again by itself");
}

#[test]
fn faults_have_their_codes() {
    let (_folder, server, driven) = server();
    for (fault, code) in [
        (Fault::status(401, &json!({})), "auth_failed"),
        (Fault::status(429, &json!({})), "rate_limited"),
        (Fault::status(500, &json!({})), "unavailable"),
        (Fault::with(200, "Content-Type: text/html\r\n", "<p>"), "unavailable"),
        (Fault::Raw(Vec::new()), "unavailable"),
    ] {
        server.fail_next(fault.clone());
        assert_eq!(driven.code("get_free_count", &json!({})), code, "{fault:?}");
    }
    server.fail(Fault::Hang);
    let request = json!({ "deadline_ms": 300, "params": {} }).to_string();
    assert_eq!(driven.invoke_raw(b"get_free_count", request.as_bytes()).1["code"], "timeout");
    server.await_hang_up();
}

#[test]
fn a_cancelled_call_lets_go_of_the_daemon() {
    let (_folder, server, driven) = server();
    server.fail(Fault::Hang);
    let request = json!({ "deadline_ms": 600_000, "params": {} }).to_string();
    thread::scope(|scope| {
        let call = scope.spawn(|| driven.invoke_as(4711, b"get_free_count", request.as_bytes()));
        server.await_requests(1);
        driven.cancel(4711);
        assert_eq!(call.join().unwrap().1["code"], "cancelled");
        server.await_hang_up();
    });
}
