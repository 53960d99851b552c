//! The acceptance rows of the worker's messages (`docs/contract/worker-messages.md`), through Gearman to the built daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    collections::HashSet,
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use capstan_tests::{
    daemon::{HAPROXY, Setup, Site, update},
    free_port,
    gearman::{self, Outcome},
    gearmand::Gearmand,
    wait_for,
    web::{self, WebServer},
};
use serde_json::{Value, json};

/// What a row expects.
enum Expected {
    Pass,
    /// FAIL, with this text or without any.
    Fail(Option<&'static str>),
    /// FAIL with a text that begins so.
    FailsWith(&'static str),
    BadRequest(&'static str),
}

use Expected::{BadRequest, Fail, FailsWith, Pass};

/// Why a reply is not what its row expects; W38 is checked with every row.
fn fault(message: &Value, reply: &Value, expected: &Expected) -> Option<String> {
    let text = reply["hpcs_error"].as_str();
    let good = match expected {
        Pass => reply["hpcs_response"] == "PASS" && text.is_none(),
        Fail(expected) => reply["hpcs_response"] == "FAIL" && text == *expected,
        FailsWith(begin) => reply["hpcs_response"] == "FAIL" && text.is_some_and(|text| text.starts_with(begin)),
        BadRequest(text) => {
            *reply
                == json!({ "badRequest": {
                    "code": "400",
                    "message": "Validation fault",
                    "details": "The object is not valid",
                    "validationErrors": { "message": text },
                }})
        }
    };
    // What was sent comes back, whatever becomes of it.
    let echoed = matches!(expected, BadRequest(_))
        || message.as_object().unwrap().iter().all(|(name, value)| {
            let lower = name.to_lowercase();
            name == "loadBalancers" || lower == "nodes" || reply[name] == *value || reply[lower] == *value
        });
    (!good || !echoed).then(|| format!("{message}\n    got {reply}"))
}

/// Sends all rows and reports every one that is not as expected by its id.
fn check(site: &Site, rows: &[(&str, Value, Expected)]) {
    let mut faults = Vec::new();
    for (id, message, expected) in rows {
        let reply = site.ask(message);
        faults.extend(fault(message, &reply, expected).map(|fault| format!("  {id}: {fault}")));
    }
    assert!(faults.is_empty(), "{} of {} rows differ\n{}", faults.len(), rows.len(), faults.join("\n"));
}

/// A message with the value at a pointer replaced; null removes it.
fn with(mut message: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = message.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    if value.is_null() {
        parent.as_object_mut().unwrap().remove(name);
    } else {
        parent[name] = value;
    }
    message
}

fn action(name: &str) -> Value {
    json!({ "hpcs_action": name })
}

fn http() -> Value {
    update(80, &[("1", 8081), ("2", 8082)])
}

fn load_balancer(protocol: &str, port: u16, nodes: Value) -> Value {
    json!({ "protocol": protocol, "port": port, "nodes": nodes })
}

fn of(load_balancers: Value) -> Value {
    json!({ "hpcs_action": "UPDATE", "loadBalancers": load_balancers })
}

fn node(id: &str, port: u16) -> Value {
    json!({ "id": id, "address": "127.0.0.1", "port": port })
}

/// What the noop driver wrote down: names and arguments.
fn recorded(site: &Site) -> Vec<(String, Value)> {
    let text = fs::read_to_string(site.path().join("record")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["call"].as_str().unwrap().to_owned(), line["arguments"].clone()))
        .collect()
}

#[test]
fn w01_w04_w14_w19_w20_w25_w35_actions_and_the_envelope() {
    let site = Site::worker("noop", "record = \"@ROOT@/record\"");
    let daemon = site.start();
    check(
        &site,
        &[
            ("W01", action("BOGUS"), Fail(None)),
            ("W04", action("SUSPEND"), Pass),
            ("W04", action("ENABLE"), Pass),
            ("W04", action("DELETE"), Pass),
            ("W19", with(http(), "/hpcs_action", json!("update")), Pass),
            ("W19", action("dIsCoVeR"), Pass),
            ("W20", json!({}), Fail(None)),
            ("W20", json!({ "HPCS_ACTION": "DISCOVER" }), Fail(None)),
            ("W20", json!({ "hpcs_action": null }), Fail(None)),
            ("W20", json!({ "hpcs_action": 7 }), Fail(None)),
            ("W20", json!({ "hpcs_action": ["UPDATE"] }), Fail(None)),
            ("W25", json!({ "hpcs_action": "DISCOVER", "x": [1, { "y": null }], "\u{1F600}": "\u{0}" }), Pass),
            ("W25", json!({ "hpcs_action": "BOGUS", "big": 18446744073709551615_u64 }), Fail(None)),
            ("W35", action("PING"), Fail(None)),
            ("W35", with(http(), "/hpcs_action", json!("CREATE")), Fail(None)),
            ("S10", action("STATS"), Fail(Some("Selected driver does not support STATS action."))),
            ("S10", action("METRICS"), Fail(Some("Selected driver does not support METRICS action."))),
        ],
    );
    let version = env!("CARGO_PKG_VERSION");
    let reply = site.pass(&action("DISCOVER"));
    assert_eq!(
        reply,
        json!({ "hpcs_action": "DISCOVER", "hpcs_response": "PASS", "version": version, "release": version }),
        "W14"
    );
    let calls: Vec<String> = recorded(&site).into_iter().map(|(name, _)| name).collect();
    let before = ["suspend", "enable", "delete"];
    assert_eq!(calls[..3], before, "W04: one call each");
    daemon.stop();
}

#[test]
fn w02_w05_w07_w08_w11_w13_w23_w28_w38_an_update_is_checked_in_order() {
    let site = Site::worker("noop", "record = \"@ROOT@/record\"");
    let daemon = site.start();
    let lb = |protocol: &str, nodes: Value| of(json!([load_balancer(protocol, 443, nodes)]));
    let monitored = |monitor: Value| with(http(), "/loadBalancers/0/monitor", monitor);
    let monitor = json!({ "type": "CONNECT", "delay": 60, "timeout": 30, "attempts": 1, "path": "/healthcheck" });
    let with_monitor = |name: &str, value: Value| monitored(with(monitor.clone(), &format!("/{name}"), value));
    let with_node = |name: &str, value: Value| with(http(), &format!("/loadBalancers/0/nodes/1/{name}"), value);
    let with_options = |options: Value| with(http(), "/loadBalancers/0/options", options);
    check(
        &site,
        &[
            // The order of libra's validation: what comes first in a message that has every fault.
            (
                "W02",
                json!({ "hpcs_action": "UPDATE", "LoAdBaLaNcErS": [] }),
                BadRequest("Missing 'loadBalancers' element"),
            ),
            ("W07", action("UPDATE"), BadRequest("Missing 'loadBalancers' element")),
            ("W08", of(json!([{ "protocol": "bogus" }])), BadRequest("Missing 'nodes' element")),
            ("W08", of(json!([{ "Nodes": [] }])), BadRequest("Missing 'nodes' element")),
            ("W38", of(json!([{ "nodes": [{}] }])), BadRequest("Missing required 'protocol' value.")),
            ("H04", lb("tnetennba", json!([])), Fail(Some("Unsupported protocol: tnetennba"))),
            (
                "H05",
                of(json!([{ "protocol": "tcp", "nodes": [{}] }])),
                Fail(Some("Port is required for this protocol.")),
            ),
            (
                "H05",
                of(json!([{ "protocol": "GALERA", "nodes": [] }])),
                Fail(Some("Port is required for this protocol.")),
            ),
            (
                "W23",
                of(json!([load_balancer("http", 80, json!([])), load_balancer("HTTP", 81, json!([]))])),
                Fail(Some("Protocol 'http' is already defined.")),
            ),
            (
                "W23",
                of(json!([load_balancer("tcp", 80, json!([])), load_balancer("galera", 81, json!([]))])),
                Fail(Some("Protocol 'galera' cannot stand beside 'tcp' on one device.")),
            ),
            (
                "W23",
                of(json!([load_balancer("http", 80, json!([])), load_balancer("tcp", 80, json!([]))])),
                FailsWith("Port 80 "),
            ),
            ("W13", with(http(), "/loadBalancers/0/algorithm", json!("BOGUS")), Fail(Some("Invalid algorithm: BOGUS"))),
            ("W11", with_monitor("type", Value::Null), BadRequest("Missing monitor value 'type'")),
            ("W11", with_monitor("delay", Value::Null), BadRequest("Missing monitor value 'delay'")),
            ("W11", with_monitor("timeout", Value::Null), BadRequest("Missing monitor value 'timeout'")),
            ("W11", with_monitor("attempts", Value::Null), BadRequest("Missing monitor value 'attempts'")),
            ("W11", monitored(json!({})), BadRequest("Missing monitor value 'type'")),
            ("H19", with_monitor("timeout", json!(61)), Fail(Some("Timeout cannot be greater than delay"))),
            ("H17", with_monitor("type", json!("PING")), Fail(Some("Invalid monitor type: PING"))),
            ("H17", with_monitor("delay", json!("x")), Fail(Some("Non-integer 'delay' value: 'x'"))),
            (
                "U08",
                with_options(json!({ "client_timeout": "x" })),
                Fail(Some("Failed to set timeout values: Non-integer 'client_timeout' value: 'x'")),
            ),
            ("U08", with_options(json!({ "connect_retries": -1 })), FailsWith("Failed to set timeout values: ")),
            ("U09", with_node("port", Value::Null), BadRequest("Missing node 'port'")),
            ("U09", with_node("address", Value::Null), BadRequest("Missing node 'address'")),
            ("W05", with_node("id", Value::Null), BadRequest("Missing node 'id'")),
            ("W05", with_node("id", json!("")), BadRequest("Missing node 'id'")),
            ("W05", lb("tcp", json!([{}])), BadRequest("Missing node 'port'")),
            (
                "W28",
                lb("galera", json!([node("1", 1), node("2", 2)])),
                Fail(Some("Failure adding server 2: Galera protocol does not accept more than one non-backup node")),
            ),
            (
                "U10",
                with_node("weight", json!("heavy")),
                Fail(Some("Failure adding server 2: Non-integer 'weight' value: 'heavy'")),
            ),
            (
                "U10",
                with_node("weight", json!(257)),
                Fail(Some("Failure adding server 2: Server 'weight' 257 exceeds max of 256")),
            ),
            ("U10", with_node("weight", json!(0)), FailsWith("Failure adding server 2: ")),
            ("U10", with_node("port", json!(65536)), FailsWith("Failure adding server 2: ")),
            ("U10", with_node("port", json!(0)), FailsWith("Failure adding server 2: ")),
            ("U10", with_node("address", json!("1.2.3")), FailsWith("Failure adding server 2: ")),
            ("U10", with_node("id", json!("1")), FailsWith("Failure adding server 1: ")),
            ("U10", with_node("backup", json!("perhaps")), FailsWith("Failure adding server 2: ")),
            // Values of wrong types are refused, not fatal.
            ("W34", of(json!("all")), FailsWith("'loadBalancers' is a string")),
            ("W34", of(json!([7])), FailsWith("'loadBalancers' entry 1 is a number")),
            ("W34", of(json!([{ "protocol": "http", "nodes": [null] }])), FailsWith("'nodes' entry 1 is a null")),
            ("W34", with_monitor("path", json!({})), FailsWith("")),
        ],
    );
    // The node at fault is named, the others stay as they came.
    let reply = site.ask(&with_node("port", json!(0)));
    let nodes = &reply["loadBalancers"][0]["nodes"];
    assert_eq!((&nodes[0]["condition"], &nodes[1]["condition"]), (&Value::Null, &json!("DISABLED")), "{reply}");
    assert_eq!(recorded(&site), [], "nothing reached the driver");
    daemon.stop();
}

#[test]
fn w03_w10_w26_w37_updates_that_pass_on_a_driver_of_eight_calls() {
    let site = Site::worker("noop", "record = \"@ROOT@/record\"");
    let daemon = site.start();
    let message = with(http(), "/loadBalancers/0/nodes/0/condition", json!("DISABLED"));
    let reply = site.pass(&message);
    let nodes = reply["loadBalancers"][0]["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["condition"] == "ENABLED"), "W26: {reply}");
    assert_eq!(reply["loadBalancers"][0]["name"], "web", "W25");
    let names: Vec<String> = recorded(&site).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().filter(|name| *name == "create").count(), 1, "W22: created once: {names:?}");
    assert_eq!((names.first().map(String::as_str), names.last().map(String::as_str)), (Some("init"), Some("create")));
    let servers: Vec<Value> =
        recorded(&site).into_iter().filter(|(name, _)| name == "add_server").map(|(_, server)| server).collect();
    assert_eq!(servers.len(), 2);
    assert_eq!(
        (&servers[0]["host"], &servers[0]["port"], &servers[1]["port"]),
        (&json!("127.0.0.1"), &json!(8081), &json!(8082))
    );
    daemon.stop();
}

#[test]
fn w03_w10_w22_w26_w37_updates_that_pass_on_haproxy() {
    let site = Site::haproxy();
    let daemon = site.start();
    let [web_port, tcp_port] = [free_port(), free_port()];
    let [a, b] = ["a", "b"].map(WebServer::start);
    let both = update(web_port, &[("a", a.port()), ("b", b.port())]);
    site.pass(&both);
    let seen: HashSet<String> = (0..4).map(|_| web::get(web_port, None).unwrap().body).collect();
    assert_eq!(seen.len(), 2, "W03: both answer");

    let monitor = json!({ "type": "CONNECT", "delay": 60, "timeout": 30, "attempts": 1, "path": "/healthcheck" });
    site.pass(&with(both.clone(), "/loadBalancers/0/monitor", monitor));
    assert!(site.haproxy_config().contains("check inter 60s rise 1 fall 1"), "W10: {}", site.haproxy_config());

    for backup in [json!(true), json!("TRUE"), json!("true")] {
        let reply = site.pass(&with(both.clone(), "/loadBalancers/0/nodes/1/backup", backup.clone()));
        assert_eq!(reply["loadBalancers"][0]["nodes"][1]["backup"], backup, "W25");
        let line = site.haproxy_config().lines().find(|line| line.contains("server id-b ")).unwrap().to_owned();
        assert!(line.contains(" backup"), "W37: {backup}: {line}");
    }

    let two = of(json!([
        load_balancer("http", web_port, json!([node("a", a.port())])),
        load_balancer("tcp", tcp_port, json!([node("b", b.port())])),
    ]));
    let reply = site.pass(&two);
    let conditions: Vec<&Value> = (0..2).map(|index| &reply["loadBalancers"][index]["nodes"][0]["condition"]).collect();
    assert_eq!(conditions, ["ENABLED", "ENABLED"], "W26");
    assert_eq!([web_port, tcp_port].map(|port| web::get(port, None).unwrap().body), ["a", "b"], "W22");

    for (action_name, answers) in [("SUSPEND", false), ("ENABLE", true), ("DELETE", false)] {
        let reply = site.pass(&action(action_name));
        assert_eq!(reply, json!({ "hpcs_action": action_name, "hpcs_response": "PASS" }), "W04");
        assert_eq!(web::get(web_port, None).is_ok(), answers, "W04: after {action_name}");
    }
    assert_eq!(site.haproxy_processes(), Vec::<u32>::new(), "nothing is left of it");
    daemon.stop();
}

#[test]
fn w29_w31_status_of_a_device() {
    let site = Site::haproxy();
    let daemon = site.start();
    for name in ["STATS", "METRICS"] {
        let text = format!("Invalid operation {name} on a deleted LB.");
        let reply = site.fail(&action(name), &text);
        assert_eq!(reply["status"], "DELETED", "W29: {reply}");
    }
    let port = free_port();
    let [a, mut b] = ["a", "b"].map(WebServer::start);
    let monitor = json!({ "type": "HTTP", "delay": 1, "timeout": 1, "attempts": 8, "path": "/" });
    let mut message = with(update(port, &[("web-1", a.port()), ("2", b.port())]), "/loadBalancers/0/monitor", monitor);
    // libra's clients send whole numbers and get texts back.
    message["loadBalancers"][0]["nodes"][1]["id"] = json!(2);
    site.pass(&message);
    let nodes = || site.pass(&action("STATS"))["nodes"].clone();
    let both_up = json!([{ "id": "web-1", "status": "UP" }, { "id": "2", "status": "UP" }]);
    wait_for("both to be UP", Duration::from_secs(10), || (nodes() == both_up).then_some(()));
    b.stop();
    let one_down = json!([{ "id": "web-1", "status": "UP" }, { "id": "2", "status": "DOWN" }]);
    wait_for("the second to be DOWN", Duration::from_secs(10), || (nodes() == one_down).then_some(()));
    let states = site.ask_haproxy("show stat -1 4 -1");
    let state = states.lines().find(|line| line.contains("id-2,")).and_then(|line| line.split(',').nth(17)).unwrap();
    assert!(
        state.starts_with("UP ") && state.ends_with("/8"),
        "W31: it was on its way down when it counted as DOWN: {state}"
    );

    site.pass(&action("SUSPEND"));
    site.fail(&action("STATS"), "HAProxy is not running.");
    site.pass(&action("DELETE"));
    site.fail(&action("STATS"), "Invalid operation STATS on a deleted LB.");
    daemon.stop();
}

#[test]
fn w32_diagnostics_tell_what_can_be_reached() {
    let gearmand = Gearmand::start();
    let nobody = free_port();
    let site = Site::new(Setup { job_server: Some(gearmand.port()), ..Setup::default() });
    let text = fs::read_to_string(site.config()).unwrap();
    let servers = format!("servers = [\"127.0.0.1:{}\", \"localhost:{nobody}\"]", gearmand.port());
    let text = text.replace(&format!("servers = [\"127.0.0.1:{}\"]", gearmand.port()), &servers);
    site.configure(&text);
    let daemon = site.start();
    let expected = |network: &str| {
        json!({
            "hpcs_action": "DIAGNOSTICS", "hpcs_response": "PASS", "network": network,
            "gearman": [{ "host": "127.0.0.1", "status": "PASS" }, { "host": "localhost", "status": "FAIL" }],
        })
    };
    assert_eq!(site.ask(&action("DIAGNOSTICS")), expected("PASS"), "W32: targets default to the job servers");
    daemon.stop();
    let targets = format!("[worker]\ndiagnostics_targets = [\"127.0.0.1:{nobody}\"]\n");
    site.configure(&text.replace("[worker]\n", &targets));
    let daemon = site.start();
    assert_eq!(site.ask(&action("DIAGNOSTICS")), expected("FAIL"), "W32: the target does not answer");
    daemon.stop();
}

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
            assert_eq!(outcome, Outcome::Failed, "{what}, embedded: {}", job_server.is_none());
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

#[test]
fn w15_w16_w17_archive_is_checked_in_order_and_its_token_is_hidden() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    const TOKEN: &str = "s3cr3t-t0k3n-0f-the-tenant";
    let whole = json!({
        "hpcs_action": "ARCHIVE",
        "hpcs_object_store_type": "SwIfT",
        "hpcs_object_store_basepath": "lbaaslogs",
        "hpcs_object_store_endpoint": "https://example.com/v1/1234",
        "hpcs_object_store_token": TOKEN,
        "loadBalancers": [{ "id": "15", "name": "lb", "protocol": "HTTP" }],
    });
    let masked = site.ask(&whole);
    assert_eq!(
        masked,
        {
            let mut expected = with(whole.clone(), "/hpcs_object_store_token", json!("*****"));
            expected["hpcs_response"] = json!("FAIL");
            expected["hpcs_error"] = json!("Selected driver does not support ARCHIVE action.");
            expected
        },
        "S10, W15"
    );
    let without = |field: &str| with(whole.clone(), &format!("/{field}"), Value::Null);
    let mut faults = Vec::new();
    for (id, message, expected) in [
        (
            "W16",
            with(whole.clone(), "/hpcs_object_store_type", json!("bad")),
            BadRequest("'bad' is not a valid store type"),
        ),
        ("W17", without("hpcs_object_store_type"), BadRequest("Missing 'hpcs_object_store_type' element")),
        ("W17", without("hpcs_object_store_basepath"), BadRequest("Missing 'hpcs_object_store_basepath' element")),
        ("W17", without("hpcs_object_store_endpoint"), BadRequest("Missing 'hpcs_object_store_endpoint' element")),
        ("W17", without("hpcs_object_store_token"), BadRequest("Missing 'hpcs_object_store_token' element")),
        ("W17", without("loadBalancers"), BadRequest("Missing 'loadBalancers' element")),
        ("W17", action("ARCHIVE"), BadRequest("Missing 'hpcs_object_store_type' element")),
    ] {
        faults.extend(fault(&message, &site.ask(&message), &expected).map(|fault| format!("  {id}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    // Wherever a token stands, and whatever else goes wrong with the message.
    let hidden = [
        json!({ "hpcs_action": "DISCOVER", "a": [{ "hpcs_object_store_token": TOKEN }] }),
        json!({ "hpcs_action": "BOGUS", "HPCS_Object_Store_Token": { "id": TOKEN, "list": [TOKEN] } }),
        with(whole.clone(), "/hpcs_object_store_token", json!([TOKEN])),
        with(whole.clone(), "/hpcs_object_store_type", json!(TOKEN)),
        with(whole.clone(), "/loadBalancers/0/id", json!(format!("../{TOKEN}"))),
        with(http(), "/hpcs_object_store_token", json!(TOKEN)),
        with(with(http(), "/hpcs_object_store_token", json!(TOKEN)), "/loadBalancers/0/protocol", json!(TOKEN)),
        with(
            with(http(), "/hpcs_object_store_token", json!(TOKEN)),
            "/loadBalancers/0/nodes/0/id",
            json!(format!("a {TOKEN}")),
        ),
        json!({ "hpcs_action": TOKEN, "hpcs_object_store_token": TOKEN }),
    ];
    for message in hidden {
        let reply = site.ask(&message);
        // A value that stands elsewhere too is the client's own doing there; its words about it hide it.
        let told = format!("{} {}", reply["hpcs_error"], reply["badRequest"]);
        assert!(!told.contains(TOKEN), "{message} got {reply}");
        let text = reply.to_string();
        assert!(
            !text.contains(&format!("oken\":\"{TOKEN}")) && !text.contains(&format!("[\"{TOKEN}")),
            "{message} got {reply}"
        );
    }
    daemon.stop();
    assert!(!site.log().contains(TOKEN), "a token is in the log:\n{}", site.log());
    assert!(!site.log().contains("t0k3n"));
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
    let without_marker = |text: String| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("    description ")).map(str::to_owned).collect()
    };
    let before = without_marker(site.haproxy_config());
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
                assert_eq!(without_marker(site.haproxy_config()), expected);
                site.pass(&good);
                continue;
            }
            assert_eq!(passed, free.contains(&pointer.as_str()), "{pointer} = {evil:?}: {}", reply["hpcs_error"]);
        }
        assert_eq!(without_marker(site.haproxy_config()), before, "{pointer}");
    }
    // Names of fields are texts too.
    for evil in evil() {
        let mut message = good.clone();
        message["loadBalancers"][0]["nodes"][0][&evil] = json!(evil);
        site.pass(&message);
    }
    let after = site.haproxy_config();
    assert_eq!(without_marker(after.clone()), before, "after {sent} messages");
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
fn members_by_ipv6_and_by_host_name() {
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
fn s01_s02_s04_s05_s08_the_flat_message_by_shape_and_by_configuration() {
    for worker in ["", "protocol = \"seed\""] {
        let site = Site::new(Setup { driver_config: "record = \"@ROOT@/record\"", worker, ..Setup::default() });
        let daemon = site.start();
        let flat = |action: &str| json!({ "hpcs_action": action, "nodes": [{ "address": "10.0.0.1", "port": 80 }] });
        let mut rows = vec![
            ("S01", flat("BOGUS"), Fail(None)),
            ("S02", flat("CREATE"), Pass),
            ("S03", json!({ "HPCS_Action": "create", "Nodes": [{ "address": "10.0.0.1", "port": "80" }] }), Pass),
            ("S04", with(flat("CREATE"), "/nodes/0/port", Value::Null), BadRequest("Missing 'port' element.")),
            ("S04", with(flat("CREATE"), "/nodes/0/address", Value::Null), BadRequest("Missing 'address' element.")),
            ("S05", with(flat("CREATE"), "/algorithm", json!("BOGUS")), Fail(Some("Invalid algorithm: BOGUS"))),
            ("S05", with(flat("CREATE"), "/protocol", json!("BOGUS")), Fail(Some("Unsupported protocol: BOGUS"))),
            ("S08", flat("UPDATE"), Pass),
        ];
        if worker.is_empty() {
            rows.push(("W35", action("CREATE"), Fail(None)));
        } else {
            rows.push(("S04", action("CREATE"), BadRequest("Missing 'nodes' element")));
            rows.push(("S01", action("STATS"), Fail(None)));
            rows.push(("S01", http(), BadRequest("Missing 'nodes' element")));
        }
        check(&site, &rows);
        let reply = site.ask(&json!({ "HPCS_Action": "create", "Nodes": [] }));
        assert!(reply.get("hpcs_action").is_some() && reply.get("HPCS_Action").is_none(), "S03: {reply}");

        fs::write(site.path().join("record"), "").unwrap();
        let two = json!({ "hpcs_action": "CREATE", "protocol": "HTTP", "port": 8080, "algorithm": "least_connections",
            "nodes": [{ "address": "10.0.0.2", "port": 81 }, { "address": "10.0.0.1", "port": 82 }] });
        let reply = site.pass(&two);
        assert_eq!(reply["nodes"][1]["condition"], "ENABLED", "S02: {reply}");
        let calls = recorded(&site);
        let of = |name: &str| -> Vec<Value> {
            calls.iter().filter(|(found, _)| found == name).map(|(_, arguments)| arguments.clone()).collect()
        };
        let servers: Vec<String> = of("add_server")
            .iter()
            .map(|server| format!("{}:{}", server["host"].as_str().unwrap(), server["port"]))
            .collect();
        assert_eq!(servers, ["10.0.0.2:81", "10.0.0.1:82"], "H29: the order is kept");
        assert_eq!(of("set_algorithm")[0]["algorithm"], "least_connections");
        assert_eq!(of("set_protocol")[0]["port"], 8080);
        assert_eq!((of("init").len(), of("create").len()), (1, 1));

        fs::write(site.path().join("record"), "").unwrap();
        site.pass(&flat("CREATE"));
        let protocol = recorded(&site).into_iter().find(|(name, _)| name == "set_protocol").unwrap().1;
        assert_eq!(
            (&protocol["protocol"], &protocol["port"]),
            (&json!("http"), &Value::Null),
            "H28: the rest is the driver's default"
        );
        daemon.stop();
    }
}

#[test]
fn s07_refused_nodes_of_a_flat_message_are_left_out() {
    let site = Site::new(Setup {
        driver: "haproxy",
        driver_config: HAPROXY,
        worker: "protocol = \"seed\"",
        ..Setup::default()
    });
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    // The first is refused by the worker, the second by the driver: no server has that address.
    for refused in ["not an address", "0.0.0.0"] {
        let reply = site.pass(&json!({ "hpcs_action": "CREATE", "port": port, "nodes": [
            { "address": refused, "port": 80 },
            { "address": "127.0.0.1", "port": web.port() },
        ]}));
        let conditions: Vec<&Value> =
            reply["nodes"].as_array().unwrap().iter().map(|node| &node["condition"]).collect();
        assert_eq!(conditions, ["DISABLED", "ENABLED"], "S07: {reply}");
        assert_eq!(web::get(port, None).unwrap().body, "web", "S07: created all the same");
    }
    let log = site.log();
    assert!(log.contains("nodes left out: 1"), "{log}");
    daemon.stop();
}

#[test]
fn s10_s11_a_driver_that_cannot_and_a_driver_that_fails() {
    let config = r#"invoke = { suspend = "error:not_supported", enable = "error:internal", delete = "panic", apply = "garbage" }"#;
    let site = Site::new(Setup { driver: "bad", driver_config: config, ..Setup::default() });
    let daemon = site.start();
    site.fail(&action("SUSPEND"), "Selected driver does not support SUSPEND action.");
    site.fail(&action("ENABLE"), "an error as configured");
    site.fail(&action("DELETE"), "the driver panicked");
    let reply = site.ask(&http());
    assert_eq!(reply["hpcs_response"], "FAIL", "S11: {reply}");
    let nodes = reply["loadBalancers"][0]["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["condition"] == "DISABLED"), "S11: {reply}");
    site.pass(&action("DISCOVER"));
    site.pass(&action("STATS"));
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
        .write_all(with(http(), "/loadBalancers/0/protocol", json!("a\nb")).to_string().as_bytes())
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
