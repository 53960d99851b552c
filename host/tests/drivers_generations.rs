//! From one generation of a driver to the next: nothing is lost, nothing overlaps that must not, and what is refused changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod drivers_support;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use capstan::drivers::{
    CallOptions, DriverEntry, DriverHandle, DriverInfo, DriverState, Isolation, Kind, Registry, ReloadError, Settings,
};
use capstan_plugin_api::{DriverError, ErrorCode, Retry};
use drivers_support::{entry, eventually, folder, install, manifest, settings};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

async fn open(settings: Settings, entry: DriverEntry) -> (Registry, DriverHandle) {
    let registry = Registry::open(Settings { drivers: vec![entry], ..settings }).await.unwrap();
    let handle = registry.handle(Kind::Cloud, "d").unwrap();
    (registry, handle)
}

async fn open_first(folder: &Path) -> (Registry, DriverHandle) {
    open(settings(folder), entry("d", install(folder, "1", json!({}), &[]))).await
}

fn info(registry: &Registry) -> DriverInfo {
    registry.info(Kind::Cloud, "d").unwrap()
}

async fn reload(registry: &Registry) -> Result<(u64, String), ReloadError> {
    registry.reload(Kind::Cloud, "d").await.map(|done| (done.after.generation, done.after.version))
}

async fn version(handle: &DriverHandle) -> String {
    about(handle, "version", json!(null), None).await.unwrap()
}

async fn about<R: serde::de::DeserializeOwned>(
    handle: &DriverHandle,
    method: &str,
    params: Value,
    device: Option<&str>,
) -> Result<R, DriverError> {
    let options = CallOptions { serial_key: device.map(ToOwned::to_owned), ..CallOptions::default() };
    handle.call(method, &params, options).await
}

/// A call that runs in the driver when this returns, and whether it has ended.
async fn begin(registry: &Registry, handle: &DriverHandle, method: &str, params: Value) -> (Out, Arc<AtomicBool>) {
    let ended = Arc::new(AtomicBool::new(false));
    let (handle, method, end) = (handle.clone(), method.to_owned(), Arc::clone(&ended));
    let out = tokio::spawn(async move {
        let answer = about(&handle, &method, params, Some("a")).await;
        end.store(true, Ordering::Release);
        answer
    });
    eventually("the call runs", || info(registry).in_flight == 1).await;
    (out, ended)
}

