//! UPDATE: the order of validation, what reaches the driver, and the condition of each node afterwards.

use capstan_plugin_api::{DriverError, load_balancer::LoadBalancerResult};
use serde_json::{Value, json};

use super::bench::*;

async fn ask(load_balancers: Value) -> (Value, Bench) {
    let bench = Bench::new();
    let reply = bench.ask(&json!({ "hpcs_action": "UPDATE", "loadBalancers": load_balancers })).await;
    (reply, bench)
}

/// Each fault alone, with a later one behind it that must not be told.
#[tokio::test]
async fn the_order_of_validation_is_libra_s() {
    let steps: Vec<(Value, Result<&str, &str>)> = vec![
        (json!({}), Err("Missing 'nodes' element")),
        (json!({ "nodes": [{}] }), Err("Missing required 'protocol' value.")),
        (json!({ "protocol": "udp", "algorithm": "BOGUS" }), Ok("Unsupported protocol: udp")),
        (json!({ "protocol": "tcp" }), Ok("Port is required for this protocol.")),
        (json!({ "port": 443, "monitor": {} }), Ok("Invalid algorithm: BOGUS")),
        (json!({ "algorithm": "least_connections" }), Err("Missing monitor value 'type'")),
        (json!({ "monitor": { "type": "x" } }), Err("Missing monitor value 'delay'")),
        (json!({ "monitor": { "type": "x", "delay": 1 } }), Err("Missing monitor value 'timeout'")),
        (json!({ "monitor": { "type": "x", "delay": 1, "timeout": 2 } }), Err("Missing monitor value 'attempts'")),
        (
            json!({ "monitor": { "type": "x", "delay": 1, "timeout": 1, "attempts": 1 }, "options": { "client_timeout": "x" } }),
            Ok("Invalid monitor type: x"),
        ),
        (
            json!({ "monitor": { "type": "http", "delay": "1", "timeout": 1, "attempts": "1" } }),
            Ok("Failed to set timeout values: Non-integer 'client_timeout' value: 'x'"),
        ),
        (json!({ "options": { "client_timeout": "5000" } }), Err("Missing node 'port'")),
        (json!({ "nodes": [{ "port": "x" }] }), Err("Missing node 'address'")),
        (json!({ "nodes": [{ "port": "x", "address": "" }] }), Err("Missing node 'id'")),
        (
            json!({ "nodes": [{ "port": 1, "address": "", "id": 7 }, {}] }),
            Ok("Failure adding server 7: Invalid address '': an IPv4 or IPv6 address or a host name is accepted"),
        ),
        (json!({ "nodes": [{ "port": 1, "address": "a", "id": 7 }, {}] }), Err("Missing node 'port'")),
    ];
    let mut load_balancer = serde_json::Map::new();
    for (change, expected) in steps {
        load_balancer.extend(change.as_object().unwrap().clone());
        let (reply, bench) = ask(json!([load_balancer])).await;
        match expected {
            Err(text) => is_bad_request(&reply, text),
            Ok(text) => fails(&reply, text),
        }
        assert!(bench.fake.names().is_empty(), "the driver was called for {change}");
    }
}

#[tokio::test]
async fn a_fault_of_the_first_load_balancer_comes_before_any_of_the_second() {
    let second_without_id = json!({ "protocol": "tcp", "port": 1, "nodes": [{ "port": 1, "address": "a" }] });
    for (first, text) in [
        (json!({ "protocol": "udp", "nodes": [] }), "Unsupported protocol: udp"),
        (json!({ "protocol": "http", "algorithm": 5, "nodes": [] }), "Invalid algorithm: 5"),
        (
            json!({ "protocol": "http", "nodes": [{ "id": 1, "port": 1, "address": "a", "weight": "heavy" }] }),
            "Failure adding server 1: Non-integer 'weight' value: 'heavy'",
        ),
    ] {
        fails(&ask(json!([first, second_without_id])).await.0, text);
    }
    let first = json!({ "protocol": "http", "nodes": [{ "port": 1, "address": "a" }] });
    let (reply, _bench) = ask(json!([first, { "protocol": "udp", "nodes": [] }])).await;
    is_bad_request(&reply, "Missing node 'id'");
}

