//! The acceptance rows about what is rendered and refused (`docs/contract/haproxy.md`). A test carries its rows' ids.

use capstan_plugin_api::load_balancer::{ApplyRequest, LoadBalancerResult};
use serde_json::{Value, json};

use super::*;
use crate::{
    config::{LogTarget, StatsSocket},
    settings::Settings,
};

fn load_balancer(protocol: &str, port: Option<u16>, members: &Value) -> Value {
    let mut one = json!({
        "id": format!("lb-{protocol}"),
        "listeners": [{ "id": protocol.to_lowercase(), "protocol": protocol }],
        "pools": [{ "id": "pool", "algorithm": "ROUND_ROBIN", "members": members }],
    });
    if let Some(port) = port {
        one["listeners"][0]["port"] = json!(port);
    }
    one
}

fn look(load_balancers: &Value) -> Checked {
    let request: ApplyRequest = serde_json::from_value(json!({
        "device": "lb-1", "generation": 7, "idempotency_key": "k", "load_balancers": load_balancers,
    }))
    .unwrap();
    check(&request, &Settings::default())
}

fn rendering() -> Rendering {
    Rendering {
        log: LogTarget::Socket("/dev/log".into()),
        maxconn: 4096,
        identity: Some(("haproxy".into(), "haproxy".into())),
        socket: StatsSocket { path: "/run/capstan/haproxy/lb-1/admin.sock".into(), user: None, group: None },
        hard_stop_after_s: 1800,
        spare_slots: 2,
    }
}

fn text(load_balancers: &Value) -> String {
    let checked = look(load_balancers);
    assert!(!checked.is_refused(false), "{:?}", checked.results);
    let marker = Marker { device: "lb-1".into(), load: 3, generation: 7, shape: "0123456789abcdef".into() };
    rendering().configuration(&checked.wanted, &Slots::default(), &marker).write().unwrap()
}

fn section<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| *line != head).skip(1).peekable();
    std::iter::from_fn(|| lines.next_if(|line| line.starts_with("    ")).map(str::trim_start)).collect()
}

fn error_of(result: &LoadBalancerResult) -> &str {
    let error = result.error.as_ref().or_else(|| result.members.first().map(|member| &member.error)).unwrap();
    assert_eq!(error.code.as_str(), "invalid_argument");
    &error.message
}

fn refusal(load_balancer: Value) -> String {
    error_of(&look(&json!([load_balancer])).results[0]).to_owned()
}

fn node(id: &str) -> Value {
    json!({ "id": id, "address": "10.0.0.1", "port": 80 })
}

#[test]
fn h01_nothing_wanted_is_a_file_without_proxies() {
    let text = text(&json!([]));
    assert_eq!(text.lines().filter(|line| !line.starts_with("    ")).collect::<Vec<_>>(), ["global", "defaults"]);
    assert_eq!(
        section(&text, "global"),
        [
            "daemon",
            "log /dev/log local0",
            "maxconn 4096",
            "user haproxy",
            "group haproxy",
            "stats socket /run/capstan/haproxy/lb-1/admin.sock mode 600 level admin expose-fd listeners",
            "hard-stop-after 1800s",
            "description capstan device=lb-1 load=3 generation=7 shape=0123456789abcdef",
        ]
    );
    assert_eq!(section(&text, "defaults"), ["log global", "option dontlognull", "option redispatch", "maxconn 50000"]);
    assert!(text.ends_with('\n') && !text.contains('\t'));
}

#[test]
fn h02_h11_h14_h20_h28_http_is_rendered_as_libra_did() {
    let text = text(&json!([load_balancer("HTTP", None, &json!([node("1"), node("2")]))]));
    assert_eq!(
        section(&text, "frontend http-in"),
        ["mode http", "bind 0.0.0.0:80", "timeout client 30000ms", "default_backend http-servers", "option httplog",]
    );
    assert_eq!(
        section(&text, "backend http-servers"),
        [
            "mode http",
            "balance roundrobin",
            "timeout connect 30000ms",
            "timeout server 30000ms",
            "retries 3",
            "cookie SERVERID insert indirect",
            "option httpclose",
            "option forwardfor",
            "server id-1 10.0.0.1:80 cookie id-1 weight 1 check inter 30s",
            "server id-2 10.0.0.1:80 cookie id-2 weight 1 check inter 30s",
            "server slot-1 192.0.2.1:9 cookie slot-1 weight 1 disabled check inter 30s",
            "server slot-2 192.0.2.1:9 cookie slot-2 weight 1 disabled check inter 30s",
        ]
    );
    assert!(!text.contains("stick"));
}

