//! Drivers in a process of their own: the same answers, and what their ends cost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod drivers_support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, DriverEntry, DriverHandle, DriverState, Isolation, Kind, Registry};
use capstan_plugin_api::{ErrorCode, Retry};
use drivers_support::{build, entry, eventually, folder, good, manifest, open, open_one, refused, settings};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

const SOON: Duration = Duration::from_millis(100);

fn within(time: Duration) -> CallOptions {
    CallOptions { deadline: Some(time), ..CallOptions::default() }
}

fn isolated(name: &str, library: impl Into<std::path::PathBuf>) -> DriverEntry {
    DriverEntry { isolation: Isolation::Process, ..entry(name, library) }
}

/// The daemon's child: the keeper.
fn pid(registry: &Registry, name: &str) -> Option<u32> {
    registry.info(Kind::Cloud, name).unwrap().pid
}

/// The keeper and the driver's process below it.
fn processes(keeper: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let below = text.split_whitespace().filter_map(|pid| pid.parse().ok());
    std::iter::once(keeper).chain(below).filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

/// Parameters of the driver's method `host`, which reads them in this order.
fn service(name: &str, body: &str) -> Box<RawValue> {
    RawValue::from_string(format!(r#"{{"service":"{name}","body":{body}}}"#)).unwrap()
}

async fn echo(driver: &DriverHandle) -> Result<Value, capstan_plugin_api::DriverError> {
    driver.call("echo", &json!(1), within(Duration::from_secs(10))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_library_gives_the_same_answers() {
    let folder = folder();
    let library = good(folder.path());
    let mut entries = vec![entry("inside", &library), isolated("outside", &library)];
    for entry in &mut entries {
        entry.config = json!({ "region": "here" });
    }
    let registry = open(folder.path(), entries).await;
    let [inside, outside] = ["inside", "outside"].map(|name| registry.handle(Kind::Cloud, name).unwrap());
    let large = "x".repeat(3 << 20);
    for (method, params) in [
        ("echo", raw(&json!({ "a": [1, "ü"] }))),
        ("echo", raw(&json!(large))),
        ("config", raw(&json!(null))),
        ("host", service("state.put", r#"{"key":"k","value":[1]}"#)),
        ("host", service("state.get", r#"{"key":"k"}"#)),
        ("host", service("state.list", r#"{"prefix":""}"#)),
        ("host", service("telepathy", "{}")),
        ("slow_work", raw(&json!(null))),
        ("panic", raw(&json!(null))),
        ("unknown_status", raw(&json!(null))),
        ("null_body", raw(&json!(null))),
        ("huge", raw(&json!(null))),
    ] {
        let [a, b] = [&inside, &outside].map(|driver| driver.call::<_, Value>(method, &params, CallOptions::default()));
        let (a, b) = (a.await, b.await);
        assert_eq!(a, b, "{method}");
    }
    let options = CallOptions { request_id: "r-1".into(), ..within(Duration::from_secs(3)) };
    let request: Value = outside.call("request", &(), options).await.unwrap();
    assert_eq!(request["request_id"], "r-1");
    assert!((2900..=3000).contains(&request["deadline_ms"].as_u64().unwrap()), "{request}");
    assert_eq!(outside.health(Duration::from_secs(5)).await.unwrap().message, "fine");
    for method in ["garbage", "bad_error"] {
        let error = outside.call::<_, Value>(method, &(), CallOptions::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::INTERNAL, "{method}: {error}");
        assert!(error.operator_message.contains("a body that is no JSON"), "{method}: {error}");
    }
    assert_eq!(registry.info(Kind::Cloud, "outside").unwrap().panics, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_obedient_call_costs_nothing_and_a_hung_one_its_process() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.cancel_grace = Duration::from_millis(200);
    settings.drivers = vec![isolated("good", good(folder.path()))];
    let registry = Registry::open(settings).await.unwrap();
    let driver = registry.handle(Kind::Cloud, "good").unwrap();
    let first = pid(&registry, "good").unwrap();

    let error = driver.call::<_, Value>("obedient", &(), within(SOON)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TIMEOUT, "{error}");
    assert_eq!(pid(&registry, "good"), Some(first), "it stopped when it was asked to");
    assert_eq!(driver.call::<_, u64>("cancels", &(), CallOptions::default()).await.unwrap(), 1);

    let beside = tokio::spawn({
        let driver = driver.clone();
        async move { driver.call::<_, Value>("sleep", &json!(20_000), within(Duration::from_secs(30))).await }
    });
    eventually("it sleeps", || registry.info(Kind::Cloud, "good").unwrap().in_flight == 1).await;
    let start = Instant::now();
    let error = driver.call::<_, Value>("sleep", &json!(20_000), within(SOON)).await.unwrap_err();
    let took = start.elapsed();
    assert_eq!(error.code, ErrorCode::TIMEOUT, "{error}");
    assert!((300..600).contains(&took.as_millis()), "deadline and grace, not {took:?}");

    let error = beside.await.unwrap().unwrap_err();
    assert_eq!((error.code.clone(), error.retry), (ErrorCode::UNAVAILABLE, Retry::Never), "{error}");
    assert!(error.operator_message.contains("sleep: sleep did not come back"), "{error}");
    assert!(error.operator_message.contains("look before you repeat it"), "{error}");

    eventually("another one serves", || pid(&registry, "good").is_some_and(|pid| pid != first)).await;
    assert_eq!(echo(&driver).await.unwrap(), json!(1));
    assert_eq!(processes(first), [] as [u32; 0]);
    let info = registry.info(Kind::Cloud, "good").unwrap();
    assert_eq!((info.state, info.restarts, info.ends["hung"]), (DriverState::Ready, 1, 1));
    assert!(info.last_error.unwrap().contains("did not come back after its deadline"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_replaced_and_callers_are_told_when() {
    let folder = folder();
    let (registry, driver) = open_one(folder.path(), isolated("good", good(folder.path()))).await;
    driver
        .call::<_, Value>("host", &service("state.put", r#"{"key":"k","value":7}"#), within(SOON * 50))
        .await
        .unwrap();
    for round in 1..=3 {
        let keeper = pid(&registry, "good").unwrap();
        let below = processes(keeper);
        assert_eq!(below.len(), 2, "keeper and driver");
        // By turns the driver and its keeper.
        kill(below[round % 2]);
        eventually("its end is seen", || pid(&registry, "good") != Some(keeper)).await;
        let info = registry.info(Kind::Cloud, "good").unwrap();
        assert!(matches!(info.state, DriverState::Restarting | DriverState::Ready), "{info:?}");
        if info.state == DriverState::Restarting {
            assert!(info.last_error.unwrap().contains("it crashed (SIGKILL); it is started again in "));
            let error = echo(&driver).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::UNAVAILABLE);
            assert!(matches!(error.retry, Retry::After(time) if time <= Duration::from_secs(30)), "{error:?}");
        }
        eventually("another one serves", || pid(&registry, "good").is_some_and(|pid| pid != keeper)).await;
        assert_eq!(echo(&driver).await.unwrap(), json!(1));
        for pid in below {
            eventually("both are gone", || !Path::new(&format!("/proc/{pid}")).exists()).await;
        }
    }
    let kept: Value =
        driver.call("host", &service("state.get", r#"{"key":"k"}"#), CallOptions::default()).await.unwrap();
    assert_eq!(kept["value"], 7, "what it keeps with the host survives");
    assert_eq!(registry.info(Kind::Cloud, "good").unwrap().ends["crashed"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_waits_for_calls_and_leaves_no_process() {
    let folder = folder();
    let library = good(folder.path());
    let registry = open(folder.path(), vec![isolated("a", &library), isolated("b", &library)]).await;
    let [a, b] = ["a", "b"].map(|name| registry.handle(Kind::Cloud, name).unwrap());
    let pids: Vec<u32> = ["a", "b"].iter().flat_map(|name| processes(pid(&registry, name).unwrap())).collect();
    assert_eq!(pids.len(), 4);
    let finishing = tokio::spawn(async move { a.call::<_, Value>("sleep", &json!(300), CallOptions::default()).await });
    let hanging =
        tokio::spawn(async move { b.call::<_, Value>("sleep", &json!(60_000), CallOptions::default()).await });
    eventually("both are out", || registry.list().iter().map(|driver| driver.in_flight).sum::<usize>() == 2).await;
    let start = Instant::now();
    registry.close(Duration::from_secs(1)).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(finishing.await.unwrap().unwrap(), json!("slept"));
    assert_eq!(hanging.await.unwrap().unwrap_err().code, ErrorCode::UNAVAILABLE);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_is_cancelled() {
    let folder = folder();
    let (registry, driver) = open_one(folder.path(), isolated("good", good(folder.path()))).await;
    let call = driver.call::<_, Value>("obedient", &(), within(Duration::from_secs(20)));
    assert!(tokio::time::timeout(SOON, call).await.is_err());
    eventually("its place is free again", || registry.info(Kind::Cloud, "good").unwrap().in_flight == 0).await;
    assert_eq!(driver.call::<_, u64>("cancels", &(), CallOptions::default()).await.unwrap(), 1);
    assert_eq!(registry.info(Kind::Cloud, "good").unwrap().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_up_says_at_which_stage() {
    let folder = folder();
    let text = manifest(json!({})).to_string();
    let bad = |name: &str, switches: &[&str]| isolated(name, build(folder.path(), name, &text, switches));
    for (name, switches, says) in [
        ("crash_at_load", &[r#"-DCONSTRUCTOR=abort()"#][..], "stage load: "),
        ("exit_at_load", &[r#"-DCONSTRUCTOR=exit(3)"#], "it ended by itself with code 3 while it was loaded"),
        ("liar", &["-DLYING_DESCRIBE"], "the manifest lies"),
        ("crash_at_open", &["-DOPEN=abort()"], "stage open: "),
        ("refusal", &[r#"-DOPEN=return(text(1,"{\"code\":\"auth_failed\",\"message\":\"no\"}"))"#], "stage open: "),
    ] {
        let line = refused(folder.path(), bad(name, switches)).await;
        assert!(line.contains(says), "{name}: {line}");
    }
    let line = refused(folder.path(), bad("again", &["-DOPEN=abort()"])).await;
    assert!(line.contains("it crashed (SIGABRT)"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_that_hangs_ends_with_its_time() {
    let folder = folder();
    let text = manifest(json!({})).to_string();
    let library = build(folder.path(), "slow", &text, &["-DOPEN=nap(60000)"]);
    let mut settings = settings(folder.path());
    settings.open_timeout = Duration::from_millis(300);
    settings.drivers = vec![isolated("slow", library)];
    let start = Instant::now();
    let registry = Registry::open(settings).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    let line = registry.handle(Kind::Cloud, "slow").unwrap_err().to_string();
    assert!(line.contains("stage open: ") && line.contains("no answer within 0.3 s"), "{line}");
}
