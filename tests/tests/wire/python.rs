//! The example in Python keeps to the contract of its kind.

use std::time::{Duration, Instant};

use capstan_plugin_api::{ErrorCode, Retry};
use serde_json::{Value, json};

use super::{
    SOON,
    hosted::{GRACE, Hosted, LONG},
};

async fn open(name: &str, config: Value) -> Hosted {
    let folder = "plugins/examples/python-load-balancer";
    let files = [format!("{folder}/driver.py"), format!("{folder}/capstan_driver.py")];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    Hosted::open(name, &files, &[], |settings| settings.drivers[0].config = config).await
}

fn apply(generation: u64, ids: &[&str]) -> Value {
    let members = json!([{ "id": "1", "address": "10.0.0.1", "port": 80 }, { "id": "2", "address": "b", "port": 81 }]);
    let one = |id: &&str| {
        json!({ "id": id, "listeners": [{ "id": "l", "protocol": "HTTP" }],
            "pools": [{ "id": "p", "algorithm": "ROUND_ROBIN", "members": members }] })
    };
    json!({ "generation": generation, "idempotency_key": "k", "load_balancers": ids.iter().map(one).collect::<Vec<_>>() })
}

impl Hosted {
    async fn ok(&self, method: &str, params: Value) -> Value {
        self.call_with(method, params, LONG).await.unwrap_or_else(|error| panic!("{method}: {error:?}"))
    }