#[test]
fn tcp_sticks_by_source_address() {
    let text = text(&json!([load_balancer("TCP", Some(443), &json!([node("1")]))]));
    assert_eq!(
        section(&text, "backend tcp-servers"),
        [
            "mode tcp",
            "balance roundrobin",
            "timeout connect 30000ms",
            "timeout server 30000ms",
            "retries 3",
            "stick-table type ip size 200k expire 30m",
            "stick store-request src",
            "stick match src",
            "server id-1 10.0.0.1:80 weight 1 check inter 30s",
        ]
    );
    assert!(section(&text, "frontend tcp-in").contains(&"option tcplog"));
}

#[test]
fn h13_galera_is_tcp_without_a_stick_table_and_with_backups() {
    let mut second = node("2");
    second["backup"] = json!(true);
    let text = text(&json!([load_balancer("GALERA", Some(3306), &json!([node("1"), second]))]));
    assert!(section(&text, "frontend tcp-in").contains(&"mode tcp"));
    let backend = section(&text, "backend tcp-servers");
    assert!(backend.contains(&"server id-1 10.0.0.1:80 weight 1 check inter 30s"));
    assert!(backend.contains(&"server id-2 10.0.0.1:80 backup weight 1 check inter 30s"));
    assert!(!text.contains("stick") && !text.contains("cookie"));
}

#[test]
fn h04_an_unknown_protocol_is_refused_as_given() {
    assert_eq!(refusal(load_balancer("tnetennba", Some(99), &json!([]))), "Unsupported protocol: tnetennba");
}

#[test]
fn h05_tcp_and_galera_need_a_port() {
    for protocol in ["TCP", "GALERA", "galera"] {
        assert_eq!(refusal(load_balancer(protocol, None, &json!([]))), "Port is required for this protocol.");
    }
}

#[test]
fn h07_galera_has_one_writer() {
    let text = "Galera protocol does not accept more than one non-backup node";
    let checked = look(&json!([load_balancer("GALERA", Some(3306), &json!([node("1"), node("2")]))]));
    assert_eq!(checked.results[0].members.len(), 1);
    assert_eq!((checked.results[0].members[0].id.as_str(), error_of(&checked.results[0])), ("2", text));
    let mut disabled = node("2");
    disabled["state"] = json!("disabled");
    assert!(!look(&json!([load_balancer("GALERA", Some(3306), &json!([node("1"), disabled]))])).is_refused(false));
}

#[test]
fn h08_algorithms() {
    for (algorithm, line) in [("ROUND_ROBIN", "balance roundrobin"), ("LEAST_CONNECTIONS", "balance leastconn")] {
        let mut one = load_balancer("HTTP", None, &json!([]));
        one["pools"][0]["algorithm"] = json!(algorithm);
        assert!(section(&text(&json!([one])), "backend http-servers").contains(&line));
    }
    let mut one = load_balancer("HTTP", None, &json!([]));
    one["pools"][0]["algorithm"] = json!("99");
    assert_eq!(refusal(one), "Invalid algorithm: http");
}

fn monitored(protocol: &str, monitor: &Value) -> Value {
    let mut one = load_balancer(protocol, Some(80), &json!([node("1")]));
    one["pools"][0]["monitor"] = monitor.clone();
    one
}

#[test]
fn h16_a_connect_monitor_asks_for_nothing() {
    let monitor =
        json!({ "type": "Connect", "delay_s": 60, "timeout_s": 20, "rise": 2, "fall": 3, "path": "/ignored" });
    let text = text(&json!([monitored("HTTP", &monitor)]));
    let backend = section(&text, "backend http-servers");
    assert!(!text.contains("httpchk") && backend.contains(&"timeout check 20s"));
    assert!(backend.contains(&"server id-1 10.0.0.1:80 cookie id-1 weight 1 check inter 60s rise 2 fall 3"));
}

#[test]
fn h17_the_path_of_an_http_monitor_begins_with_a_slash() {
    for (path, line) in [(json!(null), "/"), (json!(""), "/"), (json!("up?a=1"), "/up?a=1"), (json!("/x"), "/x")] {
        let monitor = json!({ "type": "http", "delay_s": 30, "timeout_s": 30, "rise": 2, "fall": 2, "path": path });
        for protocol in ["HTTP", "TCP"] {
            let text = text(&json!([monitored(protocol, &monitor)]));
            assert!(text.contains(&format!("    option httpchk GET {line}\n    timeout check 30s\n")), "{text}");
        }
    }
}

