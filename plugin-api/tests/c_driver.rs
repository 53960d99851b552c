//! The driver in C, built by `cc` from the header, through the same table as any other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test loads a library")]

mod stand_in;

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::Path,
    process::Command,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    Manifest,
    abi::{self, DriverTable, EntryFn, STATUS_ERROR, STATUS_OK},
};
use serde_json::{Value, json};
use stand_in::{Driven, Services};

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// Built once and loaded once.
fn table() -> &'static DriverTable {
    static TABLE: OnceLock<&DriverTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libcapstan_load_balancer_c.so");
        let made = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-shared", "-fPIC", "-O2"])
            .arg("-I")
            .arg(here.join("include"))
            .arg("-o")
            .args([library.as_path(), &here.join("../plugins/examples/c-load-balancer/driver.c")])
            .arg("-pthread")
            .output()
            .expect("cc is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let path = CString::new(library.to_str().unwrap()).unwrap();
        let symbol = CString::new(abi::ENTRY_SYMBOL).unwrap();
        // SAFETY: the library was just built and stays loaded; the symbol is of this type.
        unsafe {
            let handle = dlopen(path.as_ptr(), 2);
            assert!(!handle.is_null(), "{:?}", CStr::from_ptr(dlerror()));
            let entry = dlsym(handle, symbol.as_ptr());
            assert!(!entry.is_null());
            let entry: EntryFn = std::mem::transmute(entry);
            &*entry()
        }
    })
}

fn apply(generation: u64, ids: &[&str]) -> Value {
    let balancers: Vec<_> =
        ids.iter().map(|id| json!({ "id": id, "listeners": [], "pools": [{ "ids": [1.5e3, null, true] }] })).collect();
    json!({ "device": "d", "generation": generation, "idempotency_key": "k", "load_balancers": balancers })
}

fn target(generation: u64, one: Option<&str>) -> Value {
    json!({ "device": "d", "generation": generation, "load_balancer": one })
}

fn observed(driven: &Driven) -> Vec<(String, String)> {
    let answer = driven.ok("observe", &json!({ "device": "d" }));
    let list = answer["load_balancers"].as_array().unwrap();
    list.iter().map(|one| (one["id"].as_str().unwrap().into(), one["state"].as_str().unwrap().into())).collect()
}

#[test]
fn its_manifest_is_one() {
    // SAFETY: the library's own.
    let manifest: Manifest = serde_json::from_slice(unsafe { (table().describe)().as_slice() }).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.kind.as_str()), ("c-example", "load_balancer"));
    assert_eq!(manifest.target, capstan_plugin_api::manifest::TARGET);
    for method in &manifest.methods {
        let driven = Driven::open(table(), &json!({})).unwrap();
        assert_ne!(driven.invoke(method, &apply(1, &[])).1["code"], "not_supported", "{method}");
    }
}

#[test]
fn it_keeps_what_it_is_told() {
    let services = Arc::<Services>::default();
    let driven = Driven::open_with(table(), b"{}", Arc::clone(&services)).unwrap();
    let odd = "a \"b\" \\ \n é 😀";
    let answer = driven.ok("apply", &apply(2, &["one", odd]));
    assert_eq!(answer, json!({ "load_balancers": [{ "id": "one" }, { "id": odd }], "method": "memory" }));
    assert_eq!(driven.ok("apply", &apply(2, &["one", odd])), answer, "applying twice is applying once");
    assert_eq!(driven.code("apply", &apply(1, &[])), "conflict");
    driven.ok("suspend", &target(3, Some(odd)));
    let half = [("one".into(), "running".into()), (odd.into(), "suspended".into())];
    assert_eq!(observed(&driven), half);
    assert_eq!(driven.code("suspend", &target(3, Some("other"))), "not_found");
    assert_eq!(driven.code("enable", &target(2, None)), "conflict");
    assert_eq!(services.logged.lock().unwrap()[0].3, "applied");
    drop(driven);

    let driven = Driven::open_with(table(), b"{}", Arc::clone(&services)).unwrap();
    assert_eq!(observed(&driven), half, "the next instance knows");
    driven.ok("enable", &target(3, None));
    assert_eq!(driven.ok("delete", &target(3, Some("one")))["load_balancers"], json!([{ "id": "one" }]));
    assert_eq!(driven.ok("delete", &target(3, Some("one")))["method"], "unchanged");
    assert_eq!(observed(&driven), [(odd.into(), "running".into())]);
    driven.ok("delete", &target(3, None));
    assert_eq!(observed(&driven), []);
    assert_eq!(driven.health(), (STATUS_OK, json!({ "message": "in memory" })));
    // An id may be escaped in many ways.
    driven.ok("apply", &apply(4, &["é😀"]));
    let escaped =
        br#"{"deadline_ms":1000,"params":{"device":"d","generation":4,"load_balancer":"\u00e9\ud83d\ude00"}}"#;
    assert_eq!(driven.invoke_raw(b"suspend", escaped).0, STATUS_OK);
}

