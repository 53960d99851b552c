//! ARCHIVE, and the hiding of tokens.

use capstan_plugin_api::DriverError;
use serde_json::{Value, json};

use super::bench::*;

fn message() -> Value {
    json!({ "hpcs_action": "ARCHIVE", "hpcs_object_store_type": "Swift", "hpcs_object_store_basepath": "lbaaslogs",
        "hpcs_object_store_endpoint": "https://store.example.org/v1/AUTH_7", "hpcs_object_store_token": "s3cr3t-token",
        "loadBalancers": [{ "id": "15", "name": "a", "protocol": "http" }, { "id": 9, "protocol": "tcp" }] })
}

#[tokio::test]
async fn w15_archive_passes_and_hides_the_token() {
    let bench = Bench::new();
    let reply = bench.ask(&message()).await;
    passes(&reply);
    assert_eq!(reply["hpcs_object_store_token"], "*****");
    let Recorded::Archive(request) = bench.fake.calls().remove(0) else { panic!("archive is called") };
    assert_eq!((request.device.as_str(), request.method.as_str()), ("node-7", "swift"));
    assert_eq!((request.protocol.as_str(), request.load_balancer.as_str()), ("HTTP", "15"));
    assert_eq!(request.basepath, "lbaaslogs");
    assert_eq!(request.endpoint, "https://store.example.org/v1/AUTH_7");
    assert_eq!(request.token.expose(), "s3cr3t-token");
}

#[tokio::test]
async fn w16_archive_to_an_unknown_store() {
    let mut bad = message();
    bad["hpcs_object_store_type"] = json!("bad");
    is_bad_request(&Bench::new().ask(&bad).await, "'bad' is not a valid store type");
    let none = remove(message(), "/hpcs_object_store_type");
    is_bad_request(&Bench::new().ask(&none).await, "Missing 'hpcs_object_store_type' element");
}

#[tokio::test]
async fn w17_archive_with_a_field_missing() {
    let names =
        ["hpcs_object_store_basepath", "hpcs_object_store_endpoint", "hpcs_object_store_token", "loadBalancers"];
    for name in names {
        let reply = Bench::new().ask(&remove(message(), &format!("/{name}"))).await;
        is_bad_request(&reply, &format!("Missing '{name}' element"));
    }
    // All of them missing: told in that order.
    let mut rest = message();
    for name in names {
        rest = remove(rest, &format!("/{name}"));
    }
    for name in names {
        is_bad_request(&Bench::new().ask(&rest).await, &format!("Missing '{name}' element"));
        rest[name] = message()[name].clone();
    }
}

#[tokio::test]
async fn a_driver_s_failure_is_told_without_the_token() {
    let bench = Bench::new();
    *bench.fake.archived.lock().unwrap() =
        Some(Err(DriverError::unavailable("Failure during Swift operations: PUT X-Auth-Token: s3cr3t-token")));
    let reply = bench.ask(&message()).await;
    fails(&reply, "Failure during Swift operations: PUT X-Auth-Token: *****");
    *bench.fake.archived.lock().unwrap() = Some(Err(DriverError::not_supported("archive")));
    fails(&bench.ask(&message()).await, "Selected driver does not support ARCHIVE action.");
}

#[tokio::test]
async fn a_token_that_is_no_text_is_hidden_and_refused() {
    for token in
        [json!(12345), json!(["a-secret"]), json!({ "x": "a-secret" }), json!(true), json!(""), json!("a\nb: c")]
    {
        let mut bad = message();
        bad["hpcs_object_store_token"] = token;
        let bench = Bench::new();
        let reply = bench.ask(&bad).await;
        fails(&reply, "'hpcs_object_store_token' is not a string of printable ASCII characters");
        assert_eq!(reply["hpcs_object_store_token"], "*****");
        assert!(!reply.to_string().contains("12345") && !reply.to_string().contains("a-secret"), "{reply}");
        assert!(bench.fake.names().is_empty());
    }
}

#[tokio::test]
async fn the_token_is_hidden_in_every_reply() {
    for action in ["SUSPEND", "BOGUS", "STATS", "UPDATE"] {
        let mut other = message();
        other["hpcs_action"] = json!(action);
        let reply = Bench::new().ask(&other).await;
        assert!(!reply.to_string().contains("s3cr3t"), "{reply}");
    }
}

#[tokio::test]
async fn values_that_could_leave_their_place_are_refused() {
    for (pointer, value) in [
        ("/loadBalancers/0/id", json!("../15")),
        ("/loadBalancers/0/id", json!("..")),
        ("/loadBalancers/0/id", json!("1\n2")),
        ("/loadBalancers/0/id", json!(null)),
        ("/loadBalancers/0/protocol", json!("http\n")),
        ("/loadBalancers/0/protocol", json!(7)),
        ("/loadBalancers/0", json!("15")),
        ("/loadBalancers", json!([])),
        ("/loadBalancers", json!("15")),
        ("/hpcs_object_store_basepath", json!("a/../b")),
        ("/hpcs_object_store_basepath", json!("")),
        ("/hpcs_object_store_endpoint", json!("https://a\r\nX: y")),
        ("/hpcs_object_store_endpoint", json!(1)),
    ] {
        let mut bad = message();
        *bad.pointer_mut(pointer).unwrap() = value.clone();
        let bench = Bench::new();
        let reply = bench.ask(&bad).await;
        assert_eq!(reply["hpcs_response"], "FAIL", "{pointer} {value}: {reply}");
        assert!(reply["hpcs_error"].is_string() && bench.fake.names().is_empty(), "{pointer} {value}: {reply}");
    }
}
