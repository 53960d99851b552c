//! What is sent, to the byte, and what is made of libra's answers.

use serde_json::{Value, json};

use super::{
    admin_api::{AdminApi, parts},
    failed, node, of,
};

fn head(first: &str, server: &AdminApi, more: &str) -> String {
    let agent = concat!("capstan-mgm-hp-rest/", env!("CARGO_PKG_VERSION"));
    let server = server.server();
    format!(
        "{first} HTTP/1.1\r\nhost: {server}\r\nuser-agent: {agent}\r\naccept: application/json\r\nconnection: close\r\n{more}\r\n"
    )
}

#[test]
fn p26_the_body_has_exactly_the_keys_of_its_generation() {
    for (more, body) in [
        (json!({ "body": "seed" }), r#"{"name":"n","address":"15.1.2.3"}"#),
        (
            json!({ "body": "final" }),
            r#"{"name":"n","publicIpAddr":"15.1.2.3","floatingIpAddr":"15.1.2.3","az":2,"type":"basename: b, image: i"}"#,
        ),
        (
            json!({}),
            r#"{"name":"n","publicIpAddr":"15.1.2.3","floatingIpAddr":"15.1.2.3","az":2,"type":"basename: b, image: i"}"#,
        ),
    ] {
        let server = AdminApi::plain();
        let added = of(&[&server], &more).ok("add_node", &node("n"));
        assert_eq!((&added["accepted"], &added["response"]["id"]), (&json!(true), &json!(1)));
        let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        assert_eq!(parts(&requests[0]), parts(&(head("POST /v1/devices", &server, &headers) + body)));
    }
}

#[test]
fn every_other_request_is_libras() {
    let server = AdminApi::plain();
    server.demand("correct-horse");
    let driven = of(&[&server], &json!({ "token": "correct-horse", "base_path": "v1.2" }));
    driven.ok("add_node", &node("n"));
    assert_eq!(driven.ok("is_online", &json!({})), true);
    assert_eq!(driven.ok("get_free_count", &json!({})), 1);
    assert_eq!(driven.ok("usage", &json!({})), json!({ "total": 1, "free": 1, "taken": 0 }));
    let device = &driven.ok("list_nodes", &json!({}))["devices"][0];
    assert_eq!((&device["id"], &device["name"], &device["address"]), (&json!("1"), &json!("n"), &json!("15.1.2.3")));
    assert_eq!((&device["extra"]["az"], &device["status"]), (&json!(2), &json!("OFFLINE")));
    assert_eq!(driven.ok("list_nodes", &json!({ "limit": 7 })), json!({ "devices": [device] }));
    // Where the next page begins is told by how many are before it, which is libra's marker.
    assert_eq!(driven.ok("list_nodes", &json!({ "limit": 1 })), json!({ "devices": [device], "next": "1" }));
    assert_eq!(driven.ok("list_nodes", &json!({ "marker": "7", "limit": 1 })), json!({ "devices": [] }));
    assert_eq!(driven.code("list_nodes", &json!({ "marker": "1 &" })), "invalid_argument");
    assert_eq!(driven.ok("get_node", &json!({ "id": "1" })), *device);
    driven.ok("update_node", &json!({ "id": "1", "status": "ERROR", "description": "it \"burns\"" }));
    assert_eq!(server.devices()[0]["status"], "ERROR");
    driven.ok("delete_node", &json!({ "id": "1" }));
    assert_eq!(server.devices(), Vec::<Value>::new());

    let token = "authorization: Bearer correct-horse\r\n";
    let body = r#"{"status":"ERROR","statusDescription":"it \"burns\""}"#;
    let body_headers = format!("{token}content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let expected = [
        head("GET /v1.2/devices/usage", &server, token),
        head("GET /v1.2/devices/usage", &server, token),
        head("GET /v1.2/devices/usage", &server, token),
        head("GET /v1.2/devices", &server, token),
        head("GET /v1.2/devices?limit=7", &server, token),
        head("GET /v1.2/devices?limit=1", &server, token),
        head("GET /v1.2/devices?marker=7&limit=1", &server, token),
        head("GET /v1.2/devices/1", &server, token),
        head("PUT /v1.2/devices/1", &server, &body_headers) + body,
        head("DELETE /v1.2/devices/1", &server, token),
    ];
    let requests = server.requests();
    assert_eq!(requests.len(), 1 + expected.len(), "{requests:#?}");
    for (request, expected) in requests.iter().skip(1).zip(&expected) {
        assert_eq!(parts(request), parts(expected));
    }
}

#[test]
fn libras_refusals_have_their_codes() {
    let server = AdminApi::plain();
    let driven = of(&[&server], &json!({}));
    let gone = json!({ "id": "7", "status": "ONLINE", "description": "" });
    for method in ["get_node", "update_node", "delete_node"] {
        assert_eq!(driven.code(method, &gone), "not_found", "{method}");
    }
    server.put_device(json!({ "id": 7, "name": "n", "status": "ONLINE", "loadBalancers": [{ "id": 1 }] }));
    assert_eq!(driven.code("delete_node", &gone), "conflict");
    let refused = driven.ok("add_node", &node("refused"));
    assert_eq!(
        (&refused["accepted"], &refused["response"]["details"]),
        (&json!(false), &json!("Device already exists"))
    );
    assert_eq!(driven.code("failed_nodes", &json!({})), "not_supported");
}

#[test]
fn ids_that_lead_elsewhere_are_never_sent() {
    let server = AdminApi::plain();
    let driven = of(&[&server], &json!({}));
    for id in ["", ".", "..", "../admin", "1/2", "1?x", "usage", "1\r\nx: y", "ä", "%2e"] {
        assert_eq!(driven.code("delete_node", &json!({ "id": id })), "invalid_argument", "{id:?}");
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn a_wrong_token_is_told_and_not_shown() {
    let server = AdminApi::plain();
    server.demand("the-right-token");
    let driven = of(&[&server], &json!({ "token": "the-wrong-token" }));
    for (method, params) in
        [("get_free_count", json!({})), ("add_node", node("n")), ("delete_node", json!({ "id": "1" }))]
    {
        let error = failed(&driven, method, &params, 10_000);
        assert_eq!(error["code"], "auth_failed", "{error}");
        assert!(error["operator_message"].as_str().unwrap().contains("`token`"), "{error}");
        assert!(!error.to_string().contains("the-wrong-token"), "{error}");
    }
    assert_eq!(driven.ok("is_online", &json!({})), false);
    let logged = format!("{:?}", driven.services.logged.lock().unwrap());
    assert!(logged.contains("refused the credentials") && !logged.contains("the-wrong-token"), "{logged}");
}
