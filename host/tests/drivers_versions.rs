//! A driver older than this host, and one newer: each works, and what only one side knows does no harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod drivers_support;

use std::{path::Path, time::Duration};

use capstan::drivers::{CallOptions, DriverEntry, DriverHandle, DriverState, Isolation, Kind, Registry};
use capstan_plugin_api::{
    DriverError, ErrorCode, Retry, SerialBy,
    cloud::{Node, Page},
    load_balancer::{Applied, LoadBalancerState, Observed},
    manifest::TARGET,
};
use drivers_support::{ISOLATIONS, build, entry, folder, manifest, open};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Loads one driver in every isolation, and hands each to the test.
async fn in_each(folder: &Path, library: &Path) -> (Registry, Vec<DriverHandle>) {
    let names = ISOLATIONS.map(Isolation::as_str);
    let entries = ISOLATIONS.map(|isolation| DriverEntry { isolation, ..entry(isolation.as_str(), library) });
    let registry = open(folder, entries.to_vec()).await;
    assert_eq!(registry.failures(), []);
    let handles = names.iter().map(|name| registry.handle(Kind::Cloud, name).unwrap()).collect();
    for name in names {
        assert_eq!(registry.info(Kind::Cloud, name).unwrap().state, DriverState::Ready, "{name}");
    }
    (registry, handles)
}

async fn call<T: DeserializeOwned>(driver: &DriverHandle, method: &str, params: Value) -> Result<T, DriverError> {
    driver.call(method, &params, CallOptions::default()).await
}

/// Methods, fields, words, levels, services, schema keywords and a boundary that this host has never heard of.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_driver_works_as_far_as_this_host_knows() {
    let folder = folder();
    let later = json!({
        "methods": ["echo", "fail", "host", "levels", "teleport_node", "v2.observe"],
        "serial_by": "rack",
        "colour": { "red": 1 },
        "epochs": [1, 2],
        "config_schema": { "type": "object", "properties": {}, "x-capstan-form": ["later"] },
    });
    let health = r#"-DHEALTH=return text(0,"{\"message\":\"fine\",\"load\":{\"cpu\":[1]}}")"#;
    let library = build(folder.path(), "newer", &manifest(later).to_string(), &["-DLATER_EPOCH", health]);
    let (registry, handles) = in_each(folder.path(), &library).await;
    for driver in &handles {
        let name = driver.name();
        assert_eq!(driver.manifest().serial_by, SerialBy::Instance, "an unknown word is read as the strictest");
        assert_eq!(driver.health(Duration::from_secs(5)).await.unwrap().message, "fine", "{name}");

        let observed = json!({
            "generation": 7, "load_balancers": [{ "id": "a", "state": "degraded", "colour": 1 }], "later": [],
        });
        let observed: Observed = call(driver, "echo", observed).await.unwrap();
        assert_eq!((observed.generation, observed.load_balancers[0].state), (7, LoadBalancerState::Unknown));
        let nodes = json!({
            "items": [{ "id": "1", "name": "n", "state": "hibernating", "rack": 7 }], "next": null, "total": 1,
        });
        let nodes: Page<Node> = call(driver, "echo", nodes).await.unwrap();
        assert_eq!(nodes.items[0].state, "hibernating");

        let error = json!({
            "code": "tape_full", "message": "no tape left", "retry": "when_the_moon_is_full", "shelf": 3,
        });
        let error = call::<Value>(driver, "fail", error).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("tape_full", "no tape left"), "{name}");
        assert_eq!(error.retry, Retry::Never);
        assert_eq!(registry.info(Kind::Cloud, name).unwrap().errors["tape_full"], 1, "{name}");

        call::<()>(driver, "levels", Value::Null).await.unwrap();
        // The test driver reads its parameters in this order.
        let ask = serde_json::value::RawValue::from_string(r#"{"service":"telepathy","body":{}}"#.into()).unwrap();
        let refused = driver.call::<_, Value>("host", &ask, CallOptions::default()).await.unwrap_err();
        assert_eq!(
            refused.code,
            ErrorCode::NOT_SUPPORTED,
            "{name}: an unknown service is the driver's to live without"
        );

        // Whoever knows the method may call it; what is not in the manifest never reaches the driver.
        assert!(driver.has("teleport_node") && !driver.has("sleep"));
        let answered = call::<Value>(driver, "teleport_node", json!({})).await.unwrap_err();
        assert_eq!((answered.code, answered.message.as_str()), (ErrorCode::NOT_SUPPORTED, "no such method"));
    }
    registry.close(Duration::from_secs(5)).await;
}

/// The least that a driver ever had to say, with no method that came after it.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_driver_works_with_what_it_has() {
    let folder = folder();
    let least = json!({
        "name": "older", "version": "0.0.1", "kind": "cloud", "interface": "cloud/1", "target": TARGET, "epoch": 1,
        "methods": ["echo", "fail"],
    });
    let library = build(folder.path(), "older", &least.to_string(), &[r#"-DHEALTH=return text(0,"{}")"#]);
    let (registry, handles) = in_each(folder.path(), &library).await;
    for driver in &handles {
        assert_eq!(driver.health(Duration::from_secs(5)).await.unwrap().message, "");
        // A method that it lacks costs no call: this one would sleep for a minute.
        let options = CallOptions { deadline: Some(Duration::from_secs(30)), ..CallOptions::default() };
        let lacking = driver.call::<_, Value>("sleep", &60_000, options).await.unwrap_err();
        assert_eq!(lacking.code, ErrorCode::NOT_SUPPORTED);

        let observed: Observed = call(driver, "echo", json!({ "generation": 1, "load_balancers": [] })).await.unwrap();
        assert!(observed.drift.is_empty());
        let applied: Applied = call(driver, "echo", json!({ "load_balancers": [{ "id": "a" }] })).await.unwrap();
        assert!(applied.all_ok() && applied.method.is_empty());
        let node: Node = call(driver, "echo", json!({ "id": "1", "name": "n", "state": "running" })).await.unwrap();
        assert!(node.tags.is_empty() && node.fault.is_none());
        let error = call::<Value>(driver, "fail", json!({ "code": "conflict", "message": "no" })).await.unwrap_err();
        assert_eq!((error.code, error.retry, error.operator_message.as_str()), (ErrorCode::CONFLICT, Retry::Never, ""));
    }
    registry.close(Duration::from_secs(5)).await;
}

/// Beyond what may grow the host refuses, and says what it has.
#[tokio::test(flavor = "multi_thread")]
async fn another_major_or_epoch_is_refused_in_words() {
    let folder = folder();
    for (change, found) in [
        (json!({ "interface": "cloud/2" }), "found interface \"cloud/2\"; expected cloud/1; "),
        (json!({ "epoch": 2 }), "found a driver of epoch 2; expected epoch 1; "),
    ] {
        let library = build(folder.path(), "other", &manifest(change).to_string(), &["-DLATER_EPOCH"]);
        for isolation in ISOLATIONS {
            let line = drivers_support::refused(folder.path(), DriverEntry { isolation, ..entry("a", &library) }).await;
            assert!(line.contains(found), "{line}");
        }
    }
}
