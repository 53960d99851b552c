//! Times and limits.

use std::time::{Duration, Instant};

use super::*;

/// A call with a deadline of its own.
fn within(cloud: &Driven, method: &str, deadline_ms: u64) -> Value {
    let request = json!({ "deadline_ms": deadline_ms, "params": {} });
    cloud.invoke_raw(method.as_bytes(), request.to_string().as_bytes()).1
}

#[test]
fn calls_take_their_time_and_end_with_their_deadline() {
    let cloud = open(json!({ "latency": { "list_nodes": { "ms": 30 }, "default": { "ms": 3_600_000 } } }));
    let start = Instant::now();
    assert_eq!(count(&cloud), 0);
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(within(&cloud, "list_images", 20)["code"], "timeout");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| cloud.invoke_as(7, b"quotas", br#"{ "deadline_ms": 3600000, "params": {} }"#));
        cloud.cancel(7);
        assert_eq!(waiting.join().unwrap().1["code"], "cancelled");
    });
}

#[test]
fn a_seed_repeats_latencies_and_faults() {
    let log = |seed: u64| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        let cloud = open(json!({
            "seed": seed, "call_log": path,
            "latency": { "default": { "shape": "lognormal", "ms": 0.05, "sigma": 1 } },
            "faults": [{ "fault": "error", "probability": 0.5 }],
        }));
        for _ in 0..40 {
            cloud.invoke("list_nodes", &json!({}));
            cloud.invoke("create_node", &wanted("a"));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| format!("{} {} {}", line["method"], line["faults"], line["answer"])).collect::<Vec<_>>()
    };
    let first = log(42);
    assert_eq!((first.len(), &first), (80, &log(42)));
    assert!(first.iter().any(|line| line.contains("unavailable")) && first.iter().any(|line| line.contains("ok")));
    assert_ne!(first, log(43));
}

#[test]
fn what_is_too_much_is_rate_limited() {
    let cloud = open(json!({ "limits": { "calls_per_second": 0.001, "burst": 3 } }));
    for _ in 0..3 {
        count(&cloud);
    }
    let refused = cloud.invoke("list_nodes", &json!({})).1;
    assert_eq!(refused["code"], "rate_limited");
    assert!(refused["retry"]["after_ms"].as_u64().unwrap() > 990_000, "{refused}");

    let cloud = open(json!({ "limits": { "concurrent_calls": 1 }, "latency": { "quotas": { "ms": 3_600_000 } } }));
    std::thread::scope(|scope| {
        let ask = || cloud.invoke_as(7, b"quotas", br#"{ "deadline_ms": 3600000, "params": {} }"#).1;
        // Either may find the other inside; until this thread does, it is served.
        let waiting = scope.spawn(move || while ask()["code"] == "rate_limited" {});
        while cloud.invoke("list_nodes", &json!({})).1["code"] != "rate_limited" {
            std::thread::yield_now();
        }
        cloud.cancel(7);
        waiting.join().unwrap();
    });
    assert_eq!(count(&cloud), 0);
}

#[test]
fn a_node_that_is_being_built_is_waited_for() {
    let cloud = open(json!({ "build_time": { "ms": 3_600_000 }, "pending": true }));
    let pending = cloud.invoke("create_node", &wanted("a"));
    assert_eq!(
        (pending.0, pending.1["poll_after_ms"].as_u64()),
        (capstan_plugin_api::abi::STATUS_PENDING, Some(1_000))
    );
    let token = json!({ "token": pending.1["token"] });
    for method in ["poll", "recover"] {
        assert_eq!(cloud.invoke(method, &token).0, capstan_plugin_api::abi::STATUS_PENDING);
        assert_eq!(cloud.code(method, &json!({ "token": "other" })), "not_found");
    }
    assert_eq!(cloud.ok("list_nodes", &json!({}))["items"][0]["state"], "pending");
}