    async fn code(&self, method: &str, params: Value) -> ErrorCode {
        let error = self.call_with(method, params, LONG).await.expect_err(method);
        assert_eq!(error.retry, Retry::Never, "{error:?}");
        error.code
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_what_it_is_told() {
    let driver = open("keeps", json!({})).await;
    assert_eq!(driver.ok("observe", json!({})).await, json!({ "generation": 0, "load_balancers": [] }));
    let ids = ["one", "a \"b\" \\ \n é 😀"];
    let applied = driver.ok("apply", apply(2, &ids)).await;
    assert_eq!(applied["method"], "memory");
    assert_eq!(applied["load_balancers"][1]["id"], ids[1]);
    let again = driver.ok("apply", apply(2, &ids)).await;
    assert_eq!((&again["load_balancers"], &again["method"]), (&applied["load_balancers"], &json!("unchanged")));
    assert_eq!(driver.code("apply", apply(1, &[])).await, ErrorCode::CONFLICT);
    for method in ["suspend", "enable"] {
        assert_eq!(driver.code(method, json!({ "generation": 1 })).await, ErrorCode::CONFLICT);
        let other = json!({ "generation": 2, "load_balancer": "other" });
        assert_eq!(driver.code(method, other).await, ErrorCode::NOT_FOUND);
        let elsewhere = json!({ "device": "e", "generation": 9 });
        assert_eq!(driver.code(method, elsewhere).await, ErrorCode::NOT_FOUND);
    }
    driver.ok("suspend", json!({ "generation": 3, "load_balancer": ids[1] })).await;
    let observed = driver.ok("observe", json!({})).await;
    assert_eq!(observed["generation"], 3);
    let state = |index: usize| (&observed["load_balancers"][index]["id"], &observed["load_balancers"][index]["state"]);
    assert_eq!(state(0), (&json!("one"), &json!("running")));
    assert_eq!(state(1), (&json!(ids[1]), &json!("suspended")));
    assert_eq!(driver.ok("status", json!({ "load_balancer": ids[1] })).await["members"][1]["up"], false);
    assert_eq!(driver.ok("statistics", json!({})).await["listeners"].as_array().unwrap().len(), 2);
    let one = driver.ok("delete", json!({ "generation": 4, "load_balancer": "one" })).await;
    assert_eq!(one["load_balancers"], json!([{ "id": "one" }]));
    driver.ok("delete", json!({ "generation": 4, "load_balancer": "one" })).await;
    driver.ok("delete", json!({ "generation": 5 })).await;
    driver.ok("delete", json!({ "generation": 5 })).await;
    for method in ["status", "statistics"] {
        assert_eq!(driver.code(method, json!({})).await, ErrorCode::NOT_FOUND);
    }
    assert_eq!(
        driver.code("apply", apply(4, &["one"])).await,
        ErrorCode::CONFLICT,
        "a deleted device knows its generation"
    );
    assert_eq!(driver.code("validate", json!({})).await, ErrorCode::NOT_SUPPORTED);
    driver.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_refuses_by_name_and_then_changes_nothing() {
    let driver = open("refuses", json!({})).await;
    let mut request = apply(1, &["one", "two"]);
    request["load_balancers"][0]["pools"][0]["members"][1]["port"] = json!(0);
    let refused = driver.ok("apply", request.clone()).await;
    assert_eq!(refused["method"], "refused");
    assert_eq!(refused["load_balancers"][0]["members"][0]["id"], "2");
    assert_eq!(refused["load_balancers"][1]["error"]["code"], "cancelled");
    assert_eq!(driver.ok("observe", json!({})).await["load_balancers"], json!([]));
    request["skip_refused_members"] = json!(true);
    driver.ok("apply", request.clone()).await;
    assert_eq!(driver.ok("status", json!({ "load_balancer": "one" })).await["members"].as_array().unwrap().len(), 1);
    request["generation"] = json!(2);
    request["load_balancers"][1]["listeners"][0]["protocol"] = json!("GOPHER");
    let refused = driver.ok("apply", request).await;
    assert_eq!(refused["load_balancers"][1]["error"]["code"], "not_supported", "{refused}");
    assert_eq!(driver.ok("observe", json!({})).await["generation"], 1);
    // More than the host keeps of one key.
    let mut large = apply(2, &["one"]);
    let members: Vec<Value> =
        (0..10_000).map(|id| json!({ "id": id.to_string(), "address": "a", "port": 80 })).collect();
    large["load_balancers"][0]["pools"][0]["members"] = json!(members);
    assert_eq!(driver.code("apply", large).await, ErrorCode::new("quota_exceeded"));
    assert_eq!(driver.ok("observe", json!({})).await["generation"], 1);
    for (method, params) in [
        ("apply", json!({ "device": 7, "generation": 3, "load_balancers": [] })),
        ("apply", json!({ "load_balancers": [] })),
        ("apply", json!({ "generation": "3", "load_balancers": [] })),
        ("apply", json!({ "generation": true, "load_balancers": [] })),
        ("apply", json!({ "generation": 3, "load_balancers": {} })),
        ("apply", json!({ "generation": 3, "load_balancers": [7] })),
        ("apply", json!({ "generation": 3, "load_balancers": [{ "id": null }] })),
        ("apply", json!({ "generation": 3, "load_balancers": [{ "id": "a" }, { "id": "a" }] })),
        ("apply", json!({ "generation": 3, "load_balancers": [{ "id": "a", "listeners": [7] }] })),
        ("apply", json!({ "generation": 3, "load_balancers": [{ "id": "a", "pools": [{ "members": [[]] }] }] })),
        ("suspend", json!({ "generation": null })),
        ("suspend", json!({ "device": [] })),
        ("observe", json!({ "device": null })),
    ] {
        let code = driver.code(method, params.clone()).await;
        assert_eq!(code, ErrorCode::INVALID_ARGUMENT, "{method} {params}");
    }
    assert_eq!(driver.info().restarts, 0);
    driver.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_it_is_told_to() {
    let driver = open("stops", json!({ "delay_ms": 600_000 })).await;
    let begun = Instant::now();
    let error = driver.call_with("apply", apply(1, &["one"]), SOON).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TIMEOUT, "{error:?}");
    assert!(begun.elapsed() < SOON + GRACE, "{:?}", begun.elapsed());
    let gone = tokio::time::timeout(SOON, driver.call_with("apply", apply(1, &["one"]), LONG)).await;
    assert!(gone.is_err());
    driver.until("the cancelled call", |info| info.in_flight == 0).await;
    let info = driver.info();
    assert_eq!((info.restarts, info.ends.len()), (0, 0), "{info:?}");
    assert_eq!(driver.ok("observe", json!({})).await["generation"], 0, "nothing was changed");
    driver.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_calls_at_once() {
    let driver = open("many", json!({ "delay_ms": 50 })).await;
    let begun = Instant::now();
    let calls = (0..64).map(|device| {
        let handle = driver.handle();
        tokio::spawn(async move {
            let mut request = apply(1, &["one"]);
            request["device"] = json!(device.to_string());
            let options = capstan::drivers::CallOptions { deadline: Some(LONG), ..Default::default() };
            handle.call::<_, Value>("apply", &request, options).await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap()["method"], "memory");
    }
    assert!(begun.elapsed() < Duration::from_millis(64 * 50), "one after the other: {:?}", begun.elapsed());
    for device in 0..64 {
        let observed = driver.ok("observe", json!({ "device": device.to_string() })).await;
        assert_eq!(observed["load_balancers"].as_array().unwrap().len(), 1, "{device}");
    }
    driver.close().await;
}