#[test]
fn h19_a_check_may_not_take_longer_than_the_pause() {
    let monitor = |kind: &str, delay: u32, timeout: u32, rise: u32| json!({ "type": kind, "delay_s": delay, "timeout_s": timeout, "rise": rise, "fall": 2 });
    assert_eq!(refusal(monitored("HTTP", &monitor("HTTP", 30, 31, 2))), "Timeout cannot be greater than delay");
    assert!(!look(&json!([monitored("HTTP", &monitor("HTTP", 30, 30, 2))])).is_refused(false));
    assert_eq!(refusal(monitored("HTTP", &monitor("PING", 30, 30, 2))), "Invalid monitor type: PING");
    for (delay, timeout, rise) in [(0, 0, 2), (30, 0, 2), (30, 30, 0), (u32::MAX, 30, 2)] {
        assert!(refusal(monitored("HTTP", &monitor("HTTP", delay, timeout, rise))).starts_with("Monitor '"));
    }
}

#[test]
fn h25_ids_with_dashes_are_names() {
    let text = text(&json!([load_balancer("HTTP", None, &json!([node("a-b")]))]));
    assert!(text.contains("server id-a-b 10.0.0.1:80 cookie id-a-b "));
}

#[test]
fn h29_members_keep_their_order() {
    let ids = ["z", "a", "m", "0"];
    let text = text(&json!([load_balancer("TCP", Some(1), &json!(ids.map(node)))]));
    let servers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    server id-")).collect();
    assert_eq!(servers.iter().map(|line| &line[..1]).collect::<Vec<_>>(), ids);
}

#[test]
fn weights_are_within_haproxys_bounds() {
    for (weight, message) in
        [(300, "Server 'weight' 300 exceeds max of 256"), (0, "Server 'weight' 0 is below min of 1")]
    {
        let mut one = node("1");
        one["weight"] = json!(weight);
        assert_eq!(refusal(load_balancer("HTTP", None, &json!([one]))), message);
    }
}

#[test]
fn a_protocol_is_defined_once_and_tcp_and_galera_exclude_each_other() {
    let twice = look(&json!([load_balancer("HTTP", Some(80), &json!([])), {
        "id": "other", "listeners": [{ "id": "http", "protocol": "HTTP", "port": 81 }],
    }]));
    assert!(twice.results[0].error.is_none());
    assert_eq!(error_of(&twice.results[1]), "Protocol 'http' is already defined.");
    // BUG-14: both would be `tcp-in`.
    let both =
        look(&json!([load_balancer("TCP", Some(443), &json!([])), load_balancer("GALERA", Some(3306), &json!([]))]));
    assert_eq!(
        error_of(&both.results[1]),
        "Protocols 'tcp' and 'galera' cannot share a device: both are served as tcp"
    );
}

