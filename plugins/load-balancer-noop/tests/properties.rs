//! Whatever bytes come over the boundary, a driver made with the attribute answers with a body that its host can read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]

#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use capstan_load_balancer_noop as _;
use capstan_plugin_api::{
    DriverError,
    abi::{DriverTable, STATUS_ERROR, STATUS_OK},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use stand_in::{Answer, Driven};

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn driven() -> Driven {
    // SAFETY: the driver's attribute made it.
    Driven::open(unsafe { &*capstan_driver_epoch_1() }, &json!({})).unwrap()
}

/// Success, or an error with a code and a message; never a panic that the guard caught.
fn is_valid((status, body): Answer) -> Result<(), TestCaseError> {
    if status == STATUS_OK {
        return Ok(());
    }
    prop_assert_eq!(status, STATUS_ERROR, "{}", &body);
    let error: DriverError = serde_json::from_value(body).unwrap();
    prop_assert!(!error.code.as_str().is_empty() && !error.message.is_empty() && error.code.as_str() != "internal");
    Ok(())
}

fn method() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(
        &["apply", "validate", "observe", "suspend", "enable", "delete", "status", "archive", "poll", "recover"][..],
    );
    prop_oneof![3 => known.prop_map(|name| name.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(&["HTTP", "ROUND_ROBIN", "10.0.0.1", "enabled"][..]).prop_map(Value::from),
    ];
    const NAMES: &[&str] = &[
        "device",
        "generation",
        "idempotency_key",
        "load_balancers",
        "id",
        "listeners",
        "pools",
        "members",
        "protocol",
        "port",
        "algorithm",
        "address",
        "weight",
        "monitor",
        "persistence",
        "type",
        "token",
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(NAMES), inner, 0..8)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_bytes_get_a_valid_reply(method in method(), body in prop::collection::vec(any::<u8>(), 0..100)) {
        let driven = driven();
        is_valid(driven.invoke_raw(&method, &body))?;
        prop_assert_eq!(driven.health().0, STATUS_OK);
    }

    #[test]
    fn any_parameters_get_a_valid_reply(method in method(), deadline in any::<u64>(), params in anything()) {
        let driven = driven();
        let body = json!({ "deadline_ms": deadline, "request_id": "r", "params": params }).to_string();
        is_valid(driven.invoke_raw(&method, body.as_bytes()))?;
        prop_assert_eq!(driven.health().0, STATUS_OK);
    }
}