#[tokio::test]
async fn listeners_that_collide_fail() {
    let http = json!({ "protocol": "http", "nodes": [] });
    let tcp = json!({ "protocol": "tcp", "port": 3306, "nodes": [] });
    let galera = json!({ "protocol": "galera", "port": 3307, "nodes": [] });
    let both = "Protocol 'galera' cannot stand beside 'tcp' on one device.";
    fails(&ask(json!([tcp, galera])).await.0, both);
    fails(
        &ask(json!([http, { "protocol": "tcp", "port": 80, "nodes": [] }])).await.0,
        "Port 80 is already used by protocol 'http'.",
    );
    passes(&ask(json!([http, galera])).await.0);
}

#[tokio::test]
async fn ports_may_be_text_and_are_checked() {
    let (reply, bench) = ask(json!([{ "protocol": "Http", "port": "8080", "nodes": [] }])).await;
    passes(&reply);
    assert_eq!(bench.fake.applied().load_balancers[0].listeners[0].port, Some(8080));
    let (reply, bench) = ask(json!([{ "protocol": "HTTP", "nodes": [] }])).await;
    passes(&reply);
    assert_eq!(bench.fake.applied().load_balancers[0].listeners[0].port, None);
    for (port, text) in [
        (json!(0), "'port' 0 is not within 1 and 65535"),
        (json!(65536), "'port' 65536 is not within 1 and 65535"),
        (json!("http"), "Non-integer 'port' value: 'http'"),
        (json!("80\nbind 0.0.0.0:81"), "Non-integer 'port' value: '80\\u{a}bind 0.0.0.0:81'"),
    ] {
        fails(&ask(json!([{ "protocol": "http", "port": port, "nodes": [] }])).await.0, text);
    }
}

#[tokio::test]
async fn a_node_s_values_reach_the_driver() {
    let bench = Bench::new();
    let mut message = update();
    message["loadBalancers"][0]["nodes"] = json!([
        { "id": "web-1", "address": "[2001:db8::1]", "port": "8080", "weight": "20", "backup": "TRUE", "condition": "DISABLED" },
        { "id": 12345678901234567u64, "address": "web.example.org", "port": 80, "weight": null },
    ]);
    passes(&bench.ask(&message).await);
    let members = bench.fake.applied().load_balancers[0].pools[0].members.clone();
    let seen: Vec<_> =
        members.iter().map(|m| (m.id.as_str(), m.address.as_str(), m.port, m.weight, m.backup)).collect();
    assert_eq!(
        seen,
        [("web-1", "2001:db8::1", 8080, 20, true), ("12345678901234567", "web.example.org", 80, 1, false)]
    );
    assert!(members.iter().all(|m| m.state == capstan_plugin_api::load_balancer::MemberState::Enabled));
}

#[tokio::test]
async fn a_refused_node_is_marked_and_the_others_are_left_as_they_came() {
    for (field, value, cause) in [
        ("weight", json!(257), "Server 'weight' 257 exceeds max of 256"),
        ("weight", json!(0), "Server 'weight' 0 is below min of 1"),
        ("port", json!(-1), "'port' -1 is not within 1 and 65535"),
        ("id", json!(1), "the id stands twice in this load balancer"),
    ] {
        let mut message = update();
        message["loadBalancers"][0]["nodes"][1][field] = value;
        let reply = Bench::new().ask(&message).await;
        let id = &message["loadBalancers"][0]["nodes"][1]["id"];
        fails(&reply, format!("Failure adding server {id}: {cause}").as_str());
        has_conditions(&reply, &[None, OFF]);
    }
}

#[tokio::test]
async fn monitor_defaults_and_limits() {
    let monitor = |delay: Value, timeout: Value, attempts: Value, path: Value| {
        update_with(
            "monitor",
            json!({ "type": "http", "delay": delay, "timeout": timeout, "attempts": attempts, "path": path }),
        )
    };
    let bench = Bench::new();
    passes(&bench.ask(&monitor(json!(null), json!(null), json!(null), json!(""))).await);
    let seen = bench.fake.applied().load_balancers[0].pools[0].monitor.clone().unwrap();
    assert_eq!((seen.kind.as_str(), seen.delay_s, seen.timeout_s, seen.rise, seen.fall), ("HTTP", 30, 30, 2, 2));
    assert_eq!(seen.path.as_deref(), Some("/"));

    let bench = Bench::new();
    passes(&bench.ask(&monitor(json!("30"), json!("30"), json!("3"), json!("health"))).await);
    let seen = bench.fake.applied().load_balancers[0].pools[0].monitor.clone().unwrap();
    assert_eq!((seen.delay_s, seen.timeout_s, seen.rise, seen.path.as_deref()), (30, 30, 3, Some("/health")));

    for (message, text) in [
        (monitor(json!(30), json!(31), json!(1), json!("/")), "Timeout cannot be greater than delay"),
        (monitor(json!("soon"), json!(1), json!(1), json!("/")), "Non-integer 'delay' value: 'soon'"),
        (monitor(json!(1), json!(1), json!(0), json!("/")), "'attempts' 0 is below min of 1"),
    ] {
        fails(&Bench::new().ask(&message).await, text);
    }
}