#[test]
fn other_listeners_are_named_after_their_ids() {
    let text = text(&json!([{
        "id": "lb",
        "listeners": [
            { "id": "shop", "protocol": "HTTP", "port": 8080, "address": "2001:db8::1", "connection_limit": 100,
              "client_timeout_ms": 0, "default_pool": "p" },
            { "id": "db", "protocol": "TCP", "port": 5432, "address": "2001:db8::1", "default_pool": "p" },
            { "id": "db2", "protocol": "TCP", "port": 5433, "client_timeout_ms": 1500, "default_pool": "q" },
        ],
        "pools": [
            { "id": "p", "algorithm": "ROUND_ROBIN", "persistence": { "type": "source_ip", "expire_s": 90 },
              "timeouts": { "connect_ms": 1, "server_ms": 2, "retries": 0 },
              "members": [
                  { "id": "v6", "address": "2001:db8::2", "port": 80, "weight": 256, "backup": true },
                  { "id": "name", "address": "db.example.org", "port": 80, "state": "drain" },
                  { "id": "off", "address": "10.0.0.3", "port": 80, "state": "disabled" },
              ] },
            { "id": "q", "algorithm": "LEAST_CONNECTIONS", "persistence": { "type": "none" } },
        ],
    }]));
    assert_eq!(
        section(&text, "frontend http-shop-in"),
        [
            "mode http",
            "bind [2001:db8::1]:8080",
            "timeout client 30000ms",
            "maxconn 100",
            "default_backend http-shop-servers",
            "option httplog",
        ]
    );
    let backend = section(&text, "backend http-shop-servers");
    assert_eq!(
        backend[2..],
        [
            "timeout connect 1ms",
            "timeout server 2ms",
            "retries 0",
            "option httpclose",
            "option forwardfor",
            "stick-table type ipv6 size 200k expire 90s",
            "stick store-request src",
            "stick match src",
            "server id-v6 [2001:db8::2]:80 backup weight 256 check inter 30s",
            "server id-name db.example.org:80 weight 0 init-addr libc,none check inter 30s",
            "server id-off 10.0.0.3:80 weight 1 disabled check inter 30s",
        ]
    );
    assert_eq!(section(&text, "backend tcp-db-servers")[5..8], backend[7..10]);
    assert!(!section(&text, "backend tcp-db2-servers").iter().any(|line| line.starts_with("stick")));
    assert!(section(&text, "frontend tcp-db2-in").contains(&"timeout client 1500ms"));
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let with = |pointer: &str, value: Value| {
        let mut one = load_balancer("HTTP", Some(80), &json!([node("1"), node("2")]));
        one["listeners"][0]["default_pool"] = json!("pool");
        one["pools"][0]["persistence"] = json!({ "type": "none" });
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        one.pointer_mut(parent).unwrap()[key] = value;
        refusal(one)
    };
    for (pointer, value, message) in [
        ("/pools/0/members/1/id", 0, "Node '1' is already defined."),
        (
            "/pools/0/members/1/address",
            0,
            "Node \"2\" has the address \"1.2.3\"; an IPv4 or IPv6 address or a host name was expected",
        ),
        ("/pools/0/members/1/address", 1, "Node \"2\" has the address 0.0.0.0, which no server can have"),
        ("/pools/0/members/1/port", 2, "Node \"2\" has port 0; 1 to 65535 was expected"),
        ("/listeners/0/port", 2, "Port 0 cannot be used; 1 to 65535 was expected"),
        ("/listeners/0/default_pool", 3, "Listener 'http' names the pool \"x\", which is not there"),
        ("/listeners/0/client_timeout_ms", 4, "The client timeout 4294967295 exceeds max of 2147483647"),
        (
            "/listeners/0/connection_limit",
            2,
            "A connection limit of 0 would let nobody in; suspend the load balancer instead",
        ),
        ("/pools/0/persistence", 5, "A source address cannot be remembered for 0 seconds"),
    ] {
        let values = [
            json!("1"),
            json!("0.0.0.0"),
            json!(0),
            json!("x"),
            json!(u32::MAX),
            json!({ "type": "source_ip", "expire_s": 0 }),
        ];
        let value = if message.contains("1.2.3") { json!("1.2.3") } else { values[value].clone() };
        assert_eq!(with(pointer, value), message, "{pointer}");
    }
    let persistent = |protocol: &str, persistence: Value| {
        let mut one = load_balancer(protocol, Some(80), &json!([]));
        one["pools"][0]["persistence"] = persistence;
        refusal(one)
    };
    let cookie = json!({ "type": "http_cookie", "cookie": "C" });
    assert_eq!(persistent("TCP", cookie.clone()), "A cookie needs the HTTP protocol");
    assert_eq!(persistent("GALERA", cookie), "Galera protocol does not accept persistence");
    let ports = look(&json!([load_balancer("HTTP", Some(80), &json!([])), load_balancer("TCP", Some(80), &json!([]))]));
    assert_eq!(error_of(&ports.results[1]), "Port 80 is already taken by listener 'http'");
}

#[test]
fn refused_members_stop_everything_or_are_left_out() {
    let mut bad = node("2");
    bad["weight"] = json!(300);
    let checked = look(&json!([load_balancer("HTTP", None, &json!([node("1"), bad, node("3")]))]));
    assert!(checked.is_refused(false) && !checked.is_refused(true));
    let ids: Vec<&str> = checked.wanted.services[0].members.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["1", "3"]);
}

#[test]
fn the_shape_changes_with_what_needs_a_reload_and_with_nothing_else() {
    let of = |load_balancers: &Value| shape(&rendering(), &look(load_balancers).wanted).unwrap();
    let base = load_balancer("HTTP", Some(80), &json!([node("1")]));
    let before = of(&json!([base]));
    let mut members = base.clone();
    members["pools"][0]["members"] =
        json!([node("2"), { "id": "3", "address": "::1", "port": 1, "weight": 9, "state": "disabled" }]);
    assert_eq!(of(&json!([members])), before);
    for (pointer, value) in [
        ("/listeners/0/port", json!(81)),
        ("/listeners/0/client_timeout_ms", json!(1)),
        ("/listeners/0/connection_limit", json!(1)),
        ("/pools/0/algorithm", json!("LEAST_CONNECTIONS")),
        ("/pools/0/persistence", json!({ "type": "none" })),
        ("/pools/0/monitor", json!({ "type": "CONNECT", "delay_s": 5, "timeout_s": 5, "rise": 1, "fall": 1 })),
        ("/admin_state", json!("suspended")),
    ] {
        let mut other = base.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        other.pointer_mut(parent).unwrap()[key] = value;
        assert_ne!(of(&json!([other])), before, "{pointer}");
    }
}