#[test]
fn it_tells_devices_and_load_balancers_apart() {
    let driven = Driven::open(table(), &json!({})).unwrap();
    for method in ["suspend", "enable"] {
        assert_eq!(driven.code(method, &target(1, None)), "not_found", "{method} of nothing");
    }
    driven.ok("apply", &apply(5, &["one", "two"]));
    let one = driven.ok("observe", &json!({ "device": "d", "load_balancer": "two" }));
    assert_eq!(one["load_balancers"], json!([{ "id": "two", "state": "running", "members": [] }]));
    let other = |generation: u64| json!({ "device": "e", "generation": generation, "load_balancers": [] });
    assert_eq!(driven.code("apply", &other(9)), "conflict", "it carries one device");
    assert_eq!(driven.ok("observe", &other(0)), json!({ "generation": 0, "load_balancers": [] }));
    assert_eq!(driven.code("suspend", &other(9)), "not_found");
    assert_eq!(driven.ok("delete", &other(9))["method"], "unchanged");
    assert_eq!(observed(&driven).len(), 2, "the other device is as it was");
    driven.ok("delete", &target(6, None));
    assert_eq!(driven.code("apply", &apply(5, &["one"])), "conflict", "a deleted device knows its generation");
    driven.ok("apply", &other(1));
}

#[test]
fn it_refuses_what_it_cannot_read() {
    let driven = Driven::open(table(), &json!({})).unwrap();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        "",
        "null",
        "[]",
        "{",
        "{}",
        "{\"params\"",
        "{\"params\":}",
        "\u{1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":tru}",
        "{} {}",
        "{\"params\":{\"device\":7}}",
        "{,}",
        "[1,]",
        "\"",
        "\"\\",
        "-",
        "{\"a\":1,}",
        "{\"params\":{\"device\":\"d\",\"generation\":1}}",
        "{\"params\":{\"device\":\"d\",\"generation\":-1,\"load_balancers\":[]}}",
        "{\"params\":{\"device\":\"d\",\"generation\":18446744073709551616,\"load_balancers\":[]}}",
        "{\"params\":{\"device\":\"d\",\"generation\":1,\"load_balancers\":{}}}",
        "{\"params\":{\"device\":\"d\",\"generation\":1,\"load_balancers\":[7]}}",
        "{\"params\":{\"device\":\"d\",\"generation\":1,\"load_balancers\":[{\"id\":\"a\"},{\"id\":\"\\u0061\"}]}}",
        &deep,
    ];
    for body in bodies {
        let (status, error) = driven.invoke_raw(b"apply", body.as_bytes());
        assert_eq!((status, &error["code"]), (STATUS_ERROR, &json!("invalid_argument")), "{body:.80}: {error}");
    }
    assert_eq!(driven.code("validate", &json!({ "device": "d" })), "not_supported");
    assert_eq!(driven.code("", &json!({ "device": "d" })), "not_supported");
    for config in [&b""[..], b"{", b"{\"delay_ms\":\"1\"}"] {
        assert!(Driven::open_with(table(), config, Arc::default()).is_err(), "{config:?}");
    }
}

#[test]
fn cancel_ends_its_wait() {
    let driven = Arc::new(Driven::open(table(), &json!({ "delay_ms": 600_000 })).unwrap());
    let waiting = {
        let driven = Arc::clone(&driven);
        let body = json!({ "deadline_ms": 600_000, "params": apply(1, &["a"]) }).to_string();
        std::thread::spawn(move || driven.invoke_as(500, b"apply", body.as_bytes()))
    };
    // Another call gets through while the first one waits.
    assert_eq!(observed(&driven), []);
    let begin = Instant::now();
    driven.cancel(500);
    assert_eq!(waiting.join().unwrap().1["code"], "cancelled");
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(observed(&driven), [], "nothing was changed");
}

#[test]
fn cancel_does_not_wait_for_the_call_it_is_about() {
    let services = Arc::<Services>::default();
    let driven = Arc::new(Driven::open_with(table(), b"{}", Arc::clone(&services)).unwrap());
    // The host takes its time over the state, and the driver waits for it.
    let state = services.state.lock().unwrap();
    let applying = {
        let driven = Arc::clone(&driven);
        std::thread::spawn(move || driven.invoke("apply", &apply(1, &["a"])))
    };
    while services.asked.load(Ordering::Acquire) < 2 {
        std::thread::yield_now();
    }
    driven.cancel(1);
    drop(state);
    applying.join().unwrap();
}

#[test]
fn sixty_four_calls_at_once_and_two_instances() {
    let (driven, other) =
        (Driven::open(table(), &json!({})).unwrap(), Driven::open(table(), &json!({ "delay_ms": 1 })).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..64_u64 {
            let (driven, other) = (&driven, &other);
            scope.spawn(move || {
                for round in 0..25 {
                    let id = format!("{thread}-{round}");
                    for instance in [driven, other] {
                        let (status, answer) = instance.invoke("apply", &apply(1, &[&id]));
                        assert_eq!(
                            (status, &answer["load_balancers"]),
                            (STATUS_OK, &json!([{ "id": id }])),
                            "{answer}"
                        );
                        assert_eq!(observed(instance).len(), 1);
                    }
                    driven.ok("suspend", &target(1, None));
                    driven.ok("enable", &target(1, None));
                }
            });
        }
    });
}
