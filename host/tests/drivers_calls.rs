//! Calls to a loaded driver: answers, deadlines, limits, and what a misbehaving one costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod drivers_support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, DriverState, Kind};
use capstan_plugin_api::{DriverError, ErrorCode};
use drivers_support::{build, entry, eventually, folder, good, manifest, open, open_one, settings};
use serde_json::{Value, json};

fn within(time: Duration) -> CallOptions {
    CallOptions { deadline: Some(time), ..CallOptions::default() }
}

const SOON: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_c_driver_loads_and_answers() {
    let folder = folder();
    let mut entry = entry("good", good(folder.path()));
    entry.config = json!({ "region": "here" });
    let (registry, handle) = open_one(folder.path(), entry).await;

    let echoed: Value = handle.call("echo", &json!({ "a": [1, "ü"] }), CallOptions::default()).await.unwrap();
    assert_eq!(echoed, json!({ "a": [1, "ü"] }));
    let options = CallOptions { request_id: "r-1".into(), ..within(Duration::from_secs(3)) };
    let request: Value = handle.call("request", &(), options).await.unwrap();
    assert_eq!(request["request_id"], "r-1");
    assert!((2900..=3000).contains(&request["deadline_ms"].as_u64().unwrap()), "{request}");
    let config: Value = handle.call("config", &(), CallOptions::default()).await.unwrap();
    assert_eq!(config, json!({ "region": "here" }));
    assert_eq!(handle.health(Duration::from_secs(1)).await.unwrap().message, "fine");

    let unlisted = handle.call::<_, Value>("unlisted", &(), CallOptions::default()).await.unwrap_err();
    assert_eq!(unlisted.code, ErrorCode::NOT_SUPPORTED);

    let info = registry.info(Kind::Cloud, "good").unwrap();
    assert_eq!((info.state, info.version.as_deref(), info.calls), (DriverState::Ready, Some("1.2.3"), 4));
    assert_eq!(info.errors, [("not_supported".to_owned(), 1)].into());
    assert_eq!((info.in_flight, info.queue, info.generation), (0, 0, 1));
    assert!(info.p50.is_some() && info.sha256.unwrap().len() == 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_against_the_contract_are_named() {
    let folder = folder();
    let (registry, handle) = open_one(folder.path(), entry("good", good(folder.path()))).await;
    let ask =
        async |method: &str| handle.call::<_, Value>(method, &json!(null), CallOptions::default()).await.unwrap_err();
    for (method, what) in [
        ("garbage", "expected value"),
        ("unknown_status", "status 7"),
        ("null_body", "a null body of 10 bytes"),
        ("bad_error", "an error that cannot be read"),
        ("huge", "a body of 104857600 bytes, at most 67108864"),
        ("panic", "at x.rs:1"),
    ] {
        let error = ask(method).await;
        assert_eq!(error.code, ErrorCode::INTERNAL, "{method}");
        assert!(error.operator_message.contains(what), "{method}: {error}");
    }
    let null_host = ask("null_host").await;
    assert_eq!(null_host.code, ErrorCode::INVALID_ARGUMENT, "{null_host}");
    let info = registry.info(Kind::Cloud, "good").unwrap();
    assert_eq!((info.panics, info.errors["internal"]), (1, 6));
    // What was asked was wrong, which says nothing of the driver.
    assert!(info.last_error.unwrap().starts_with("panic: internal: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_call_costs_a_thread_and_then_the_driver_is_quarantined() {
    let folder = folder();
    let good = good(folder.path());
    let mut settings = settings(folder.path());
    settings.max_lost = 1;
    settings.cancel_grace = Duration::from_millis(50);
    settings.drivers = vec![entry("bad", &good), entry("other", &good)];
    let registry = capstan::drivers::Registry::open(settings).await.unwrap();
    let bad = registry.handle(Kind::Cloud, "bad").unwrap();
    let other = registry.handle(Kind::Cloud, "other").unwrap();

    let stop = Arc::new(AtomicUsize::new(0));
    let others = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut calls = 0;
            while stop.load(Ordering::Relaxed) == 0 {
                other.call::<_, Value>("echo", &json!(1), CallOptions::default()).await.unwrap();
                calls += 1;
                tokio::task::yield_now().await;
            }
            calls
        }
    });

    for lost in 1..=2 {
        let start = Instant::now();
        let error = bad.call::<_, Value>("sleep", &json!(1500), within(SOON)).await.unwrap_err();
        let took = start.elapsed();
        assert_eq!(error.code, ErrorCode::TIMEOUT, "{error}");
        assert!((150..400).contains(&took.as_millis()), "deadline and grace, not {took:?}");
        assert_eq!(registry.info(Kind::Cloud, "bad").unwrap().lost_threads, lost);
        let cancels: u64 = match lost {
            1 => bad.call("cancels", &(), CallOptions::default()).await.unwrap(),
            _ => 1,
        };
        assert_eq!(cancels, 1, "the driver was told");
    }
    let error = bad.call::<_, Value>("echo", &json!(1), CallOptions::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UNAVAILABLE);
    assert!(error.operator_message.contains("quarantined: 2 of its threads"), "{error}");
    assert_eq!(registry.info(Kind::Cloud, "bad").unwrap().state, DriverState::Quarantined);

    eventually("lost threads are counted back", || registry.info(Kind::Cloud, "bad").unwrap().lost_threads == 0).await;
    let echoed: u64 = bad.call("echo", &json!(7), CallOptions::default()).await.unwrap();
    assert_eq!(echoed, 7);
    assert_eq!(registry.info(Kind::Cloud, "bad").unwrap().state, DriverState::Ready);
    stop.store(1, Ordering::Relaxed);
    assert!(others.await.unwrap() > 1000, "the other driver's calls went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_stops_in_its_grace_costs_nothing() {
    let folder = folder();
    let (registry, handle) = open_one(folder.path(), entry("good", good(folder.path()))).await;
    let start = Instant::now();
    let error = handle.call::<_, Value>("obedient", &(), within(SOON)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TIMEOUT, "{error}");
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
    assert_eq!(registry.info(Kind::Cloud, "good").unwrap().lost_threads, 0);

    // A caller that goes away cancels: the call would else last for an hour.
    let call = handle.call::<_, Value>("obedient", &(), within(Duration::from_secs(3600)));
    assert!(tokio::time::timeout(SOON, call).await.is_err());
    eventually("the call ends", || registry.info(Kind::Cloud, "good").unwrap().in_flight == 0).await;
    assert_eq!(registry.info(Kind::Cloud, "good").unwrap().lost_threads, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_call_whose_caller_went_away_is_written_off_too() {
    let folder = folder();
    let library = build(folder.path(), "c", &manifest(json!({})).to_string(), &["-DHANGING_CANCEL"]);
    let mut settings = settings(folder.path());
    settings.cancel_grace = Duration::from_millis(50);
    settings.drivers = vec![entry("bad", library)];
    let registry = capstan::drivers::Registry::open(settings).await.unwrap();
    let handle = registry.handle(Kind::Cloud, "bad").unwrap();
    for lost in 1..=2 {
        let call = handle.call::<_, Value>("sleep", &3000, within(Duration::from_secs(3600)));
        assert!(tokio::time::timeout(SOON, call).await.is_err());
        eventually("the thread is lost", || registry.info(Kind::Cloud, "bad").unwrap().lost_threads == lost).await;
    }
    assert_eq!(registry.info(Kind::Cloud, "bad").unwrap().in_flight, 0, "the places are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_places_and_queue_a_call_is_refused_at_once() {
    let folder = folder();
    let mut entry = entry("good", good(folder.path()));
    (entry.max_concurrency, entry.max_queue) = (2, 1);
    let (registry, handle) = open_one(folder.path(), entry).await;
    let sleep = || {
        let handle = handle.clone();
        tokio::spawn(async move { handle.call::<_, Value>("sleep", &json!(400), CallOptions::default()).await })
    };
    let mut calls = vec![sleep(), sleep(), sleep()];
    let full = || {
        let info = registry.info(Kind::Cloud, "good").unwrap();
        (info.in_flight, info.queue) == (2, 1)
    };
    eventually("two run and one waits", full).await;
    let start = Instant::now();
    let error = handle.call::<_, Value>("echo", &json!(1), CallOptions::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UNAVAILABLE, "{error}");
    assert!(error.operator_message.contains("max_queue 1"), "{error}");
    assert!(start.elapsed() < SOON);
    for call in calls.drain(..) {
        call.await.unwrap().unwrap();
    }
}

async fn most_at_once(serial_by: &str, keys: [Option<&str>; 2]) -> Duration {
    let folder = folder();
    let library = build(folder.path(), "s", &manifest(json!({ "serial_by": serial_by })).to_string(), &[]);
    let (_registry, handle) = open_one(folder.path(), entry("s", library)).await;
    let start = Instant::now();
    let call = |key: Option<&str>| {
        let options = CallOptions { serial_key: key.map(ToOwned::to_owned), ..CallOptions::default() };
        let handle = handle.clone();
        async move { handle.call::<_, Value>("sleep", &json!(150), options).await.unwrap() }
    };
    tokio::join!(call(keys[0]), call(keys[1]));
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_serial_is() {
    let one_after_the_other = Duration::from_millis(300);
    assert!(most_at_once("instance", [None, None]).await >= one_after_the_other);
    assert!(most_at_once("device", [Some("a"), Some("a")]).await >= one_after_the_other);
    assert!(most_at_once("device", [Some("a"), Some("b")]).await < one_after_the_other);
    assert!(most_at_once("none", [Some("a"), Some("a")]).await < one_after_the_other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_call_is_lost_is_unavailable_and_the_others_are_not() {
    let folder = folder();
    let library = build(folder.path(), "s", &manifest(json!({ "serial_by": "device" })).to_string(), &[]);
    let mut settings = settings(folder.path());
    settings.cancel_grace = Duration::from_millis(20);
    settings.drivers = vec![entry("s", library)];
    let registry = capstan::drivers::Registry::open(settings).await.unwrap();
    let handle = registry.handle(Kind::Cloud, "s").unwrap();
    let about = |device: &str| CallOptions { serial_key: Some(device.into()), ..within(SOON) };
    handle.call::<_, Value>("sleep", &json!(600), about("a")).await.unwrap_err();
    let error = handle.call::<_, Value>("echo", &json!(1), about("a")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UNAVAILABLE, "{error}");
    assert!(error.message.contains("for a ran past its deadline"), "{error}");
    handle.call::<_, Value>("echo", &json!(1), about("b")).await.unwrap();
    eventually("it comes back", || registry.info(Kind::Cloud, "s").unwrap().lost_threads == 0).await;
    handle.call::<_, Value>("echo", &json!(1), about("a")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_work_is_followed_to_its_end_or_its_deadline() {
    let folder = folder();
    let (_registry, handle) = open_one(folder.path(), entry("good", good(folder.path()))).await;
    let seen = Arc::new(AtomicUsize::new(0));
    let options = CallOptions {
        on_pending: Some(Arc::new({
            let seen = Arc::clone(&seen);
            move |_| {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        })),
        ..CallOptions::default()
    };
    let done: String = handle.call("slow_work", &(), options).await.unwrap();
    assert_eq!((done.as_str(), seen.load(Ordering::Relaxed)), ("worked", 3));

    let error: DriverError = handle.call::<_, Value>("endless_work", &(), within(SOON)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TIMEOUT);
    assert!(error.operator_message.contains("its token: "), "{error}");
    eventually_cancelled(&handle, 1).await;
    let call = handle.call::<_, Value>("endless_work", &(), CallOptions::default());
    assert!(tokio::time::timeout(SOON, call).await.is_err());
    eventually_cancelled(&handle, 2).await;
}

async fn eventually_cancelled(handle: &capstan::drivers::DriverHandle, count: u64) {
    for _ in 0..1000 {
        if handle.call::<_, u64>("cancels", &(), CallOptions::default()).await.unwrap() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the driver was not told {count} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn close_waits_for_calls_and_leaves_open_what_does_not_end() {
    let folder = folder();
    let good = good(folder.path());
    let traced = |name: &str| {
        let mut entry = entry(name, &good);
        entry.config = json!({ "closed": folder.path().join(format!("{name}.closed")) });
        entry
    };
    let registry = open(folder.path(), vec![traced("quick"), traced("hung")]).await;
    let call = |name: &str, ms: u64| {
        let handle = registry.handle(Kind::Cloud, name).unwrap();
        tokio::spawn(async move { handle.call::<_, Value>("sleep", &json!(ms), CallOptions::default()).await })
    };
    let (quick, hung) = (call("quick", 200), call("hung", 3000));
    let handle = registry.handle(Kind::Cloud, "quick").unwrap();
    let both = || registry.list().iter().all(|driver| driver.in_flight == 1);
    eventually("both are called", both).await;
    registry.close(Duration::from_millis(600)).await;
    assert_eq!(quick.await.unwrap().unwrap(), json!("slept"), "a call that is out is not cut");
    assert!(folder.path().join("quick.closed").exists());
    assert!(!folder.path().join("hung.closed").exists(), "never while a call is out");
    let error = handle.call::<_, Value>("echo", &json!(1), CallOptions::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UNAVAILABLE, "{error}");
    drop(hung);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_get_their_own_answers() {
    let folder = folder();
    let mut entry = entry("good", good(folder.path()));
    (entry.max_concurrency, entry.max_queue) = (4, 1000);
    let (registry, handle) = open_one(folder.path(), entry).await;
    let callers = (0..64_u64).map(|caller| {
        let handle = handle.clone();
        tokio::spawn(async move {
            for number in 0..50_u64 {
                let given = caller * 1000 + number;
                let got: u64 = handle.call("echo", &given, CallOptions::default()).await.unwrap();
                assert_eq!(got, given);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let info = registry.info(Kind::Cloud, "good").unwrap();
    assert_eq!((info.calls, info.in_flight, info.queue, info.lost_threads), (3200, 0, 0, 0));
}
