//! Certificates.

use std::fs;

use capstan_plugin_api::abi::DriverTable;
use serde_json::json;

use super::{
    admin_api::{AdminApi, Authority},
    capstan_driver_epoch_1, failed, node, open,
    stand_in::Driven,
};

#[test]
fn a_server_is_trusted_by_its_authority_and_its_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let ours = file("ours.pem", format!("{}{}", other.pem(), authority.pem()));
    let theirs = file("theirs.pem", other.pem());
    let (right, wrong) = (AdminApi::tls(&authority, "127.0.0.1"), AdminApi::tls(&authority, "api.example.org"));

    let driven = open(&json!({ "servers": [right.server()], "ca_file": ours, "token": "the-token" }));
    assert_eq!(driven.ok("is_online", &json!({})), true);
    assert_eq!(driven.ok("add_node", &node("n"))["accepted"], true);
    assert_eq!(driven.ok("get_free_count", &json!({})), 1);
    assert_eq!(driven.ok("get_url", &json!({})), format!("https://{}/v1", right.server()));

    for (server, config) in [
        (&right, json!({ "servers": [right.server()], "ca_file": theirs, "token": "the-token" })),
        (&right, json!({ "servers": [right.server()], "token": "the-token" })),
        (&wrong, json!({ "servers": [wrong.server()], "ca_file": ours, "token": "the-token" })),
    ] {
        let before = server.requests().len();
        let driven = open(&config);
        let error = failed(&driven, "get_free_count", &json!({}), 10_000);
        assert_eq!((error["code"].as_str(), error["retry"].as_str()), (Some("unavailable"), Some("never")), "{error}");
        let operator = error["operator_message"].as_str().unwrap();
        assert!(operator.contains("certificate") && operator.contains("`ca_file`"), "{operator}");
        assert_eq!(server.requests().len(), before, "no request, and so no token, went to it");
    }

    let unverified = open(&json!({ "servers": [wrong.server()], "verify": false }));
    assert_eq!(unverified.ok("get_free_count", &json!({})), 0);
    assert!(format!("{:?}", unverified.services.logged.lock().unwrap()).contains("verify = false"));
}

#[test]
fn a_server_without_tls_is_not_spoken_to_in_clear() {
    let server = AdminApi::plain();
    let driven = open(&json!({ "servers": [server.server()], "token": "the-token", "timeout_seconds": 1 }));
    // It waits for the end of a request's head, and the client for the server's hello: the request's own time ends it.
    let error = failed(&driven, "get_free_count", &json!({}), 60_000);
    assert!(["timeout", "unavailable"].contains(&error["code"].as_str().unwrap()), "{error}");
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn a_bad_file_of_authorities_is_told_at_once() {
    // SAFETY: the driver's attribute made it.
    let table: &DriverTable = unsafe { &*capstan_driver_epoch_1() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n"] {
        fs::write(&path, text).unwrap();
        let (_, error) = Driven::open(table, &json!({ "ca_file": path })).err().unwrap();
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("ca_file: ") && message.contains("ca.pem"), "{text:?}: {error}");
    }
}
