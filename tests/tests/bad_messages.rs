//! Bad messages through Gearman to the built daemon: a failure or a refusal, nothing in HAProxy's configuration, and the next
//! message is served. What is accepted at the edge stands here as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use capstan_tests::{
    daemon::{Setup, Site, update},
    free_port,
    gearman::{self, Outcome},
    gearmand::Gearmand,
    message::{action, load_balancer, of, with},
    wait_for,
    web::{self, WebServer},
};
use serde_json::{Value, json};

#[test]
fn w34_what_is_no_message_fails_and_the_next_is_served() {
    let gearmand = Gearmand::start();
    for job_server in [None, Some(gearmand.port())] {
        let setup = Setup { job_server, worker: "max_message_bytes = 100000\nmax_depth = 20", ..Setup::default() };
        let site = Site::new(setup);
        let daemon = site.start();
        capstan_tests::gearmand::wait_for_worker(site.job_server_port, &site.function);
        let deep = |depth: usize| {
            format!("{{\"hpcs_action\": \"DISCOVER\", \"x\": {}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
        };
        let long = |length: usize| {
            format!("{{\"hpcs_action\": \"DISCOVER\", \"x\": \"{}\"}}", "a".repeat(length)).into_bytes()
        };
        let secret = b"{\"hpcs_object_store_token\": \"s3cr3t-t0k3n\", ".to_vec();
        let payloads: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("text", b"UPDATE".to_vec()),
            ("cut off", b"{\"hpcs_action\": \"UPDATE\", ".to_vec()),
            ("cut off with a token", secret),
            ("list", b"[1]".to_vec()),
            ("number", b"7".to_vec()),
            ("null", b"null".to_vec()),
            ("NaN", b"{\"hpcs_action\": \"DISCOVER\", \"x\": NaN}".to_vec()),
            ("beyond a double", b"{\"hpcs_action\": \"DISCOVER\", \"x\": 1e999}".to_vec()),
            ("no UTF-8", b"{\"hpcs_action\": \"DISCOVER\", \"x\": \"\xff\xfe\"}".to_vec()),
            ("lone surrogate", b"{\"hpcs_action\": \"DISCOVER\", \"x\": \"\\ud800\"}".to_vec()),
            ("control characters", b"{\"hpcs_action\": \"DISCOVER\", \"x\": \"a\nb\"}".to_vec()),
            ("two values", b"{\"hpcs_action\": \"DISCOVER\"} {}".to_vec()),
            ("zeros", vec![0; 1000]),
            ("too deep", deep(30)),
            ("far too deep", deep(40_000)),
            ("too long", long(100_001)),
            ("far too long", long(20 << 20)),
        ];
        for (what, payload) in payloads {
            let outcome = site.submit(&payload);
            assert_eq!(outcome, Outcome::Failed, "W34, BUG-06: {what}, embedded: {}", job_server.is_none());
            assert_eq!(site.pass(&action("DISCOVER"))["version"], env!("CARGO_PKG_VERSION"), "after {what}");
        }
        assert!(matches!(site.submit(&deep(10)), Outcome::Complete(_)), "not too deep");
        assert!(matches!(site.submit(&long(90_000)), Outcome::Complete(_)), "not too long");
        let log = site.log();
        assert!(!log.contains("s3cr3t"), "a broken message's token is in the log");
        for why in ["no JSON", "a message is an object", "worker.max_depth"] {
            assert!(log.contains(why), "the log does not say {why:?}:\n{log}");
        }

        // The same through the foreign tool.
        let port = site.job_server_port;
        let failed = gearman::tool(port, &["-f", &site.function], b"{ no JSON");
        assert!(!failed.status.success(), "{failed:?}");
        let served = gearman::tool(port, &["-f", &site.function, "-u", "tool-1"], b"{\"hpcs_action\": \"DISCOVER\"}");
        assert!(served.status.success(), "{served:?}");
        let reply: Value = serde_json::from_slice(&served.stdout).unwrap();
        assert_eq!(reply["hpcs_response"], "PASS");
        daemon.stop();
    }
}

