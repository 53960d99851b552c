//! The bad driver does what its words say; a suite that relies on it would otherwise pass for the wrong reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test loads a library")]

#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use std::{
    ffi::{CString, c_char, c_int, c_void},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    Manifest,
    abi::{self, DriverTable, EntryFn},
};
use serde_json::{Value, json};
use stand_in::Driven;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("libcapstan_bad_driver.so")
}

fn entry(file: PathBuf) -> *const DriverTable {
    let path = CString::new(file.into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: the library is ours, stays loaded, and the symbol is of this type.
    unsafe {
        let handle = dlopen(path.as_ptr(), 2);
        assert!(!handle.is_null(), "{path:?}");
        let symbol = dlsym(handle, c"capstan_driver_epoch_1".as_ptr());
        std::mem::transmute::<*mut c_void, EntryFn>(symbol)()
    }
}

fn table() -> &'static DriverTable {
    // SAFETY: an unpatched file gives the table.
    unsafe { &*entry(library()) }
}

fn bad(word: &str) -> Driven {
    Driven::open(table(), &json!({ "invoke": word })).unwrap()
}

#[test]
fn words_choose_answers() {
    assert_eq!(bad("good").ok("apply", &json!({ "load_balancers": [{ "id": "a" }] }))["load_balancers"][0]["id"], "a");
    assert_eq!(bad("error:quota_exceeded").code("apply", &json!({})), "quota_exceeded");
    assert_eq!(bad("status:42").invoke("apply", &json!({})).0, 42);
    assert_eq!(bad("panic").invoke("apply", &json!({})).0, abi::STATUS_PANIC);
    assert_eq!(bad("huge:3").ok("apply", &json!({})).as_str().unwrap().len(), 3 << 20);
    assert_eq!(bad("empty").ok("apply", &json!({})), Value::Null);
    assert_eq!(bad("wrong_type").ok("apply", &json!({}))["load_balancers"], 7);
    assert_eq!(bad("no_such_word").code("apply", &json!({})), "invalid_argument");
    let flaky = bad("first:2:error:unavailable");
    // Opening was the first of the two.
    assert_eq!((flaky.code("apply", &json!({})).as_str(), flaky.invoke("apply", &json!({})).0), ("unavailable", 0));
    let asked = bad("good");
    assert_eq!(asked.code("apply", &json!({ "misbehave": "error:conflict" })), "conflict");
    assert_eq!(asked.code("apply", &json!({ "misbehave": "empty+error:conflict" })), "conflict");
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("spoiled");
    for (word, length, byte) in [("overwrite", 9000, 0xcc), ("truncate", 4096, 0xcc)] {
        if word == "overwrite" {
            std::fs::write(&file, [0; 9000]).unwrap();
        }
        asked.ok("apply", &json!({ "misbehave": format!("{word}:{}", file.display()) }));
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!((bytes.len(), bytes[0]), (length, byte), "{word}");
    }
    let (status, pending) = bad("pending:2").invoke("apply", &json!({}));
    assert_eq!((status, &pending["token"]), (abi::STATUS_PENDING, &json!("pending:1")));
}

#[test]
fn entries_and_methods_have_words_of_their_own() {
    let failed = Driven::open(table(), &json!({ "open": "error:auth_failed" })).err().unwrap();
    assert_eq!(failed.1["code"], "auth_failed");
    let driven = Driven::open(
        table(),
        &json!({ "health": "error:unavailable", "close": "sleep:50", "invoke": { "observe": "error:timeout" } }),
    )
    .unwrap();
    assert_eq!(driven.health().1["code"], "unavailable");
    assert_eq!(driven.code("observe", &json!({})), "timeout");
    driven.ok("apply", &json!({}));
    let begin = Instant::now();
    drop(driven);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    let null = std::panic::catch_unwind(|| Driven::open(table(), &json!({ "open": "null_instance" })));
    assert!(null.is_err(), "the stand-in notices the null instance");
}

#[test]
fn a_hang_can_be_cancelled_or_not() {
    let driven = Arc::new(bad("hang_until_cancelled"));
    let waiting = {
        let driven = Arc::clone(&driven);
        std::thread::spawn(move || driven.invoke_as(9, b"apply", b"{}"))
    };
    driven.cancel(9);
    assert_eq!(waiting.join().unwrap().1["code"], "cancelled");
    let begin = Instant::now();
    driven.ok("apply", &json!({ "misbehave": "sleep:40" }));
    assert!(begin.elapsed() >= Duration::from_millis(40));
}

#[test]
fn the_host_is_called_badly() {
    let driven = bad("good");
    driven.ok("apply", &json!({ "misbehave": "log_flood:1000" }));
    assert_eq!(driven.services.logged.lock().unwrap().len(), 1000);
    let answer = driven.ok("apply", &json!({ "misbehave": "host_call:state.get:{\"key\":\"k\"}" }));
    assert_eq!(answer, json!({ "status": 0, "body": null }));
    let before = driven.ok("apply", &json!({ "misbehave": "count_threads" })).as_u64().unwrap();
    driven.ok("apply", &json!({ "misbehave": "spawn_threads:20" }));
    assert!(driven.ok("apply", &json!({ "misbehave": "count_threads" })).as_u64().unwrap() >= before + 10);
}

/// The child of the next test, which does what it is told and should not come to its end.
#[test]
fn child() {
    let Ok(word) = std::env::var("CAPSTAN_BAD_WORD") else { return };
    bad(&word).invoke("apply", &json!({}));
    panic!("{word} came back");
}

#[test]
fn some_words_end_the_process() {
    for (word, signal, code) in [
        ("abort", Some(6), None),
        ("exit:7", None, Some(7)),
        ("segfault", Some(11), None),
        ("stack_overflow", Some(6), None),
        ("panic_uncaught", Some(6), None),
    ] {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact"])
            .env("CAPSTAN_BAD_WORD", word)
            .output()
            .unwrap();
        assert_eq!((ended.status.signal(), ended.status.code()), (signal, code), "{word}");
    }
}

#[test]
fn a_patched_file_exports_a_bad_table() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let original = std::fs::read(library()).unwrap();
    let patched = |word: &str| {
        let mut bytes = original.clone();
        let begin = bytes.windows(18).position(|window| window == b"CAPSTAN-BAD-ENTRY=").unwrap() + 18;
        bytes[begin..begin + 5].copy_from_slice(word.as_bytes());
        let file = folder.join(format!("bad-{word}so"));
        std::fs::write(&file, bytes).unwrap();
        entry(file)
    };
    assert!(patched("null.").is_null());
    // SAFETY: these words give tables.
    unsafe {
        assert_ne!((*patched("magic")).magic, abi::MAGIC);
        assert_eq!((*patched("epoch")).epoch, 7);
        assert_eq!((*patched("size.")).size, 8);
        assert_eq!(((*patched("other")).describe)().as_slice(), b"{\"name\":\"another\"}");
        let manifest: Manifest = serde_json::from_slice((table().describe)().as_slice()).unwrap();
        assert_eq!(manifest.name, "bad");
    }
}
