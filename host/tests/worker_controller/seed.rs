//! The acceptance rows of the first generation's flat message.

use capstan::worker::MessageForm;
use capstan_plugin_api::{DriverError, load_balancer::LoadBalancerResult};
use serde_json::{Value, json};

use super::bench::*;

fn seed() -> Bench {
    Bench::with(|settings| settings.form = MessageForm::Seed)
}

fn create() -> Value {
    json!({ "hpcs_action": "CREATE", "nodes": [{ "address": "10.0.0.1", "port": 80 }, { "address": "10.0.0.2", "port": "81" }] })
}

#[tokio::test]
async fn s01_an_unknown_action_fails() {
    for action in ["BOGUS", "STATS", "DISCOVER"] {
        fails(&seed().ask(&json!({ "hpcs_action": action })).await, None);
    }
}

#[tokio::test]
async fn s02_create_passes_with_the_driver_s_defaults() {
    for bench in [seed(), Bench::new()] {
        let reply = bench.ask(&create()).await;
        passes(&reply);
        has_conditions(&reply, &[ON, ON]);
        let request = bench.fake.applied();
        assert!(request.skip_refused_members);
        let one = &request.load_balancers[0];
        assert_eq!(
            (one.id.as_str(), one.listeners[0].protocol.as_str(), one.listeners[0].port),
            ("http", "HTTP", None)
        );
        assert_eq!(one.pools[0].algorithm, "ROUND_ROBIN");
        let members: Vec<_> =
            one.pools[0].members.iter().map(|m| (m.id.as_str(), m.address.as_str(), m.port, m.weight)).collect();
        assert_eq!(members, [("1", "10.0.0.1", 80, 1), ("2", "10.0.0.2", 81, 1)]);
    }
}

#[tokio::test]
async fn s03_names_at_the_top_are_lower_cased() {
    for bench in [seed(), Bench::new()] {
        let reply = bench
            .ask(&json!({ "HPCS_Action": "create", "Nodes": [{ "address": "::1", "port": 80 }], "Protocol": "TCP", "PORT": "25",
                "Algorithm": "least_connections" }))
            .await;
        passes(&reply);
        assert_eq!(reply["algorithm"], "least_connections");
        assert!(reply.get("PORT").is_none());
        let one = &bench.fake.applied().load_balancers[0];
        assert_eq!((one.listeners[0].protocol.as_str(), one.listeners[0].port), ("TCP", Some(25)));
        assert_eq!(one.pools[0].algorithm, "LEAST_CONNECTIONS");
    }
}

#[tokio::test]
async fn s04_create_without_nodes() {
    is_bad_request(&seed().ask(&json!({ "hpcs_action": "CREATE" })).await, "Missing 'nodes' element");
    // An empty list is a load balancer without servers, as in libra's envelope.
    passes(&seed().ask(&json!({ "hpcs_action": "CREATE", "nodes": [] })).await);
}

#[tokio::test]
async fn s04_a_node_without_port_or_address() {
    for name in ["port", "address"] {
        let reply = seed().ask(&remove(create(), &format!("/nodes/1/{name}"))).await;
        is_bad_request(&reply, &format!("Missing '{name}' element."));
    }
}

#[tokio::test]
async fn s05_create_with_an_unknown_algorithm_or_protocol() {
    let mut message = create();
    message["algorithm"] = json!("BOGUS");
    fails(&seed().ask(&message).await, "Invalid algorithm: BOGUS");
    let mut message = create();
    message["protocol"] = json!("gopher");
    fails(&seed().ask(&message).await, "Unsupported protocol: gopher");
}

#[tokio::test]
async fn s07_a_node_that_the_driver_refuses_is_left_out() {
    let bench = seed();
    bench.next_change(Ok(vec![refusing("http", &["1"])]));
    let reply = bench.ask(&create()).await;
    passes(&reply);
    has_conditions(&reply, &[OFF, ON]);
    assert_eq!(bench.fake.names(), ["observe", "apply"]);
}

#[tokio::test]
async fn s07_a_node_that_the_controller_refuses_is_left_out() {
    let bench = seed();
    bench.next_change(Ok(vec![refusing("http", &["3"])]));
    let message = json!({ "hpcs_action": "CREATE", "nodes": [
        { "address": "10.0.0.1", "port": 80 },
        { "address": "10.0.0.2\n  server evil 10.9.9.9:80", "port": 80 },
        { "address": "10.0.0.3", "port": 80 },
        { "address": "10.0.0.4", "port": 80 },
    ]});
    let reply = bench.ask(&message).await;
    passes(&reply);
    has_conditions(&reply, &[ON, OFF, OFF, ON]);
    let sent: Vec<_> =
        bench.fake.applied().load_balancers[0].pools[0].members.iter().map(|member| member.id.clone()).collect();
    assert_eq!(sent, ["1", "3", "4"]);
}

#[tokio::test]
async fn s08_update_is_create() {
    let mut replies = Vec::new();
    for action in ["CREATE", "UPDATE"] {
        let bench = seed();
        let mut message = create();
        message["hpcs_action"] = json!(action);
        let mut reply = bench.ask(&message).await;
        reply["hpcs_action"] = json!("either");
        replies.push((reply, bench.fake.applied().load_balancers));
    }
    assert_eq!(replies[0], replies[1]);
}

#[tokio::test]
async fn s10_an_action_that_the_driver_lacks_fails() {
    let bench = seed();
    *bench.fake.observed.lock().unwrap() = Some(Err(DriverError::not_supported("observe")));
    passes(&bench.ask(&create()).await);
    bench.next_change(Err(DriverError::not_supported("suspend")));
    let reply = bench.ask(&json!({ "hpcs_action": "SUSPEND" })).await;
    fails(&reply, "Selected driver does not support SUSPEND action.");
}

#[tokio::test]
async fn s11_after_a_failure_the_next_message_is_served() {
    let bench = seed();
    bench.next_change(Err(DriverError::internal("fault")));
    let reply = bench.ask(&create()).await;
    fails(&reply, "fault");
    has_conditions(&reply, &[OFF, OFF]);
    bench.next_change(Ok(vec![LoadBalancerResult {
        id: "http".into(),
        error: Some(DriverError::invalid_argument("no such thing")),
        members: Vec::new(),
    }]));
    fails(&bench.ask(&create()).await, "no such thing");
    passes(&bench.ask(&create()).await);
}

#[tokio::test]
async fn suspend_enable_and_delete_pass_in_the_seed_form() {
    for action in ["SUSPEND", "ENABLE", "DELETE"] {
        passes(&seed().ask(&json!({ "hpcs_action": action })).await);
    }
}