/// Texts that end a word, a line or a quotation, or begin a remark, a variable or an escape in haproxy.cfg. Each carries
/// `INJECTED`, so that whatever comes through is seen.
fn evil() -> Vec<String> {
    let mut evil: Vec<String> = [
        "\n    server INJECTED 1.2.3.4:80",
        "\r\n    server INJECTED 1.2.3.4:80",
        "\rINJECTED",
        "a\u{0}INJECTED",
        "a INJECTED",
        "a\tINJECTED",
        "a\u{b}INJECTED",
        "a\u{c}INJECTED",
        "a#INJECTED",
        "#INJECTED",
        "a\"INJECTED\"",
        "a'INJECTED'",
        "a`INJECTED`",
        "a\\INJECTED",
        "a\\\nINJECTED",
        "${INJECTED}",
        "$INJECTED",
        "\"${HOME}INJECTED\"",
        "a\u{85}INJECTED",
        "a\u{2028}INJECTED",
        "a\u{a0}INJECTED",
        "\u{202e}INJECTED",
        "a\u{7f}INJECTED",
        "a\u{1b}[31mINJECTED",
        "INJECTED\nglobal\n    stats socket /tmp/INJECTED level admin",
        "%[env(INJECTED)]",
        "a;INJECTED",
        "a,INJECTED",
        "../../INJECTED",
        "{INJECTED}",
    ]
    .map(str::to_owned)
    .to_vec();
    evil.push(format!("INJECTED{}", "a".repeat(5000)));
    evil
}

/// The lines of a configuration, but for the one that changes with every load.
fn without_marker(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.starts_with("    description ")).map(str::to_owned).collect()
}

#[test]
fn no_text_of_a_message_reaches_haproxys_configuration() {
    let site = Site::haproxy();
    let daemon = site.start();
    let port = free_port();
    let web = WebServer::start("web");
    let mut good = update(port, &[("a", web.port()), ("b", web.port())]);
    good["loadBalancers"][0]["monitor"] =
        json!({ "type": "HTTP", "delay": 30, "timeout": 30, "attempts": 2, "path": "/x" });
    good["loadBalancers"][0]["options"] =
        json!({ "client_timeout": 1000, "server_timeout": 1000, "connect_timeout": 1000, "connect_retries": 1 });
    good["loadBalancers"][0]["algorithm"] = json!("LEAST_CONNECTIONS");
    good["loadBalancers"][0]["nodes"][1]["weight"] = json!(2);
    good["loadBalancers"][0]["nodes"][1]["backup"] = json!("FALSE");
    good["loadBalancers"][0]["nodes"][1]["condition"] = json!("ENABLED");
    site.pass(&good);
    let before = without_marker(&site.haproxy_config());
    // What may hold any text; everything else is refused.
    let free = ["/loadBalancers/0/name", "/loadBalancers/0/nodes/1/condition", "/extra", "/loadBalancers/0/extra"];
    let mut pointers = Vec::new();
    fn leaves(value: &Value, pointer: &str, found: &mut Vec<String>) {
        let inner: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(place, value)| (place.to_string(), value)).collect(),
            _ => return found.push(pointer.to_owned()),
        };
        inner.into_iter().for_each(|(name, value)| leaves(value, &format!("{pointer}/{name}"), found));
    }
    leaves(&good, "", &mut pointers);
    pointers.extend(["/extra".to_owned(), "/loadBalancers/0/extra".to_owned()]);
    assert!(pointers.len() >= 20, "{pointers:?}");
    let mut sent = 0;
    for pointer in &pointers {
        for evil in evil() {
            let message = with(good.clone(), pointer, json!(evil));
            let reply = site.ask(&message);
            let passed = reply["hpcs_response"] == "PASS";
            sent += 1;
            if passed && pointer.ends_with("/path") {
                // What a URL may hold and HAProxy gives no meaning stands in its own line and nowhere else.
                assert!(evil.bytes().all(|byte| byte.is_ascii_alphanumeric() || b";,./{}".contains(&byte)), "{evil:?}");
                let line = format!("    option httpchk GET /{evil}");
                let expected: Vec<String> = before
                    .iter()
                    .map(|old| if old.contains(" httpchk ") { line.clone() } else { old.clone() })
                    .collect();
                assert_eq!(without_marker(&site.haproxy_config()), expected);
                site.pass(&good);
                continue;
            }
            assert_eq!(passed, free.contains(&pointer.as_str()), "{pointer} = {evil:?}: {}", reply["hpcs_error"]);
        }
        assert_eq!(without_marker(&site.haproxy_config()), before, "{pointer}");
    }
    // Names of fields are texts too.
    for evil in evil() {
        let mut message = good.clone();
        message["loadBalancers"][0]["nodes"][0][&evil] = json!(evil);
        site.pass(&message);
    }
    let after = site.haproxy_config();
    assert_eq!(without_marker(&after), before, "after {sent} messages");
    assert!(!after.contains("INJECTED"), "{after}");
    let status = Command::new("haproxy")
        .args(["-c", "-q", "-f"])
        .arg(site.haproxy_state().join("haproxy.cfg"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "haproxy -c takes the file");
    assert_eq!(web::get(port, None).unwrap().body, "web");
    // One line for each message in the log, whatever the message held.
    let broken: Vec<String> =
        site.log().lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).map(str::to_owned).collect();
    assert!(broken.is_empty(), "{broken:?}");
    daemon.stop();
}

