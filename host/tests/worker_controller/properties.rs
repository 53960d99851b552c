//! Whatever comes, there is a reply or a failure, and what reaches the driver is clean.

use capstan::worker::{MessageForm, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bench::*;

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0i64..300).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(
            &["http", "TCP", "galera", "TRUE", "10.0.0.1", "::1", "80", "swift", "CONNECT", "a\nb", "#"][..]
        )
        .prop_map(Value::from),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    const NAMES: &[&str] = &[
        "loadBalancers",
        "nodes",
        "Nodes",
        "protocol",
        "port",
        "algorithm",
        "monitor",
        "options",
        "id",
        "address",
        "weight",
        "backup",
        "type",
        "delay",
        "timeout",
        "attempts",
        "path",
        "client_timeout",
        "connect_retries",
        "hpcs_object_store_type",
        "hpcs_object_store_token",
        "hpcs_object_store_basepath",
        "hpcs_object_store_endpoint",
        "condition",
    ];
    leaf().prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(NAMES), inner.clone(), 0..8)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            prop::collection::btree_map(".{0,6}", inner, 0..3).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// An UPDATE that is nearly right: each value may be anything.
fn nearly() -> impl Strategy<Value = Value> {
    let or_anything = |good: Value| prop_oneof![6 => Just(good), 1 => leaf(), 1 => anything()];
    let node = (
        or_anything(json!(1)),
        or_anything(json!("10.0.0.1")),
        or_anything(json!(80)),
        or_anything(json!(5)),
        or_anything(json!("TRUE")),
    )
        .prop_map(|(id, address, port, weight, backup)| {
            json!({ "id": id, "address": address, "port": port, "weight": weight, "backup": backup })
        });
    let path = prop_oneof![Just("/a".to_owned()), ".{0,8}"];
    let monitor = (or_anything(json!("http")), or_anything(json!(30)), path).prop_map(
        |(kind, delay, path)| json!({ "type": kind, "delay": delay, "timeout": 1, "attempts": 1, "path": path }),
    );
    (
        or_anything(json!("http")),
        or_anything(json!(80)),
        prop::collection::vec(node, 0..3),
        monitor,
        or_anything(json!(5)),
    )
        .prop_map(|(protocol, port, nodes, monitor, timeout)| {
            json!({ "hpcs_action": "UPDATE", "loadBalancers": [{ "protocol": protocol, "port": port, "nodes": nodes,
                "monitor": monitor, "options": { "client_timeout": timeout } }] })
        })
}

fn run(form: MessageForm, payload: &[u8]) -> (Verdict, Bench) {
    let bench = Bench::with(|settings| settings.form = form);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    (runtime.block_on(bench.raw(payload)), bench)
}

fn forms() -> impl Strategy<Value = MessageForm> {
    prop::sample::select(&[MessageForm::Libra, MessageForm::Seed][..])
}

/// What an appliance's configuration could be made of.
fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"'\\`".contains(&byte))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_bytes_get_a_reply_or_a_failure(form in forms(), payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let (verdict, _bench) = run(form, &payload);
        if let Verdict::Reply(reply) = verdict {
            prop_assert!(serde_json::from_slice::<Value>(&reply).unwrap().is_object());
        }
    }

    #[test]
    fn any_json_gets_a_reply_or_a_failure(form in forms(), value in anything(), action in prop::sample::select(
        &["UPDATE", "CREATE", "SUSPEND", "DELETE", "ARCHIVE", "STATS", "METRICS", "DIAGNOSTICS", "DISCOVER", "?"][..],
    )) {
        let mut value = value;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("hpcs_action".into(), json!(action));
        }
        let (verdict, _bench) = run(form, value.to_string().as_bytes());
        match verdict {
            Verdict::Reply(reply) => {
                let reply: Value = serde_json::from_slice(&reply).unwrap();
                let word = reply.get("hpcs_response").and_then(Value::as_str);
                prop_assert!(
                    reply.get("badRequest").is_some() != matches!(word, Some("PASS" | "FAIL")),
                    "{}", reply
                );
            }
            Verdict::Failure { .. } => prop_assert!(!value.is_object()),
        }
    }

    #[test]
    fn what_reaches_the_driver_is_clean(message in nearly()) {
        let (verdict, bench) = run(MessageForm::Libra, message.to_string().as_bytes());
        prop_assert!(matches!(verdict, Verdict::Reply(_)));
        for call in bench.fake.calls() {
            let Recorded::Apply(request) = call else { continue };
            for one in &request.load_balancers {
                prop_assert!(is_clean(&one.id) && one.listeners.iter().all(|listener| is_clean(&listener.protocol)));
                for pool in &one.pools {
                    prop_assert!(is_clean(&pool.algorithm));
                    prop_assert!(pool.monitor.iter().all(|m| is_clean(&m.kind) && m.path.as_deref().is_none_or(is_clean)));
                    prop_assert!(pool.members.iter().all(|m| is_clean(&m.id) && is_clean(&m.address) && m.port > 0));
                }
            }
        }
    }
}
