//! Drivers of the seed's form behind the adapter, through the exported table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

mod stand_in;

use std::sync::{Arc, Mutex};

use capstan_plugin_api::{
    CallContext, Driver, DriverError, Host, LoadBalancerDriver,
    abi::{DriverTable, STATUS_OK},
    driver,
    load_balancer::{Algorithm, MonitorSettings, Server, TimeoutSettings},
};
use serde_json::{Value, json};
use stand_in::{Driven, Services};

/// Has every call; writes each down through `notify`, and refuses what has the host name `bad` or the protocol `bad`.
struct Recorder {
    host: Host,
    bad: Mutex<()>,
}

impl Recorder {
    fn took(&self, what: String) -> Result<(), DriverError> {
        let _one_at_a_time = self.bad.try_lock().expect("the adapter never runs two calls at once");
        let refused = what.contains("bad");
        self.host.notify("call", &json!(what))?;
        if refused { Err(DriverError::invalid_argument(format!("refused {what}"))) } else { Ok(()) }
    }
}

impl Driver for Recorder {
    type Config = ();

    fn open(_config: (), host: Host) -> Result<Self, DriverError> {
        Ok(Self { host, bad: Mutex::default() })
    }
}

#[driver(name = "recorder")]
impl LoadBalancerDriver for Recorder {
    fn init(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("init".into())
    }
    fn add_server(&self, _call: &CallContext, server: &Server) -> Result<(), DriverError> {
        let Server { protocol, id, host, port, weight, backup } = server;
        self.took(format!("add_server {protocol} {id} {host}:{port} {weight} {backup}"))
    }
    fn set_protocol(&self, _call: &CallContext, protocol: &str, port: Option<u16>) -> Result<(), DriverError> {
        self.took(format!("set_protocol {protocol} {port:?}"))
    }
    fn set_algorithm(&self, _call: &CallContext, protocol: &str, algorithm: Algorithm) -> Result<(), DriverError> {
        self.took(format!("set_algorithm {protocol} {algorithm:?}"))
    }
    fn create(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("create".into())
    }
    fn suspend(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("suspend".into())
    }
    fn enable(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("enable".into())
    }
    fn delete(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("delete".into())?;
        Err(DriverError::not_found("it was gone"))
    }
    fn add_protocol(&self, _call: &CallContext, protocol: &str, port: Option<u16>) -> Result<(), DriverError> {
        self.took(format!("add_protocol {protocol} {port:?}"))
    }
    fn add_monitor(&self, _call: &CallContext, protocol: &str, m: &MonitorSettings) -> Result<(), DriverError> {
        self.took(format!("add_monitor {protocol} {} {} {} {} {}", m.kind, m.delay_s, m.timeout_s, m.attempts, m.path))
    }
    fn set_timeouts(&self, _call: &CallContext, protocol: &str, t: &TimeoutSettings) -> Result<(), DriverError> {
        self.took(format!("set_timeouts {protocol} {} {} {} {}", t.client_ms, t.server_ms, t.connect_ms, t.retries))
    }
}

/// Has the eight calls of the seed and no other.
struct Seed;

impl Driver for Seed {
    type Config = ();

    fn open(_config: (), _host: Host) -> Result<Self, DriverError> {
        Ok(Self)
    }
}

