//! Payloads that are no message, and values that no appliance may see.

use capstan::worker::Verdict;
use serde_json::{Value, json};

use super::bench::*;

#[tokio::test]
async fn w34_a_payload_that_is_no_message_fails_and_the_next_is_served() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let table: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "no JSON"),
        (b"UPDATE".to_vec(), "no JSON"),
        (b"{\"hpcs_action\": \"UPDATE\"".to_vec(), "no JSON"),
        (b"{} {}".to_vec(), "no JSON"),
        (b"{\"a\": NaN}".to_vec(), "no JSON"),
        (b"{\"a\": 1e999}".to_vec(), "no JSON"),
        (b"{\"a\": \"\xff\"}".to_vec(), "no JSON"),
        (b"{\"a\": \"\\ud800\"}".to_vec(), "no JSON"),
        (b"{\"a\": \"\n\"}".to_vec(), "no JSON"),
        (b"\0".to_vec(), "no JSON"),
        (b"[]".to_vec(), "is a JSON list"),
        (b"null".to_vec(), "is a JSON null"),
        (b"\"UPDATE\"".to_vec(), "is a JSON string"),
        (b"7".to_vec(), "is a JSON number"),
        (nested(65), "deeper than 64"),
        (nested(1_000_000), "deeper than 64"),
        (format!("{{\"a\": {}1{}}}", "{\"b\":".repeat(64), "}".repeat(64)).into_bytes(), "deeper than 64"),
        (vec![b' '; (16 << 20) + 1], "at most 16777216 are read"),
    ];
    let bench = Bench::new();
    for (payload, expected) in table {
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
        match bench.raw(&payload).await {
            Verdict::Failure { reason } => assert!(reason.contains(expected), "{shown:?}: {reason}"),
            Verdict::Reply(_) => panic!("{shown:?} got a reply"),
        }
        passes(&bench.ask(&json!({ "hpcs_action": "DISCOVER" })).await);
    }
}

#[tokio::test]
async fn nesting_up_to_the_limit_is_echoed() {
    let mut deep = json!(1);
    for _ in 0..63 {
        deep = json!([deep]);
    }
    let reply = Bench::new().ask(&json!({ "hpcs_action": "SUSPEND", "deep": deep })).await;
    passes(&reply);
    assert_eq!(reply["deep"], deep);
    let deepest = Bench::with(|settings| settings.max_depth = usize::MAX);
    let mut payload = b"{\"a\":".to_vec();
    payload.extend(b"[".repeat(100_000));
    assert!(matches!(deepest.raw(&payload).await, Verdict::Failure { .. }));
}

#[tokio::test]
async fn the_last_of_two_equal_names_counts() {
    let payload = br#"{"hpcs_action": "BOGUS", "hpcs_action": "DISCOVER"}"#;
    let Verdict::Reply(reply) = Bench::new().raw(payload).await else { panic!("no reply") };
    passes(&serde_json::from_slice(&reply).unwrap());
}

#[tokio::test]
async fn ten_thousand_nodes_are_one_apply() {
    let nodes: Vec<Value> = (0..10_000)
        .map(|id| json!({ "id": id, "address": format!("10.1.{}.{}", id / 250, id % 250), "port": 80 }))
        .collect();
    let bench = Bench::new();
    let reply = bench.ask(&update_with("nodes", json!(nodes))).await;
    passes(&reply);
    assert_eq!(bench.fake.applied().load_balancers[0].pools[0].members.len(), 10_000);
    assert!(conditions(&reply).iter().all(|one| one.as_deref() == ON));
}

/// What real injections were made of.
const HOSTILE: [&str; 12] =
    ["a\nb", "a\r\nb", "a\0b", "a\tb", "a b", "a#b", "a\"b", "a'b", "a\\b", "a\u{7f}b", "a\u{85}b", "a\u{2028}b"];

#[tokio::test]
async fn texts_that_could_reach_an_appliance_are_refused() {
    for text in HOSTILE {
        let monitor =
            |kind: &str, path: &str| json!({ "type": kind, "delay": 5, "timeout": 5, "attempts": 1, "path": path });
        let hostile = [
            update_with("protocol", json!(text)),
            update_with("port", json!(text)),
            update_with("algorithm", json!(text)),
            update_with("monitor", monitor(text, "/")),
            update_with("monitor", monitor("http", text)),
            update_with("monitor", monitor("connect", text)),
            update_with("options", json!({ "client_timeout": text })),
            update_with("options", json!({ "connect_retries": text })),
            update_with_node("id", json!(text)),
            update_with_node("address", json!(text)),
            update_with_node("port", json!(text)),
            update_with_node("weight", json!(text)),
            update_with_node("backup", json!(text)),
        ];
        for message in hostile {
            let bench = Bench::new();
            let reply = bench.ask(&message).await;
            assert_eq!(reply["hpcs_response"], "FAIL", "{message}");
            let told = reply["hpcs_error"].as_str().unwrap();
            assert!(!told.chars().any(char::is_control), "{told:?}");
            assert!(bench.fake.names().is_empty(), "{message} reached the driver");
        }
    }
}

#[tokio::test]
async fn the_name_is_free_text_and_so_are_extra_fields() {
    for text in HOSTILE {
        let mut message = update_with("name", json!(text));
        message[text] = json!(text);
        let bench = Bench::new();
        let reply = bench.ask(&message).await;
        passes(&reply);
        assert_eq!((&reply["loadBalancers"][0]["name"], &reply[text]), (&json!(text), &json!(text)));
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_fail_with_a_text() {
    for message in [
        json!({ "hpcs_action": "UPDATE", "loadBalancers": "http" }),
        json!({ "hpcs_action": "UPDATE", "loadBalancers": { "protocol": "http" } }),
        json!({ "hpcs_action": "UPDATE", "loadBalancers": [7] }),
        update_with("nodes", json!("10.0.0.1")),
        update_with("nodes", json!([7])),
        update_with("protocol", json!(["http"])),
        update_with("monitor", json!("http")),
        update_with("options", json!([30])),
        update_with_node("id", json!(1.5)),
        update_with_node("id", json!({ "$oid": 1 })),
        update_with_node("address", json!(167772161)),
        update_with_node("port", json!([80])),
    ] {
        let bench = Bench::new();
        let reply = bench.ask(&message).await;
        assert_eq!(reply["hpcs_response"], "FAIL", "{message}");
        assert!(reply["hpcs_error"].is_string() && bench.fake.names().is_empty(), "{message}: {reply}");
    }
}

#[tokio::test]
async fn null_counts_as_absent() {
    is_bad_request(&Bench::new().ask(&update_with("nodes", json!(null))).await, "Missing 'nodes' element");
    is_bad_request(&Bench::new().ask(&update_with_node("port", json!(null))).await, "Missing node 'port'");
    for field in ["port", "algorithm", "monitor", "options", "name"] {
        passes(&Bench::new().ask(&update_with(field, json!(null))).await);
    }
}
