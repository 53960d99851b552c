//! The acceptance rows of libra's last messages; `docs/contract/acceptance.md` has the list.

use capstan_plugin_api::{
    DriverError,
    load_balancer::{ListenerStatistics, MemberStatus, Statistics, Status},
};
use serde_json::{Value, json};

use super::bench::*;

#[tokio::test]
async fn w01_an_unknown_action_fails_without_a_text() {
    fails(&Bench::new().ask(&json!({ "hpcs_action": "BOGUS" })).await, None);
}

#[tokio::test]
async fn w02_field_names_are_case_sensitive() {
    let message = json!({ "hpcs_action": "UPDATE", "LoAdBaLaNcErS": update()["loadBalancers"] });
    is_bad_request(&Bench::new().ask(&message).await, "Missing 'loadBalancers' element");
}

#[tokio::test]
async fn w03_update_passes() {
    let bench = Bench::new();
    passes(&bench.ask(&update()).await);
    assert_eq!(bench.fake.names(), ["observe", "apply"]);
}

#[tokio::test]
async fn w04_suspend_enable_and_delete_pass() {
    for (action, call) in [("SUSPEND", "suspend"), ("ENABLE", "enable"), ("DELETE", "delete")] {
        let bench = Bench::new();
        let reply = bench.ask(&json!({ "hpcs_action": action })).await;
        assert_eq!(reply, json!({ "hpcs_action": action, "hpcs_response": "PASS" }));
        assert_eq!(bench.fake.names(), ["observe", call]);
    }
}

#[tokio::test]
async fn w05_update_node_without_id() {
    let missing = remove(update(), "/loadBalancers/0/nodes/1/id");
    is_bad_request(&Bench::new().ask(&missing).await, "Missing node 'id'");
    let empty = update_with_node("id", json!(""));
    is_bad_request(&Bench::new().ask(&empty).await, "Missing node 'id'");
}

#[tokio::test]
async fn w07_update_without_load_balancers() {
    let bench = Bench::new();
    is_bad_request(&bench.ask(&json!({ "hpcs_action": "UPDATE" })).await, "Missing 'loadBalancers' element");
    assert!(bench.fake.names().is_empty());
}

#[tokio::test]
async fn w08_update_load_balancer_without_nodes() {
    let message = remove(update(), "/loadBalancers/0/nodes");
    is_bad_request(&Bench::new().ask(&message).await, "Missing 'nodes' element");
}

fn monitor() -> Value {
    json!({ "type": "CONNECT", "delay": 60, "timeout": 30, "attempts": 1, "path": "/healthcheck" })
}

#[tokio::test]
async fn w10_update_with_a_connect_monitor() {
    let bench = Bench::new();
    passes(&bench.ask(&update_with("monitor", monitor())).await);
    let monitor = bench.fake.applied().load_balancers[0].pools[0].monitor.clone().unwrap();
    assert_eq!((monitor.kind.as_str(), monitor.delay_s, monitor.timeout_s), ("CONNECT", 60, 30));
    assert_eq!((monitor.rise, monitor.fall), (1, 1));
}

#[tokio::test]
async fn w11_update_with_an_incomplete_monitor() {
    for name in ["type", "delay", "timeout", "attempts"] {
        let mut monitor = monitor();
        monitor.as_object_mut().unwrap().remove(name);
        let reply = Bench::new().ask(&update_with("monitor", monitor)).await;
        is_bad_request(&reply, &format!("Missing monitor value '{name}'"));
    }
}

#[tokio::test]
async fn w13_update_with_an_unknown_algorithm() {
    let reply = Bench::new().ask(&update_with("algorithm", json!("BOGUS"))).await;
    fails(&reply, "Invalid algorithm: BOGUS");
}