#[tokio::test]
async fn options_are_optional_one_by_one() {
    let bench = Bench::new();
    passes(&bench.ask(&update_with("options", json!({ "server_timeout": "5000", "connect_retries": 0 }))).await);
    let one = &bench.fake.applied().load_balancers[0];
    assert_eq!(one.listeners[0].client_timeout_ms, None);
    let timeouts = &one.pools[0].timeouts;
    assert_eq!((timeouts.connect_ms, timeouts.server_ms, timeouts.retries), (None, Some(5000), Some(0)));
    // BUG-22: a limit of 0 is the default, as libra's API side showed it; without a retry is without a retry.
    let none = json!({ "client_timeout": 0, "server_timeout": "0", "connect_timeout": 0, "connect_retries": 0 });
    let bench = Bench::new();
    passes(&bench.ask(&update_with("options", none)).await);
    let one = &bench.fake.applied().load_balancers[0];
    assert_eq!(one.listeners[0].client_timeout_ms, None);
    let timeouts = &one.pools[0].timeouts;
    assert_eq!((timeouts.connect_ms, timeouts.server_ms, timeouts.retries), (None, None, Some(0)));
    let reply = Bench::new().ask(&update_with("options", json!({ "connect_timeout": -1 }))).await;
    fails(&reply, "Failed to set timeout values: 'connect_timeout' -1 is below min of 0");
}

#[tokio::test]
async fn a_load_balancer_may_be_without_servers() {
    let (reply, bench) = ask(json!([{ "protocol": "http", "nodes": [] }])).await;
    passes(&reply);
    assert!(bench.fake.applied().load_balancers[0].pools[0].members.is_empty());
}

fn two() -> Value {
    json!({ "hpcs_action": "UPDATE", "loadBalancers": [
        { "protocol": "http", "nodes": [node(1), node(2)] },
        { "protocol": "tcp", "port": 443, "nodes": [node(3)] },
    ]})
}

#[tokio::test]
async fn a_failed_apply_disables_all_nodes_of_all_load_balancers_and_tells_why() {
    let bench = Bench::new();
    bench.next_change(Err(DriverError::internal("Configuration file is invalid").for_operator("line 7")));
    let reply = bench.ask(&two()).await;
    fails(&reply, "Configuration file is invalid");
    has_conditions(&reply, &[OFF, OFF, OFF]);
}

#[tokio::test]
async fn a_refused_load_balancer_fails_the_message() {
    let bench = Bench::new();
    let refused = |error| LoadBalancerResult { id: "tcp".into(), error, members: Vec::new() };
    let error = DriverError::not_supported("two load balancers on a device");
    bench.next_change(Ok(vec![refused(None), refused(Some(error.clone()))]));
    let reply = bench.ask(&two()).await;
    fails(&reply, error.message.as_str());
    has_conditions(&reply, &[OFF, OFF, OFF]);
}

#[tokio::test]
async fn a_node_that_the_driver_refuses_is_marked() {
    let bench = Bench::new();
    bench.next_change(Ok(vec![refusing("http", &["2"]), refusing("tcp", &["3", "nobody"])]));
    let reply = bench.ask(&two()).await;
    fails(&reply, "Failure adding server 2: no room for 2");
    has_conditions(&reply, &[None, OFF, OFF]);
}

#[tokio::test]
async fn an_error_without_a_message_still_tells_its_code() {
    let bench = Bench::new();
    bench.next_change(Err(DriverError::internal("")));
    fails(&bench.ask(&update()).await, "The driver failed: internal");
}