impl LoadBalancerDriver for Seed {
    fn init(&self, _call: &CallContext) -> Result<(), DriverError> {
        // S10: libra skipped what a driver lacks here.
        Err(DriverError::not_supported("init"))
    }
    fn add_server(&self, _call: &CallContext, _server: &Server) -> Result<(), DriverError> {
        Ok(())
    }
    fn set_protocol(&self, _call: &CallContext, _protocol: &str, _port: Option<u16>) -> Result<(), DriverError> {
        Ok(())
    }
    fn set_algorithm(&self, _call: &CallContext, _protocol: &str, _algorithm: Algorithm) -> Result<(), DriverError> {
        Ok(())
    }
    fn create(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn suspend(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn enable(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn delete(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
}

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn recorder(services: &Arc<Services>) -> Driven {
    // SAFETY: the attribute above made it.
    let table = unsafe { &*capstan_driver_epoch_1() };
    Driven::open_with(table, b"{}", Arc::clone(services)).unwrap()
}

fn seed() -> Driven {
    unsafe extern "C" fn describe() -> capstan_plugin_api::abi::Bytes {
        capstan_plugin_api::abi::Bytes::of(b"{}")
    }
    let table = capstan_plugin_api::boundary::table::<capstan_plugin_api::load_balancer::Queued<Seed>>(describe);
    Driven::open(&table, &json!({})).unwrap()
}

/// The calls since the last time.
fn calls(services: &Services) -> Vec<String> {
    let mut called = services.called.lock().unwrap();
    called.drain(..).map(|(_service, params)| params["detail"].as_str().unwrap().to_owned()).collect()
}

fn balancer(id: &str, protocol: &str, hosts: &[&str]) -> Value {
    let members: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(i, host)| json!({ "id": format!("m{i}"), "address": host, "port": 8080 }))
        .collect();
    json!({
        "id": id,
        "listeners": [{ "id": "l", "protocol": protocol, "default_pool": "p" }],
        "pools": [{ "id": "p", "algorithm": "ROUND_ROBIN", "members": members }],
    })
}

fn apply(generation: u64, balancers: Vec<Value>) -> Value {
    json!({ "device": "d", "generation": generation, "idempotency_key": "k", "load_balancers": balancers })
}

fn target(generation: u64) -> Value {
    json!({ "device": "d", "generation": generation })
}

#[test]
fn w22_one_apply_makes_the_calls_in_the_order_of_libra() {
    let services = Arc::default();
    let driven = recorder(&services);
    let mut first = balancer("a", "HTTP", &["10.0.0.1", "10.0.0.2"]);
    first["listeners"][0]["port"] = json!(81);
    first["pools"][0]["algorithm"] = json!("LEAST_CONNECTIONS");
    first["pools"][0]["monitor"] =
        json!({ "type": "HTTP", "delay_s": 30, "timeout_s": 25, "rise": 2, "fall": 2, "path": "/up" });
    first["pools"][0]["timeouts"] = json!({ "connect_ms": 5, "retries": 1 });
    first["pools"][0]["members"][1]["weight"] = json!(7);
    first["pools"][0]["members"][1]["backup"] = json!(true);
    let mut second = balancer("b", "TCP", &["10.0.0.3", "10.0.0.4"]);
    second["listeners"][0]["port"] = json!(443);
    second["pools"][0]["members"][0]["state"] = json!("disabled");

    let answer = driven.ok("apply", &apply(3, vec![first, second]));
    assert_eq!(answer, json!({ "load_balancers": [{ "id": "a" }, { "id": "b" }], "method": "calls" }));
    assert_eq!(
        calls(&services),
        [
            "init",
            "set_protocol http Some(81)",
            "set_algorithm http LeastConnections",
            "add_monitor http http 30 25 2 /up",
            "set_timeouts http 30000 30000 5 1",
            "add_server http m0 10.0.0.1:8080 1 false",
            "add_server http m1 10.0.0.2:8080 7 true",
            "add_protocol tcp Some(443)",
            "set_algorithm tcp RoundRobin",
            "set_timeouts tcp 30000 30000 30000 3",
            "add_server tcp m1 10.0.0.4:8080 1 false",
            "create",
        ]
    );
    driven.ok("suspend", &target(3));
    driven.ok("enable", &target(3));
    driven.ok("delete", &target(3));
    assert_eq!(calls(&services), ["suspend", "enable", "delete"], "at once, and gone already is no error");
}

#[test]
fn what_calls_cannot_say_is_refused_by_name_before_any_call() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 11] = [
        ("any but one listener", |lb| lb["listeners"] = json!([])),
        ("any but one pool", |lb| lb["pools"] = json!([])),
        ("a suspended load balancer", |lb| lb["admin_state"] = json!("suspended")),
        ("default pool is not", |lb| lb["listeners"][0]["default_pool"] = json!("other")),
        ("an address for a listener", |lb| lb["listeners"][0]["address"] = json!("10.0.0.9")),
        ("a connection limit", |lb| lb["listeners"][0]["connection_limit"] = json!(5)),
        ("persistence", |lb| lb["pools"][0]["persistence"] = json!({ "type": "none" })),
        ("rise and fall differ", |lb| {
            lb["pools"][0]["monitor"] =
                json!({ "type": "CONNECT", "delay_s": 30, "timeout_s": 30, "rise": 1, "fall": 2 });
        }),
        ("algorithm \"DICE\"", |lb| lb["pools"][0]["algorithm"] = json!("DICE")),
        ("draining a member", |lb| lb["pools"][0]["members"][0]["state"] = json!("drain")),
        ("two load balancers of protocol http", |lb| lb["listeners"][0]["protocol"] = json!("HTTP")),
    ];
    let services = Arc::default();
    let driven = recorder(&services);
    for (words, change) in cases {
        let mut changed = balancer("b", "TCP", &["10.0.0.1"]);
        change(&mut changed);
        let request = apply(1, vec![balancer("a", "HTTP", &["10.0.0.1"]), changed]);
        let refused = driven.ok("apply", &request);
        assert_eq!(refused["method"], "refused", "{words}");
        let result = &refused["load_balancers"][1];
        let error = if result["members"].is_array() { &result["members"][0]["error"] } else { &result["error"] };
        assert_eq!(error["code"], "not_supported", "{words}: {refused}");
        assert!(error["message"].as_str().unwrap().contains(words), "{words}: {error}");
        assert_eq!(driven.ok("validate", &request)["load_balancers"], refused["load_balancers"], "{words}");
        assert_eq!(calls(&services), Vec::<String>::new(), "{words}");
    }
    assert_eq!(driven.ok("observe", &target(0))["generation"], 0, "nothing was applied");
}

#[test]
fn a_refused_member_stops_the_call_or_is_left_out() {
    let services = Arc::default();
    let driven = recorder(&services);
    let mut request =
        apply(1, vec![balancer("a", "HTTP", &["10.0.0.1", "bad", "10.0.0.3"]), balancer("b", "TCP", &["10.0.0.4"])]);
    let refused = driven.ok("apply", &request);
    assert_eq!(refused["method"], "refused");
    assert_eq!(refused["load_balancers"][0]["members"][0]["id"], "m1");
    assert_eq!(refused["load_balancers"][1]["error"]["code"], "cancelled", "each load balancer has a result");
    let made = calls(&services);
    assert!(made.last().unwrap().contains("bad") && !made.contains(&"create".into()), "{made:?}");

    request["skip_refused_members"] = json!(true);
    let applied = driven.ok("apply", &request);
    assert_eq!(applied["method"], "calls");
    assert_eq!(applied["load_balancers"][0]["members"][0]["error"]["code"], "invalid_argument");
    let made = calls(&services);
    assert_eq!(made.iter().filter(|call| call.starts_with("add_server")).count(), 4);
    assert_eq!(made.last().unwrap(), "create");

    let bad_protocol = apply(2, vec![balancer("a", "BAD", &["10.0.0.1"])]);
    assert_eq!(driven.ok("apply", &bad_protocol)["load_balancers"][0]["error"]["code"], "invalid_argument");
    assert_eq!(driven.ok("observe", &target(0))["generation"], 1, "what ran goes on");
}

#[test]
fn generations_and_state_survive_the_instance() {
    let services = Arc::default();
    let driven = recorder(&services);
    driven.ok("apply", &apply(5, vec![balancer("a", "HTTP", &["10.0.0.1"])]));
    driven.ok("suspend", &target(6));
    drop(driven);

    let driven = recorder(&services);
    let observed = driven.ok("observe", &target(0));
    assert_eq!(
        observed,
        json!({ "generation": 6, "load_balancers": [{ "id": "a", "state": "suspended", "members": [] }] })
    );
    calls(&services);
    assert_eq!(driven.code("apply", &apply(5, vec![])), "conflict");
    assert_eq!(driven.code("enable", &target(5)), "conflict");
    assert_eq!(driven.code("delete", &target(5)), "conflict");
    assert_eq!(calls(&services), Vec::<String>::new());
    driven.ok("apply", &apply(6, vec![balancer("a", "HTTP", &["10.0.0.1"])]));
    assert_eq!(driven.ok("observe", &target(0))["load_balancers"][0]["state"], "running");
}

#[test]
fn one_of_several_and_none_of_them() {
    let services = Arc::default();
    let driven = recorder(&services);
    let of = |id: &str| json!({ "device": "d", "generation": 1, "load_balancer": id });
    driven.ok("apply", &apply(1, vec![balancer("a", "HTTP", &[]), balancer("b", "TCP", &[])]));
    calls(&services);
    assert_eq!(driven.code("suspend", &of("a")), "not_supported");
    assert_eq!(driven.code("suspend", &of("c")), "not_found");
    assert_eq!(driven.ok("delete", &of("c"))["method"], "unchanged");
    assert_eq!(calls(&services), Vec::<String>::new());
    driven.ok("apply", &apply(2, vec![]));
    assert_eq!(calls(&services), ["init", "delete"], "an empty device is a deleted one");
    assert_eq!(driven.ok("observe", &target(0)), json!({ "generation": 2, "load_balancers": [] }));
}

#[test]
fn s10_the_seeds_eight_calls_carry_one_load_balancer() {
    let driven = seed();
    let (status, answer) = driven.invoke("apply", &apply(1, vec![balancer("a", "HTTP", &["10.0.0.1"])]));
    assert_eq!((status, &answer["method"]), (STATUS_OK, &json!("calls")), "{answer}");
    let two = apply(2, vec![balancer("a", "HTTP", &[]), balancer("b", "TCP", &[])]);
    let error = &driven.ok("apply", &two)["load_balancers"][1]["error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("not_supported"), &json!("the driver does not support add_protocol"))
    );
    let mut slow = balancer("a", "HTTP", &[]);
    slow["pools"][0]["timeouts"] = json!({ "server_ms": 1 });
    let error = &driven.ok("apply", &apply(2, vec![slow]))["load_balancers"][0]["error"];
    assert!(
        error["message"].as_str().unwrap().contains("set_timeouts"),
        "a limit that was asked for is not dropped: {error}"
    );
    for optional in ["status", "statistics"] {
        assert_eq!(driven.code(optional, &target(0)), "not_supported");
    }
}