#[tokio::test]
async fn w14_discover_tells_the_version() {
    let reply = Bench::new().ask(&json!({ "hpcs_action": "DISCOVER" })).await;
    passes(&reply);
    assert_eq!(reply["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(reply["release"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn w19_the_action_may_be_in_lower_case() {
    let mut message = update();
    message["hpcs_action"] = json!("update");
    let reply = Bench::new().ask(&message).await;
    passes(&reply);
    assert_eq!(reply["hpcs_action"], "update");
}

#[tokio::test]
async fn w20_a_message_without_an_action_fails_without_a_text() {
    fails(&Bench::new().ask(&json!({})).await, None);
    fails(&Bench::new().ask(&json!({ "hpcs_action": null })).await, None);
    fails(&Bench::new().ask(&json!({ "hpcs_action": ["UPDATE"] })).await, None);
}

#[tokio::test]
async fn w22_update_with_two_load_balancers_is_one_apply_in_their_order() {
    let bench = Bench::new();
    let message = json!({ "hpcs_action": "UPDATE", "loadBalancers": [
        { "protocol": "http", "port": 80, "nodes": [node(1)] },
        { "protocol": "tcp", "port": 443, "nodes": [node(2), node(3)] },
    ]});
    passes(&bench.ask(&message).await);
    let request = bench.fake.applied();
    assert_eq!(request.device, "node-7");
    assert!(!request.skip_refused_members);
    let seen: Vec<_> = request
        .load_balancers
        .iter()
        .map(|one| {
            let (listener, pool) = (&one.listeners[0], &one.pools[0]);
            assert_eq!((&one.id, &one.id), (&listener.id, &pool.id));
            assert_eq!(listener.default_pool.as_ref(), Some(&pool.id));
            let members: Vec<_> = pool.members.iter().map(|member| member.id.clone()).collect();
            (one.id.clone(), listener.protocol.clone(), listener.port, members.join(","))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("http".into(), "HTTP".into(), Some(80), "1".into()),
            ("tcp".into(), "TCP".into(), Some(443), "2,3".to_owned())
        ]
    );
}

#[tokio::test]
async fn w23_update_with_one_protocol_twice() {
    let one = json!({ "protocol": "http", "nodes": [node(1)] });
    let other = json!({ "protocol": "HTTP", "port": 8080, "nodes": [node(2)] });
    let bench = Bench::new();
    let reply = bench.ask(&json!({ "hpcs_action": "UPDATE", "loadBalancers": [one, other] })).await;
    fails(&reply, "Protocol 'http' is already defined.");
    assert!(bench.fake.names().is_empty());
}

#[tokio::test]
async fn w25_extra_fields_are_echoed() {
    let mut message = update();
    message["note"] = json!({ "z": [1, 2.5, null, "ü\u{1F600}\n"], "a": { "big": u64::MAX } });
    message["loadBalancers"][0]["nodes"][0]["rack"] = json!("r1");
    let reply = Bench::new().ask(&message).await;
    passes(&reply);
    assert_eq!(reply["note"], message["note"]);
    assert_eq!(reply["loadBalancers"][0]["nodes"][0]["rack"], "r1");
    assert_eq!(reply["loadBalancers"][0]["name"], "a");
    let stats = Bench::new().ask(&json!({ "hpcs_action": "SUSPEND", "nodes_wanted": true })).await;
    assert_eq!(stats["nodes_wanted"], true);
}

#[tokio::test]
async fn w26_a_passed_update_enables_each_node() {
    let mut message = update();
    message["loadBalancers"][0]["nodes"][0]["condition"] = json!("DISABLED");
    has_conditions(&Bench::new().ask(&message).await, &[ON, ON]);
}

#[tokio::test]
async fn w28_galera_takes_one_primary_node() {
    let message = json!({ "hpcs_action": "UPDATE", "loadBalancers": [
        { "protocol": "galera", "port": 3306, "nodes": [node(1), node(2)] },
    ]});
    let reply = Bench::new().ask(&message).await;
    fails(&reply, "Failure adding server 2: Galera protocol does not accept more than one non-backup node");
    has_conditions(&reply, &[None, OFF]);

    let mut accepted = message;
    accepted["loadBalancers"][0]["nodes"][1]["backup"] = json!("TRUE");
    let bench = Bench::new();
    passes(&bench.ask(&accepted).await);
    assert_eq!(bench.fake.applied().load_balancers[0].id, "tcp");
    assert_eq!(bench.fake.applied().load_balancers[0].listeners[0].protocol, "GALERA");
}

#[tokio::test]
async fn w29_figures_of_a_deleted_device() {
    for action in ["STATS", "METRICS"] {
        let bench = Bench::new();
        *bench.fake.status.lock().unwrap() = Some(Err(DriverError::not_found("nothing here")));
        *bench.fake.statistics.lock().unwrap() = Some(Err(DriverError::not_found("nothing here")));
        let reply = bench.ask(&json!({ "hpcs_action": action })).await;
        fails(&reply, format!("Invalid operation {action} on a deleted LB.").as_str());
        assert_eq!(reply["status"], "DELETED");
    }
}

#[tokio::test]
async fn w31_stats_has_ids_as_text_and_two_states() {
    let bench = Bench::new();
    let member = |id: &str, up, detail: &str| MemberStatus {
        load_balancer: "http".into(),
        id: id.into(),
        up,
        detail: detail.into(),
    };
    *bench.fake.status.lock().unwrap() =
        Some(Ok(Status { members: vec![member("1", true, "UP"), member("2", false, "UP 1/2")] }));
    let reply = bench.ask(&json!({ "hpcs_action": "STATS" })).await;
    passes(&reply);
    assert_eq!(reply["nodes"], json!([{ "id": "1", "status": "UP" }, { "id": "2", "status": "DOWN" }]));
}

#[tokio::test]
async fn metrics_has_the_period_and_the_bytes_of_each_protocol() {
    let bench = Bench::new();
    let listener = |protocol: &str, bytes_out| ListenerStatistics {
        load_balancer: protocol.to_lowercase(),
        protocol: protocol.into(),
        bytes_out,
        bytes_in: Some(5),
    };
    *bench.fake.statistics.lock().unwrap() = Some(Ok(Statistics {
        start: "2013-01-31 12:10:30.123456".into(),
        end: "2013-01-31 12:15:30.123456".into(),
        listeners: vec![listener("http", 2048), listener("GALERA", 1024)],
    }));
    let reply = bench.ask(&json!({ "hpcs_action": "METRICS" })).await;
    assert_eq!(
        reply,
        json!({ "hpcs_action": "METRICS", "hpcs_response": "PASS",
            "utc_start": "2013-01-31 12:10:30.123456", "utc_end": "2013-01-31 12:15:30.123456",
            "loadBalancers": [{ "protocol": "http", "bytes_out": 2048 }, { "protocol": "tcp", "bytes_out": 1024 }] })
    );
}

#[tokio::test]
async fn an_action_that_the_driver_lacks_is_named() {
    for action in ["SUSPEND", "ENABLE", "DELETE", "STATS", "METRICS"] {
        let bench = Bench::new();
        bench.next_change(Err(DriverError::not_supported("it")));
        *bench.fake.status.lock().unwrap() = Some(Err(DriverError::not_supported("status")));
        *bench.fake.statistics.lock().unwrap() = Some(Err(DriverError::not_supported("statistics")));
        let reply = bench.ask(&json!({ "hpcs_action": action })).await;
        fails(&reply, format!("Selected driver does not support {action} action.").as_str());
    }
}

#[tokio::test]
async fn a_failed_action_tells_the_tenant_s_part_of_the_cause() {
    for action in ["SUSPEND", "ENABLE", "DELETE", "STATS", "METRICS"] {
        let bench = Bench::new();
        let error = || DriverError::unavailable("HAProxy is not running.").for_operator("/run/haproxy.sock: ENOENT");
        bench.next_change(Err(error()));
        *bench.fake.status.lock().unwrap() = Some(Err(error()));
        *bench.fake.statistics.lock().unwrap() = Some(Err(error()));
        fails(&bench.ask(&json!({ "hpcs_action": action })).await, "HAProxy is not running.");
    }
}

#[tokio::test]
async fn w35_actions_of_other_generations_fail() {
    for action in ["PING", "CREATE"] {
        let mut message = update();
        message["hpcs_action"] = json!(action);
        let bench = Bench::new();
        fails(&bench.ask(&message).await, None);
        assert!(bench.fake.names().is_empty(), "{action}");
    }
}

#[tokio::test]
async fn w37_backup_may_be_a_boolean() {
    for (given, backup) in [
        (json!(true), true),
        (json!(false), false),
        (json!("TRUE"), true),
        (json!("false"), false),
        (json!(null), false),
    ] {
        let bench = Bench::new();
        passes(&bench.ask(&update_with_node("backup", given.clone())).await);
        assert_eq!(bench.fake.applied().load_balancers[0].pools[0].members[0].backup, backup, "{given}");
    }
    let reply = Bench::new().ask(&update_with_node("backup", json!("maybe"))).await;
    fails(&reply, "Failure adding server 1: 'backup' is neither TRUE nor FALSE: 'maybe'");
}

#[tokio::test]
async fn w38_a_bad_request_is_bare_and_its_code_is_text() {
    let reply = Bench::new().ask(&json!({ "hpcs_action": "UPDATE", "extra": 1 })).await;
    assert_eq!(reply["badRequest"]["code"], "400");
    assert_eq!(reply.as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn stats_with_nodes_at_the_top_is_no_flat_message() {
    let reply = Bench::new().ask(&json!({ "hpcs_action": "STATS", "nodes": [1], "Note": 2 })).await;
    passes(&reply);
    assert_eq!((&reply["nodes"], &reply["Note"]), (&json!([]), &json!(2)));
}
