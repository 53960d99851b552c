//! The boundary to a driver, through the table that a shipped driver exports: any method with any body gets a reply that a
//! host can read. A panic ends the target, also one that the guard of an entry would have caught.
#![no_main]
#![allow(unsafe_code, reason = "the target reads an exported symbol")]

#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use capstan_fuzz::Source;
use capstan_load_balancer_noop as _;
use capstan_plugin_api::{
    DriverError,
    abi::{DriverTable, STATUS_ERROR, STATUS_OK},
    load_balancer::{Applied, ApplyRequest},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use stand_in::{Answer, Driven};

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

const METHODS: &[&str] = &[
    "apply",
    "validate",
    "observe",
    "suspend",
    "enable",
    "delete",
    "status",
    "statistics",
    "archive",
    "poll",
    "recover",
    "init",
    "add_server",
    "",
    "apply\0",
];

/// Success with a body, or an error that says what it is.
fn is_valid(method: &[u8], (status, body): &Answer) {
    match *status {
        STATUS_OK => {}
        STATUS_ERROR => {
            let error: DriverError = serde_json::from_value(body.clone()).expect("an error's body is a DriverError");
            assert!(!error.code.as_str().is_empty() && !error.message.is_empty(), "{method:?}: {body}");
            assert_ne!(error.code.as_str(), "internal", "{}: {body}", method.escape_ascii());
        }
        other => panic!("{method:?} answered status {other}: {body}"),
    }
}

fn open(config: &[u8]) -> Result<Driven, Answer> {
    // SAFETY: the driver's attribute made it.
    Driven::open_with(unsafe { &*capstan_driver_epoch_1() }, config, Default::default())
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    if source.byte() >= 250 {
        // `record` names a file that would be written. A list is read as the fields in their order.
        let names_a_file = serde_json::from_slice::<Value>(source.0)
            .is_ok_and(|config| config.get("record").is_some() || config.is_array());
        if !names_a_file && let Err(answer) = open(source.0) {
            is_valid(b"open", &answer);
        }
        return;
    }
    let driven = open(b"{}").expect("the driver opens without a configuration");
    let mut seen = Vec::new();
    // Several calls in one input, for what the first leaves behind.
    let calls = source.below(3);
    for call in 0..=calls {
        let method = match source.byte() {
            0..200 => source.one(METHODS).as_bytes(),
            _ => source.bytes(20),
        };
        let is_raw = source.coin();
        let length = if call == calls { usize::MAX } else { source.number() as usize };
        let given = source.bytes(length);
        let body = match is_raw {
            true => given.to_vec(),
            // A whole envelope, so that the bytes get as far as the parameters.
            false => [&b"{\"deadline_ms\": 60000, \"params\": "[..], given, b"}"].concat(),
        };
        let answer = driven.invoke_raw(method, &body);
        is_valid(method, &answer);
        if method == b"apply" && answer.0 == STATUS_OK {
            let envelope: Value = serde_json::from_slice(&body).expect("what was applied was JSON");
            let request: ApplyRequest = serde_json::from_value(envelope["params"].clone()).expect("and a request");
            let applied: Applied = serde_json::from_value(answer.1.clone()).expect("the answer of apply");
            let ids = |one: Vec<&String>| one.into_iter().cloned().collect::<Vec<_>>();
            assert_eq!(
                ids(applied.load_balancers.iter().map(|one| &one.id).collect()),
                ids(request.load_balancers.iter().map(|one| &one.id).collect()),
                "a result for each load balancer, in their order"
            );
        }
        seen.push(answer.0);
    }
    let device = json!({ "device": "d", "generation": u64::MAX });
    is_valid(b"delete", &driven.invoke("delete", &device));
    assert_eq!(driven.health().0, STATUS_OK, "well after {seen:?}");
});
