//! Drivers as authors wrote them for the first release. They compile against every later one: whoever has to edit a line of
//! the modules below asks the same of every author (docs/compatibility.md).
//!
//! Each uses what its kind offers in the way that the guide promises to keep: literals end with `..Default::default()`,
//! matches on what the crate calls non_exhaustive have an arm for the rest, patterns end with `..`.
#![allow(clippy::unwrap_used, clippy::needless_update, reason = "a test; and an author's literal survives a new field")]
#![allow(unsafe_code, reason = "the test opens the drivers through their tables")]

mod cloud;
mod database;
mod declarative;
mod mgm;
mod queued;
#[path = "../stand_in/mod.rs"]
mod stand_in;

use capstan_plugin_api::{
    CallContext, DriverError, Host, Secret,
    abi::Bytes,
    boundary,
    cloud::{AssignIp, Cloud, FloatingIp, Ip},
    database::{Database, ReplicateFrom},
    dispatch::Interface,
    load_balancer::{ApplyRequest, Declared, LoadBalancer, Member, Pool, Queued, Server, Target},
    manifest::Declaration,
    mgm::{Mgm, NewDevice},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stand_in::Driven;

/// What the compiler sees to by itself, and no golden text shows.
#[test]
fn what_crosses_threads_still_does() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Host>();
    crosses::<CallContext>();
    crosses::<DriverError>();
    crosses::<Secret>();
    crosses::<Declaration>();
}

/// A literal that leaves a field out means what a message without it means.
#[test]
fn a_default_is_what_an_absent_field_is_read_as() {
    fn same<T: Default + Serialize + DeserializeOwned>(least: Value) {
        let read: T = serde_json::from_value(least).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), serde_json::to_value(T::default()).unwrap());
    }
    same::<Member>(json!({ "id": "", "address": "", "port": 0 }));
    same::<Pool>(json!({ "id": "", "algorithm": "" }));
    same::<LoadBalancer>(json!({ "id": "", "listeners": [] }));
    same::<ApplyRequest>(json!({ "device": "", "generation": 0, "idempotency_key": "", "load_balancers": [] }));
    same::<Target>(json!({ "device": "" }));
    same::<NewDevice>(json!({ "name": "", "address": "" }));
    same::<FloatingIp>(json!({ "id": "", "address": "0.0.0.0" }));
    same::<Ip>(json!({ "address": "0.0.0.0" }));
    same::<AssignIp>(json!({ "address": "0.0.0.0", "node": "" }));
    same::<ReplicateFrom>(json!({
        "server": "", "generation": 0, "address": "0.0.0.0", "port": 0, "user": "", "password": "",
    }));
    assert_eq!(Server::default().weight, Member::default().weight);
}

#[test]
fn they_open_and_answer() {
    fn answers<I: Interface>(config: Value, method: &str, params: Value) -> Value {
        unsafe extern "C" fn describe() -> Bytes {
            Bytes::of(b"{}")
        }
        Driven::open(&boundary::table::<I>(describe), &config).unwrap().ok(method, &params)
    }
    let config = json!({ "base-url": "https://cloud.example", "secret": "s", "mode": "careful" });
    assert_eq!(answers::<Cloud<cloud::Acme>>(config, "list_nodes", json!({}))["items"][0]["state"], "running");
    assert_eq!(answers::<Mgm<mgm::Acme>>(json!({ "url": "u" }), "get_url", Value::Null), "u");
    let promote = json!({ "server": "a", "generation": 1, "after": { "gtid": "0-1-2" } });
    assert_eq!(answers::<Database<database::Acme>>(json!({}), "promote", promote)["gtid"], "0-1-2");
    let apply = json!({ "device": "d", "generation": 1, "idempotency_key": "k", "load_balancers": [{
        "id": "a",
        "listeners": [{ "id": "l", "protocol": "HTTP", "port": 80 }],
        "pools": [{ "id": "p", "algorithm": "ROUND_ROBIN", "members": [{ "id": "1", "address": "127.0.0.1", "port": 1 }] }],
    }] });
    let expected = json!([{ "id": "a" }]);
    assert_eq!(answers::<Declared<declarative::Acme>>(json!({}), "apply", apply.clone())["load_balancers"], expected);
    assert_eq!(answers::<Queued<queued::Acme>>(json!({}), "apply", apply)["load_balancers"], expected);
}
