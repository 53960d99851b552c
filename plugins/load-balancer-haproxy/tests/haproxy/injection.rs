//! Texts that try to become directives. What really happened elsewhere: newlines in cipher lists and redirect addresses
//! (CVE-2026-94571, CVE-2026-94572), configuration in annotations and paths (CVE-2025-1974 and its like).

use serde_json::{Value, json};

use crate::support::World;

const PAYLOADS: [&str; 22] = [
    "a\nglobal\n    user root",
    "a\r\n    stats socket /tmp/x",
    "a b",
    "a\tb",
    "a#b",
    "a\"b",
    "a'b",
    "a\\b",
    "a\\ b",
    "a$HOME",
    "a\"${HOME}\"",
    "a;b",
    "a\u{0}b",
    "a\u{1b}[2J",
    "a\u{7f}b",
    "a\u{85}b",
    "a\u{a0}b",
    "a\u{2028}b",
    "a\u{202e}b",
    "a{b}",
    "a`id`",
    "127.0.0.1:80 check\n    http-request lua.run",
];

fn spec() -> Value {
    json!([{
        "id": "lb",
        "name": "a name",
        "listeners": [{ "id": "http", "protocol": "HTTP", "port": 18080, "default_pool": "pool" }],
        "pools": [{
            "id": "pool",
            "algorithm": "ROUND_ROBIN",
            "persistence": { "type": "http_cookie", "cookie": "C" },
            "monitor": { "type": "HTTP", "delay_s": 30, "timeout_s": 30, "rise": 2, "fall": 2, "path": "/" },
            "members": [{ "id": "m", "address": "10.0.0.1", "port": 80 }],
        }],
    }])
}

#[test]
fn no_text_field_lets_a_payload_in() {
    let world = World::new();
    let fields = [
        ("/0/id", false),
        ("/0/listeners/0/id", false),
        ("/0/listeners/0/protocol", false),
        ("/0/listeners/0/default_pool", false),
        ("/0/pools/0/algorithm", false),
        ("/0/pools/0/persistence/cookie", false),
        ("/0/pools/0/monitor/type", false),
        ("/0/pools/0/monitor/path", true),
        ("/0/pools/0/members/0/id", false),
        ("/0/pools/0/members/0/address", false),
    ];
    for (field, is_path) in fields {
        for payload in PAYLOADS {
            if is_path && payload == "a;b" {
                continue; // A path may hold a semicolon, and HAProxy gives it no meaning in its file.
            }
            let mut spec = spec();
            *spec.pointer_mut(field).unwrap() = json!(payload);
            let answer = world.driver.call("validate", &world.request(&spec)).unwrap();
            let result = &answer["load_balancers"][0];
            let refused = result.get("error").or_else(|| result.pointer("/members/0/error"));
            let error = refused.unwrap_or_else(|| panic!("{field} lets {payload:?} in"));
            assert_eq!(error["code"], "invalid_argument", "{field} {payload:?}");
            let message = error["message"].as_str().unwrap();
            if payload.chars().any(char::is_control)
                && !message.starts_with("Unsupported")
                && !message.starts_with("Invalid")
            {
                assert!(!message.chars().any(char::is_control), "{field}: {message:?}");
            }
        }
    }
}

#[test]
fn a_name_for_people_and_a_strange_device_reach_no_file() {
    for payload in PAYLOADS {
        let mut world = World::new();
        world.device = payload.to_owned();
        let mut spec = spec();
        spec[0]["name"] = json!(payload);
        spec[0]["listeners"][0]["port"] = json!(crate::support::free_port());
        world.apply(&spec);
        let state = world.place.path().join("state");
        let entries: Vec<_> = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        let text = std::fs::read_to_string(entries[0].join("haproxy.cfg")).unwrap();
        assert!(!text.contains(payload), "{text}");
        let marker = text.lines().find(|line| line.starts_with("    description ")).unwrap();
        assert!(marker.contains(" device=x-"), "{marker}");
    }
}

#[test]
fn ten_thousand_members_are_one_change() {
    let world = World::new();
    let members: Vec<Value> = (0..10_000)
        .map(|n| json!({ "id": format!("n{n}"), "address": format!("127.1.{}.{}", n / 250, n % 250 + 1), "port": 9 }))
        .collect();
    let mut spec = spec();
    spec[0]["listeners"][0]["port"] = json!(crate::support::free_port());
    spec[0]["pools"][0]["members"] = json!(members);
    spec[0]["pools"][0]["monitor"]["delay_s"] = json!(3600);
    spec[0]["pools"][0]["monitor"]["timeout_s"] = json!(60);
    assert_eq!(world.apply(&spec), "start");
    assert_eq!(world.call("status").unwrap()["members"].as_array().unwrap().len(), 10_000);
    spec[0]["pools"][0]["members"][5000]["weight"] = json!(7);
    assert_eq!(world.apply(&spec), "runtime");
}