#[test]
fn no_text_of_a_flat_message_reaches_haproxys_configuration() {
    let site = Site::haproxy();
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    let good = json!({
        "hpcs_action": "CREATE", "protocol": "HTTP", "port": port, "algorithm": "ROUND_ROBIN",
        "nodes": [{ "address": "127.0.0.1", "port": web.port() }],
    });
    site.pass(&good);
    let before = without_marker(&site.haproxy_config());
    for evil in evil() {
        for pointer in ["/protocol", "/port", "/algorithm"] {
            let reply = site.ask(&with(good.clone(), pointer, json!(evil)));
            assert_eq!(reply["hpcs_response"], "FAIL", "{pointer} = {evil:?}: {reply}");
        }
        // A refused node is left out, and the others are applied.
        let mut message = good.clone();
        message["nodes"] = json!([
            good["nodes"][0],
            { "address": evil, "port": 80 },
            { "address": "127.0.0.1", "port": evil },
        ]);
        message[&evil] = json!(evil);
        message["nodes"][0][&evil] = json!(evil);
        let reply = site.pass(&message);
        let conditions: Vec<&Value> =
            reply["nodes"].as_array().unwrap().iter().map(|node| &node["condition"]).collect();
        assert_eq!(conditions, ["ENABLED", "DISABLED", "DISABLED"], "{evil:?}: {reply}");
        assert_eq!(without_marker(&site.haproxy_config()), before, "{evil:?}");
    }
    assert!(!site.haproxy_config().contains("INJECTED"));
    assert_eq!(web::get(port, None).unwrap().body, "web");
    daemon.stop();
}

#[test]
fn tokens_without_end_fill_no_memory() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let with_tokens = |tokens: Vec<String>| {
        let tokens: Vec<Value> = tokens.iter().map(|token| json!({ "hpcs_object_store_token": token })).collect();
        with(with(update(80, &[("1", 81)]), "/loadBalancers/0/protocol", json!("* t7")), "/x", json!(tokens))
    };
    // Each would be found in what stands for the one before.
    site.fail(&with_tokens(vec!["*".to_owned(); 40]), "Unsupported protocol: ***** t7");
    // More than any client has: no text at all.
    site.fail(&with_tokens((0..1000).map(|number| format!("t{number}")).collect()), "*****");
    site.pass(&action("DISCOVER"));
    daemon.stop();
}

#[test]
fn bug42_members_by_ipv6_and_by_host_name() {
    let site = Site::haproxy();
    let daemon = site.start();
    let port = free_port();
    let web = WebServer::start("four");
    let six = WebServer::start_on("six", std::net::Ipv6Addr::LOCALHOST.into());
    let with_address = |address: &str, to: u16| {
        of(json!([load_balancer("http", port, json!([{ "id": 1, "address": address, "port": to }]))]))
    };
    for (address, to, body, line) in [
        ("localhost", web.port(), "four", format!("localhost:{}", web.port())),
        ("127.0.0.1", web.port(), "four", format!("127.0.0.1:{}", web.port())),
        ("::1", six.port(), "six", format!("[::1]:{}", six.port())),
        ("[::1]", six.port(), "six", format!("[::1]:{}", six.port())),
        ("0:0:0:0:0:0:0:1", six.port(), "six", format!("[::1]:{}", six.port())),
        ("::ffff:127.0.0.1", web.port(), "four", format!("[::ffff:127.0.0.1]:{}", web.port())),
    ] {
        let reply = site.pass(&with_address(address, to));
        assert_eq!(reply["loadBalancers"][0]["nodes"][0]["address"], address, "echoed as it came");
        let config = site.haproxy_config();
        assert!(config.contains(&format!("server id-1 {line} ")), "{address}: {config}");
        wait_for(address, Duration::from_secs(5), || web::get(port, None).ok().filter(|answer| answer.body == body));
    }
    for address in
        ["::g", "[::1", "1.2.3.4.5", "-a.example", "a..b", "fe80::1%lo", "256.1.1.1", "a_b", "[127.0.0.1]", ""]
    {
        let reply = site.ask(&with_address(address, 80));
        assert_eq!(reply["hpcs_response"], "FAIL", "{address}: {reply}");
        assert!(reply["hpcs_error"].as_str().unwrap().starts_with("Failure adding server 1: "), "{reply}");
    }
    // A name that nobody knows is a member that is down, not a configuration that HAProxy refuses.
    site.pass(&with_address("nowhere.invalid", 80));
    assert_eq!(web::get(port, None).unwrap().status, 503);
    assert_eq!(site.pass(&action("STATS"))["nodes"], json!([{ "id": "1", "status": "DOWN" }]));
    daemon.stop();
}

