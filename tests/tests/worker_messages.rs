//! The acceptance rows of the worker's messages (`docs/contract/acceptance.md`), through Gearman to the built daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{collections::HashSet, fs, time::Duration};

use capstan_tests::{
    daemon::{HAPROXY, Setup, Site, update},
    free_port,
    gearmand::Gearmand,
    message::{action, load_balancer, node, of, with},
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

fn http() -> Value {
    update(80, &[("1", 8081), ("2", 8082)])
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
fn w02_w05_w07_w08_w11_w13_w23_w28_w38_h04_h05_bug13_bug14_an_update_is_checked_in_order() {
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
                "BUG-14",
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
            (
                "BUG-13",
                with_node("weight", json!(0)),
                Fail(Some("Failure adding server 2: Server 'weight' 0 is below min of 1")),
            ),
            ("BUG-13", with_node("weight", json!(-1)), FailsWith("Failure adding server 2: ")),
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
fn w03_w22_w26_an_update_is_a_row_of_calls_to_a_driver_of_eight() {
    let site = Site::worker("noop", "record = \"@ROOT@/record\"");
    let daemon = site.start();
    let message = with(http(), "/loadBalancers/0/nodes/0/condition", json!("DISABLED"));
    let reply = site.pass(&message);
    let nodes = reply["loadBalancers"][0]["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["condition"] == "ENABLED"), "W26: {reply}");
    assert_eq!(reply["loadBalancers"][0]["name"], "web", "W25");
    let names: Vec<String> = recorded(&site).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["init", "set_protocol", "set_algorithm", "add_server", "add_server", "create"], "W22");
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
        assert!(line.contains(" backup"), "W37, BUG-09: {backup}: {line}");
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

        let [created, updated] = ["CREATE", "UPDATE"].map(|name| {
            fs::write(site.path().join("record"), "").unwrap();
            let reply = with(site.pass(&flat(name)), "/hpcs_action", json!("either"));
            (reply, recorded(&site))
        });
        assert_eq!(created, updated, "S08, BUG-46");
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
    assert_eq!(reply["hpcs_response"], "FAIL", "S11, BUG-56: {reply}");
    let nodes = reply["loadBalancers"][0]["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["condition"] == "DISABLED"), "S11: {reply}");
    site.pass(&action("DISCOVER"));
    site.pass(&action("STATS"));
    daemon.stop();

    // A driver of eight calls with hardly more than `create`.
    let site =
        Site::worker("noop", "record = \"@ROOT@/record\"\nlacks = [\"init\", \"suspend\", \"enable\", \"delete\"]");
    let daemon = site.start();
    site.pass(&http());
    let names: Vec<String> = recorded(&site).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["set_protocol", "set_algorithm", "add_server", "add_server", "create"], "S10: init is skipped");
    for name in ["SUSPEND", "ENABLE", "DELETE"] {
        site.fail(&action(name), &format!("Selected driver does not support {name} action."));
    }
    daemon.stop();
}