type Out = JoinHandle<Result<Value, DriverError>>;

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_call() {
    let folder = folder();
    let (registry, handle) = open_first(folder.path()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (handle, stop) = (handle.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut seen = std::collections::BTreeMap::<String, u64>::new();
                while !stop.load(Ordering::Acquire) {
                    *seen.entry(version(&handle).await).or_default() += 1;
                }
                seen
            })
        })
        .collect();
    for round in 2..=12_u64 {
        if round % 5 == 0 {
            fs::write(folder.path().join("d.so"), "no library").unwrap();
            reload(&registry).await.unwrap_err();
            continue;
        }
        install(folder.path(), &round.to_string(), json!({}), &[]);
        let (_, served) = reload(&registry).await.unwrap();
        assert_eq!(served, round.to_string());
        assert_eq!(version(&handle).await, served, "from now on");
    }
    stop.store(true, Ordering::Release);
    let mut versions = std::collections::BTreeSet::new();
    for caller in callers {
        versions.extend(caller.await.expect("no call failed").into_keys());
    }
    assert!(versions.len() > 5, "all served: {versions:?}");
    eventually("all before it are closed", || info(&registry).draining_generations == 0).await;
    let info = info(&registry);
    assert_eq!((info.generation, info.reloads, info.failed_reloads), (10, 9, 2));
    assert_eq!((info.state, info.retired_generations, info.errors.len()), (DriverState::Ready, 9, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing_and_says_why() {
    let folder = folder();
    let (registry, handle) = open_first(folder.path()).await;
    let handle = handle.used_by("the test", &["config"]);
    about::<Value>(&handle, "echo", json!(1), None).await.unwrap();
    about::<Value>(&handle, "unheard_of", json!(1), None).await.unwrap_err();
    let methods = |without: &str| {
        let mut methods = manifest(json!({}))["methods"].as_array().unwrap().clone();
        methods.retain(|method| method != without);
        json!({ "methods": methods })
    };
    let whole = fs::read(folder.path().join("d.so")).unwrap();
    let refuse = r#"-DHEALTH=return text(1, "{\"code\":\"auth_failed\",\"message\":\"who are you\"}")"#;
    type Case<'a> = (&'a str, Box<dyn Fn() + 'a>, [&'a str; 3]);
    let install = |change: Value, switches: &[&str]| drop(install(folder.path(), "2", change, switches));
    let cases: [Case<'_>; 6] = [
        (
            "cut off",
            Box::new(|| fs::write(folder.path().join("d.so"), &whole[..whole.len() / 2]).unwrap()),
            ["stage elf", "expected a whole", "copy the file again"],
        ),
        (
            "gone",
            Box::new(|| fs::remove_file(folder.path().join("d.so")).unwrap()),
            ["stage resolve", "no such file", "correct `library`"],
        ),
        (
            "without a method that was called",
            Box::new(|| install(methods("echo"), &[])),
            ["stage compatibility", "found version 2 without echo", "in use: config, echo, version; install a build"],
        ),
        (
            "without a method that a service needs",
            Box::new(|| install(methods("config"), &[])),
            ["stage compatibility", "without config", "in use: config, echo, version"],
        ),
        (
            "of another kind",
            Box::new(|| install(json!({ "kind": "mgm" }), &[])),
            ["stage compatibility", "mgm", "cloud"],
        ),
        ("ill", Box::new(|| install(json!({}), &[refuse])), ["stage health", "auth_failed", "capstan driver reload"]),
    ];
    for (number, (name, spoil, says)) in (1..).zip(cases) {
        spoil();
        let error = reload(&registry).await.unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{name}: {error}");
        for part in says {
            assert!(error.contains(part), "{name}: {part:?} is not in {error}");
        }
        assert_eq!(version(&handle).await, "1", "{name}");
        let info = info(&registry);
        assert_eq!((info.generation, info.failed_reloads, info.state), (1, number, DriverState::Ready), "{name}");
        assert_eq!(info.last_reload_error.as_deref(), Some(error.as_str()), "{name}");
    }
    assert_eq!(info(&registry).retired_generations, 1, "the one that was ill is in memory");
    install(methods("cancels"), &[]);
    assert_eq!(reload(&registry).await.unwrap(), (2, "2".to_owned()), "what nobody used may go");
    assert_eq!(info(&registry).last_reload_error, None);
    drop(handle);
    install(methods("config"), &[]);
    assert_eq!(reload(&registry).await.unwrap().0, 3, "the service that needed it is gone");
    let unknown = registry.reload(Kind::Cloud, "e").await.unwrap_err();
    assert!(matches!(unknown, ReloadError::Unknown(_)) && unknown.to_string().contains("known are d"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_failed_is_loaded_by_a_reload() {
    let folder = folder();
    let settings = Settings { drivers: vec![entry("d", "d.so")], ..settings(folder.path()) };
    let registry = Registry::open(settings).await.unwrap();
    let error = reload(&registry).await.unwrap_err().to_string();
    assert_eq!((info(&registry).state, info(&registry).last_error), (DriverState::Failed, Some(error)));
    registry.rollback(Kind::Cloud, "d").await.expect_err("nothing ever served");
    install(folder.path(), "1", json!({}), &[]);
    let done = registry.restart(Kind::Cloud, "d").await.unwrap();
    assert_eq!((done.before, done.after.generation), (None, 1));
    assert_eq!(version(&registry.handle(Kind::Cloud, "d").unwrap()).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_device_has_two_calls_at_once_across_generations() {
    for (old, new, other_device_waits) in [
        ("device", "device", false),
        ("none", "device", false),
        ("device", "none", false),
        ("instance", "device", true),
        ("device", "instance", true),
        ("none", "instance", true),
    ] {
        let folder = folder();
        let library = install(folder.path(), "1", json!({ "serial_by": old }), &[]);
        let (registry, handle) = open(settings(folder.path()), entry("d", library)).await;
        let release = folder.path().join("release");
        let (out, ended) = begin(&registry, &handle, "held", json!(release)).await;
        install(folder.path(), "2", json!({ "serial_by": new }), &[]);
        reload(&registry).await.unwrap();
        assert_eq!(
            (info(&registry).draining_generations, info(&registry).in_flight),
            (1, 1),
            "a reload waits for no call"
        );

        let ask = |device: &'static str| {
            let handle = handle.clone();
            tokio::spawn(async move { about::<String>(&handle, "version", json!(null), Some(device)).await.unwrap() })
        };
        let (here, there) = (ask("a"), ask("b"));
        eventually("one or both wait", || info(&registry).queue == 1 + usize::from(other_device_waits)).await;
        eventually("the other ends", || there.is_finished() || other_device_waits).await;
        assert!(!here.is_finished() && !ended.load(Ordering::Acquire), "{old}, {new}");
        assert_ne!(there.is_finished(), other_device_waits, "{old}, {new}: another device");
        fs::write(release, "").unwrap();
        assert_eq!((here.await.unwrap(), there.await.unwrap()), ("2".to_owned(), "2".to_owned()), "{old}, {new}");
        assert_eq!(out.await.unwrap().unwrap(), "slept", "{old}, {new}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_goes_to_the_next_generation() {
    let folder = folder();
    let mut entry = entry("d", install(folder.path(), "1", json!({}), &[]));
    entry.max_concurrency = 1;
    let (registry, handle) = open(settings(folder.path()), entry).await;
    let release = folder.path().join("release");
    let (out, ended) = begin(&registry, &handle, "held", json!(release)).await;
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { version(&handle).await }
    });
    eventually("it waits", || info(&registry).queue == 1).await;
    install(folder.path(), "2", json!({}), &[]);
    reload(&registry).await.unwrap();
    assert_eq!(version(&handle).await, "2", "the next generation has places of its own");
    assert!(!ended.load(Ordering::Acquire) && !waiting.is_finished());
    fs::write(release, "").unwrap();
    assert_eq!(waiting.await.unwrap(), "2", "the driver had not seen it");
    assert_eq!(out.await.unwrap().unwrap(), "slept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_closes_when_it_is_drained_or_its_time_is_over() {
    let folder = folder();
    let mut settings = settings(folder.path());
    (settings.drain_timeout, settings.cancel_grace) = (Duration::from_millis(300), Duration::from_millis(50));
    let mut entry = entry("d", install(folder.path(), "1", json!({}), &[]));
    let trace = folder.path().join("closed");
    entry.config = json!({ "closed": trace });
    let (registry, handle) = open(settings, entry).await;
    let closed = || fs::remove_file(&trace).is_ok();

    let release = folder.path().join("release");
    let (out, _) = begin(&registry, &handle, "held", json!(release)).await;
    reload(&registry).await.unwrap();
    assert!(!closed());
    fs::write(&release, "").unwrap();
    assert_eq!(out.await.unwrap().unwrap(), "slept");
    eventually("it closes", closed).await;

    // One that listens is told when the time is over.
    let start = Instant::now();
    let (out, _) = begin(&registry, &handle, "obedient", json!(null)).await;
    reload(&registry).await.unwrap();
    let error = out.await.unwrap().unwrap_err();
    assert_eq!((&error.code, &error.retry), (&ErrorCode::UNAVAILABLE, &Retry::Never), "{error}");
    assert!(error.message.contains("was replaced while the call was out"), "{error}");
    assert!(error.operator_message.contains("drain_timeout_seconds"), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(300), "not before");
    eventually("it closes", closed).await;

    // One that does not listen keeps its generation open until it comes back.
    fs::remove_file(&release).unwrap();
    let (out, _) = begin(&registry, &handle, "held", json!(release)).await;
    reload(&registry).await.unwrap();
    eventually("it is told", || start.elapsed() > Duration::from_secs(1)).await;
    assert!(!closed() && !out.is_finished());
    fs::write(&release, "").unwrap();
    assert_eq!(out.await.unwrap().unwrap(), "slept");
    eventually("it closes then", closed).await;
    eventually("nothing is left", || info(&registry).draining_generations == 0).await;
    assert_eq!(info(&registry).retired_generations, 0, "the same file all the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_in_the_background_is_polled_where_it_was_begun() {
    let folder = folder();
    let settings = Settings { drain_timeout: Duration::from_millis(300), ..settings(folder.path()) };
    let (registry, handle) = open(settings, entry("d", install(folder.path(), "1", json!({}), &[]))).await;
    let seen = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&seen);
    let options = CallOptions {
        on_pending: Some(Arc::new(move |_| hook.store(true, Ordering::Release))),
        ..CallOptions::default()
    };
    let out = tokio::spawn({
        let handle = handle.clone();
        async move { handle.call::<_, Value>("endless_work", &(), options).await }
    });
    eventually("it goes on in the background", || seen.load(Ordering::Acquire)).await;
    install(folder.path(), "2", json!({ "methods": ["version", "endless_work"] }), &[]);
    reload(&registry).await.unwrap();
    // The next one has no `poll` at all.
    assert_eq!(info(&registry).draining_generations, 1);
    let error = out.await.unwrap().unwrap_err();
    assert_eq!((&error.code, &error.retry), (&ErrorCode::UNAVAILABLE, &Retry::Never), "{error}");
    assert!(error.operator_message.contains("its token: "), "{error}");
    eventually("it closes", || info(&registry).draining_generations == 0).await;
}

fn is_there(pid: Option<u32>) -> bool {
    Path::new(&format!("/proc/{}", pid.unwrap())).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_for_processes() {
    let folder = folder();
    let path = folder.path();
    let mut settings = settings(path);
    (settings.drain_timeout, settings.cancel_grace) = (Duration::from_millis(300), Duration::from_millis(50));
    let mut entry = entry("d", install(path, "1", json!({ "serial_by": "device" }), &[]));
    entry.isolation = Isolation::Process;
    let (registry, handle) = open(settings, entry).await;
    let first = info(&registry).pid;
    assert!(is_there(first));

    // A call that is out ends where it is, and its device waits for it.
    let release = path.join("release");
    let (out, _) = begin(&registry, &handle, "held", json!(release)).await;
    install(path, "2", json!({ "serial_by": "device" }), &[]);
    reload(&registry).await.unwrap();
    let same = tokio::spawn({
        let handle = handle.clone();
        async move { about::<String>(&handle, "version", json!(null), Some("a")).await }
    });
    assert_eq!(about::<String>(&handle, "version", json!(null), Some("b")).await.unwrap(), "2");
    assert!(is_there(first) && !same.is_finished());
    fs::write(&release, "").unwrap();
    assert_eq!(out.await.unwrap().unwrap(), "slept");
    assert_eq!(same.await.unwrap().unwrap(), "2");
    eventually("its process ends", || !is_there(first)).await;

    // One that does not end is killed, and its device is free.
    fs::remove_file(&release).unwrap();
    let (out, _) = begin(&registry, &handle, "held", json!(release)).await;
    let second = info(&registry).pid;
    install(path, "3", json!({ "serial_by": "device" }), &[]);
    reload(&registry).await.unwrap();
    let error = out.await.unwrap().unwrap_err();
    assert_eq!((&error.code, &error.retry), (&ErrorCode::UNAVAILABLE, &Retry::Never), "{error}");
    eventually("its process ends", || !is_there(second)).await;
    assert_eq!(about::<String>(&handle, "version", json!(null), Some("a")).await.unwrap(), "3");

    // What is refused leaves neither a process nor a library behind.
    let third = info(&registry).pid;
    install(path, "4", json!({ "serial_by": "device" }), &["-DOPEN=return text(1, \"{}\")"]);
    reload(&registry).await.unwrap_err();
    assert_eq!((info(&registry).pid, info(&registry).retired_generations), (third, 0));
    let back = registry.rollback(Kind::Cloud, "d").await.unwrap();
    assert_eq!(back.after.version, "2");
    let before = info(&registry);
    let again = registry.restart(Kind::Cloud, "d").await.unwrap();
    let after = info(&registry);
    assert_eq!(again.after.generation, back.after.generation, "another process of the same generation");
    assert!(after.pid != before.pid && !is_there(before.pid) && after.restarts == 1, "{after:?}");
    assert_eq!(version(&handle).await, "2");
    registry.close(Duration::from_secs(5)).await;
    assert!(!is_there(after.pid));
}

fn copies(folder: &Path) -> usize {
    let entries = fs::read_dir(folder.join("state/drivers")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "so")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_back_what_served_before() {
    let folder = folder();
    let path = folder.path();
    let (registry, handle) = open_first(path).await;
    for version in ["2", "3", "4"] {
        install(path, version, json!({}), &[]);
        reload(&registry).await.unwrap();
    }
    assert_eq!(copies(path), 3, "as many as a rollback can reach");
    let back = registry.rollback(Kind::Cloud, "d").await.unwrap();
    assert_eq!((back.before.unwrap().version.as_str(), back.after.version.as_str()), ("4", "3"));
    assert_eq!((back.after.generation, version(&handle).await.as_str()), (5, "3"));
    assert_eq!(info(&registry).sha256.as_deref(), Some(back.after.sha256.as_str()));
    assert_eq!(registry.restart(Kind::Cloud, "d").await.unwrap().after.version, "3", "a restart keeps the file");
    let further = registry.rollback(Kind::Cloud, "d").await.unwrap();
    assert_eq!(further.after.version, "2");
    let end = registry.rollback(Kind::Cloud, "d").await.unwrap_err();
    assert!(matches!(end, ReloadError::NothingBefore { .. }) && end.to_string().contains("reload the driver"), "{end}");
    assert_eq!(version(&handle).await, "2");
    assert_eq!(reload(&registry).await.unwrap().1, "4", "the file as it lies there");

    // A copy that somebody changed is no copy, and its absence is said.
    let copy = path.join("state/drivers").join(format!("{}.so", further.after.sha256));
    let whole = fs::read(&copy).unwrap();
    fs::remove_file(&copy).unwrap();
    let error = registry.rollback(Kind::Cloud, "d").await.unwrap_err().to_string();
    assert!(error.contains("stage store") && error.contains("install the file again"), "{error}");
    fs::write(&copy, [&whole[..], b"x"].concat()).unwrap();
    let error = registry.rollback(Kind::Cloud, "d").await.unwrap_err().to_string();
    assert!(error.contains("has been changed"), "{error}");
    fs::write(&copy, whole).unwrap();
    assert_eq!(version(&handle).await, "4");

    // It outlasts the daemon: an upgrade that does not even load is undone.
    registry.close(Duration::from_secs(1)).await;
    fs::write(path.join("d.so"), "no library").unwrap();
    let entry = entry("d", "d.so");
    let registry = Registry::open(Settings { drivers: vec![entry.clone()], ..settings(path) }).await.unwrap();
    assert_eq!(info(&registry).state, DriverState::Failed);
    assert_eq!(registry.rollback(Kind::Cloud, "d").await.unwrap().after.version, "4");
    assert_eq!(registry.rollback(Kind::Cloud, "d").await.unwrap().after.version, "2");

    // The same checks hold: a pin for instance.
    registry.close(Duration::from_secs(1)).await;
    install(path, "5", json!({}), &[]);
    let mut pinned = entry;
    pinned.sha256 = Some(capstan::drivers::inspect(&path.join("d.so"), true).unwrap().sha256);
    let (registry, handle) = open(settings(path), pinned).await;
    let error = registry.rollback(Kind::Cloud, "d").await.unwrap_err().to_string();
    assert!(error.contains("stage checksum") && error.contains("the pin"), "{error}");
    assert_eq!(version(&handle).await, "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_ends_a_quarantine() {
    let folder = folder();
    let mut settings = settings(folder.path());
    (settings.max_lost, settings.cancel_grace) = (0, Duration::from_millis(20));
    let (registry, handle) = open(settings, entry("d", install(folder.path(), "1", json!({}), &[]))).await;
    let options = CallOptions { deadline: Some(Duration::from_millis(50)), ..CallOptions::default() };
    handle.call::<_, Value>("sleep", &1200, options).await.unwrap_err();
    assert_eq!(info(&registry).state, DriverState::Quarantined);
    let done = registry.restart(Kind::Cloud, "d").await.unwrap();
    assert_eq!(done.before.unwrap().sha256, done.after.sha256);
    assert_eq!(version(&handle).await, "1");
    let after = info(&registry);
    assert_eq!((after.state, after.generation, after.restarts, after.reloads), (DriverState::Ready, 2, 1, 0));
    assert_eq!(after.lost_threads, 1, "the lost one is not forgotten");
    eventually("it comes back", || info(&registry).lost_threads == 0).await;
    eventually("and is closed", || info(&registry).draining_generations == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_survives_and_is_never_written_over() {
    let folder = folder();
    let (registry, handle) = open_first(folder.path()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (handle, stop) = (handle.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut versions = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    versions.push(ask(&handle, "state.put", json!({ "key": "n", "value": 1 })).await.as_u64().unwrap());
                }
                versions
            })
        })
        .collect();
    for version in ["2", "3", "4", "5"] {
        install(folder.path(), version, json!({}), &[]);
        reload(&registry).await.unwrap();
    }
    ask(&handle, "metric", json!({ "name": "seen", "value": 2.0 })).await;
    stop.store(true, Ordering::Release);
    let mut versions = Vec::new();
    for writer in writers {
        versions.extend(writer.await.unwrap());
    }
    versions.sort_unstable();
    let last = versions.len() as u64;
    assert_eq!(versions, (1..=last).collect::<Vec<_>>(), "each put has a version of its own");
    reload(&registry).await.unwrap();
    let kept = ask(&handle, "state.get", json!({ "key": "n" })).await;
    assert_eq!(kept, json!({ "value": 1, "version": last }));
    assert_eq!(info(&registry).figures["seen"], 2.0);
}

/// Parameters of the test driver's `host`, in the order in which it reads them.
#[derive(serde::Serialize)]
struct Ask<'a> {
    service: &'a str,
    body: Value,
}

async fn ask(handle: &DriverHandle, service: &str, body: Value) -> Value {
    handle.call("host", &Ask { service, body }, CallOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_of_one_driver_follow_each_other_and_need_nobody_who_waits() {
    let folder = folder();
    let (registry, handle) = open_first(folder.path()).await;
    install(folder.path(), "2", json!({}), &["-DOPEN=nap(200)"]);
    let both = tokio::join!(reload(&registry), reload(&registry));
    assert_eq!((both.0.unwrap().0, both.1.unwrap().0), (2, 3));
    let left = tokio::time::timeout(Duration::from_millis(20), reload(&registry)).await;
    assert!(left.is_err(), "whoever asked went away");
    assert_eq!(info(&registry).generation, 3);
    eventually("it is done all the same", || info(&registry).generation == 4).await;
    assert_eq!(version(&handle).await, "2");

    // A daemon that ends waits for none, and nothing serves afterwards.
    let trace = folder.path().join("closed");
    let late = tokio::spawn({
        let registry = registry.clone();
        async move { reload(&registry).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    registry.close(Duration::from_secs(1)).await;
    let error = late.await.unwrap().unwrap_err();
    assert!(matches!(error, ReloadError::Unavailable { .. }), "{error}");
    assert!(matches!(reload(&registry).await.unwrap_err(), ReloadError::Unavailable { .. }));
    let error = about::<Value>(&handle, "version", json!(null), None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UNAVAILABLE);
    assert!(!trace.exists());
}