#[test]
fn ten_thousand_nodes() {
    let site = Site::haproxy();
    let daemon = site.start();
    let port = free_port();
    let web = WebServer::start("web");
    // All but the first are backups, so that the first answers.
    let nodes: Vec<Value> = (0..10_000)
        .map(|number| json!({ "id": number, "address": "127.0.0.1", "port": web.port(), "backup": number > 0 }))
        .collect();
    let mut message = of(json!([load_balancer("tcp", port, Value::Array(nodes))]));
    // A check in a minute and a half: ten thousand at once are no part of the row.
    message["loadBalancers"][0]["monitor"] = json!({ "type": "CONNECT", "delay": 90, "timeout": 90, "attempts": 1 });
    let reply = site.pass(&message);
    let nodes = reply["loadBalancers"][0]["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().filter(|node| node["condition"] == "ENABLED").count(), 10_000);
    assert_eq!(site.haproxy_config().lines().filter(|line| line.starts_with("    server id-")).count(), 10_000);
    assert_eq!(web::get(port, None).unwrap().body, "web");
    assert_eq!(site.pass(&action("STATS"))["nodes"].as_array().unwrap().len(), 10_000);
    site.pass(&action("DELETE"));
    daemon.stop();
}

#[test]
fn numbers_as_text() {
    let site = Site::haproxy();
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    let text = |number: u32| json!(number.to_string());
    site.pass(&of(json!([{
        "protocol": "http", "port": text(port.into()),
        "monitor": { "type": "connect", "delay": "7", "timeout": " 5 ", "attempts": "3" },
        "options": { "client_timeout": "1001", "server_timeout": "1002", "connect_timeout": "1003", "connect_retries": "4" },
        "nodes": [{ "id": "1", "address": "127.0.0.1", "port": text(web.port().into()), "weight": "5" }],
    }])));
    let config = site.haproxy_config();
    for line in [
        "timeout client 1001ms".to_owned(),
        "timeout server 1002ms".to_owned(),
        "timeout connect 1003ms".to_owned(),
        "retries 4".to_owned(),
        "timeout check 5s".to_owned(),
        format!("server id-1 127.0.0.1:{} cookie id-1 weight 5 check inter 7s rise 3 fall 3", web.port()),
    ] {
        assert!(config.lines().any(|found| found.trim() == line), "{line}:\n{config}");
    }
    assert_eq!(web::get(port, None).unwrap().body, "web");
    for (pointer, value) in [
        ("/loadBalancers/0/port", json!("0x50")),
        ("/loadBalancers/0/port", json!("")),
        ("/loadBalancers/0/port", json!("80.5")),
        ("/loadBalancers/0/port", json!(80.5)),
        ("/loadBalancers/0/nodes/0/weight", json!("1e2")),
        ("/loadBalancers/0/nodes/0/port", json!("99999999999999999999")),
    ] {
        let reply = site.ask(&with(update(port, &[("1", web.port())]), pointer, value.clone()));
        assert_eq!(reply["hpcs_response"], "FAIL", "{pointer} = {value}: {reply}");
    }
    daemon.stop();
}

#[test]
fn a_message_leaves_one_line_in_the_log() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let unique = "one-line-in-the-log";
    let mut child = Command::new("gearman")
        .args(["-h", "127.0.0.1", "-p", &site.job_server_port.to_string(), "-f", &site.function, "-u", unique])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(with(update(80, &[("1", 81)]), "/loadBalancers/0/protocol", json!("a\nb")).to_string().as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    daemon.stop();
    let lines: Vec<Value> = site.log_lines().into_iter().filter(|line| line.to_string().contains(unique)).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = lines[0].to_string();
    for part in ["UPDATE", "FAIL", "node-1", "Unsupported protocol"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
