//! What a driver gets from its host, asked for over the boundary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod drivers_support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, DriverHandle, Kind, Notification, Registry};
use capstan_plugin_api::{DriverError, ErrorCode, Program, Secret};
use drivers_support::{entry, eventually, folder, good, open_one, settings, until};
use serde_json::{Value, json};

/// Parameters of the test driver's `host`, in the order in which it reads them.
#[derive(serde::Serialize)]
struct Ask<'a> {
    service: &'a str,
    body: Value,
}

async fn ask(handle: &DriverHandle, service: &str, body: Value) -> Result<Value, DriverError> {
    handle.call("host", &Ask { service, body }, CallOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_versioned_and_comes_back_after_a_restart() {
    let folder = folder();
    let good = good(folder.path());
    let (registry, handle) = open_one(folder.path(), entry("a", &good)).await;
    let put = |value: u64, expected: Option<u64>| {
        ask(&handle, "state.put", json!({ "key": "x/y", "value": { "n": value }, "expected": expected }))
    };
    assert_eq!(put(1, Some(0)).await.unwrap(), 1);
    assert_eq!(put(2, Some(1)).await.unwrap(), 2);
    assert_eq!(put(3, Some(1)).await.unwrap_err().code, ErrorCode::CONFLICT);
    assert_eq!(
        ask(&handle, "state.put", json!({ "key": "../x", "value": 1 })).await.unwrap(),
        1,
        "dots are a key like any other"
    );
    let bad = ask(&handle, "state.get", json!({ "key": "A" })).await.unwrap_err();
    assert_eq!(bad.code, ErrorCode::INVALID_ARGUMENT);
    registry.close(Duration::from_secs(1)).await;

    let (_registry, handle) = open_one(folder.path(), entry("a", &good)).await;
    let kept = ask(&handle, "state.get", json!({ "key": "x/y" })).await.unwrap();
    assert_eq!(kept, json!({ "value": { "n": 2 }, "version": 2 }));
    assert_eq!(ask(&handle, "state.list", json!({ "prefix": "" })).await.unwrap(), json!(["../x", "x/y"]));
    assert_eq!(ask(&handle, "state.delete", json!({ "key": "x/y" })).await.unwrap(), Value::Null);
    assert_eq!(ask(&handle, "state.get", json!({ "key": "x/y" })).await.unwrap(), Value::Null);

    let (_other, handle) = open_one(folder.path(), entry("b", &good)).await;
    assert_eq!(ask(&handle, "state.list", json!({ "prefix": "" })).await.unwrap(), json!([]), "each has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_figures_progress_and_notices() {
    let folder = folder();
    let seen: Arc<Mutex<Vec<Notification>>> = Arc::default();
    let mut with_secret = entry("a", good(folder.path()));
    with_secret.secrets.insert("token".into(), Secret::new("s3cret"));
    let mut settings = settings(folder.path());
    settings.on_notify = Some(Arc::new({
        let seen = Arc::clone(&seen);
        move |notification| seen.lock().unwrap().push(notification.clone())
    }));
    settings.drivers = vec![with_secret];
    let registry = Registry::open(settings).await.unwrap();
    let handle = registry.handle(Kind::Cloud, "a").unwrap();

    assert_eq!(ask(&handle, "secret.get", json!({ "name": "token" })).await.unwrap(), "s3cret");
    assert_eq!(ask(&handle, "secret.get", json!({ "name": "x" })).await.unwrap_err().code, ErrorCode::NOT_FOUND);
    assert_eq!(ask(&handle, "tea.make", json!({})).await.unwrap_err().code, ErrorCode::NOT_SUPPORTED);
    assert_eq!(ask(&handle, "metric", json!([1])).await.unwrap_err().code, ErrorCode::INVALID_ARGUMENT);
    ask(&handle, "progress", json!({ "done": 1, "total": 3, "what": "a\nb" })).await.unwrap();
    for number in 0..80 {
        let added = ask(&handle, "metric", json!({ "name": format!("f{number}"), "value": 1.5 })).await;
        assert_eq!(added.is_ok(), number < 64);
    }
    ask(&handle, "metric", json!({ "name": "f0", "value": 1.0 })).await.unwrap();
    for number in 0..20 {
        ask(&handle, "notify", json!({ "what": "status", "detail": { "n": number } })).await.unwrap();
    }
    let info = registry.info(Kind::Cloud, "a").unwrap();
    assert_eq!((info.figures.len(), info.figures["f0"]), (64, 2.5));
    assert_eq!((info.notices.len(), &info.notices[15].detail), (16, &json!({ "n": 19 })));
    assert_eq!(seen.lock().unwrap().len(), 20);
    handle.call::<_, Value>("flood", &(), CallOptions::default()).await.unwrap();
}

/// A program that nobody else has: the number is in its command line.
fn sleeper(token: &str) -> Value {
    json!({ "name": "s", "command": ["/bin/sleep", format!("300.{token}")] })
}

fn token() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("{:07}{:03}", std::process::id(), NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn running(token: &str) -> Vec<u32> {
    let argument = format!("300.{token}");
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"/bin/sleep\0") && String::from_utf8_lossy(&line).contains(&argument)
    })
    .collect()
}

async fn start(handle: &DriverHandle, spec: Value) -> Result<Program, DriverError> {
    ask(handle, "program.start", spec).await.map(|program| serde_json::from_value(program).unwrap())
}

async fn stop(handle: &DriverHandle, grace_ms: u64) {
    ask(handle, "program.stop", json!({ "name": "s", "grace_ms": grace_ms })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_started_once_found_and_stopped() {
    let folder = folder();
    let good = good(folder.path());
    let (registry, handle) = open_one(folder.path(), entry("a", &good)).await;
    let token = token();
    let find = async |handle: &DriverHandle| ask(handle, "program.find", json!({ "name": "s" })).await.unwrap();
    assert_eq!(find(&handle).await, Value::Null);
    // Sixteen at the same time are one.
    let starts = (0..16).map(|_| {
        let (handle, spec) = (handle.clone(), sleeper(&token));
        tokio::spawn(async move { start(&handle, spec).await.unwrap() })
    });
    let mut programs = Vec::new();
    for started in starts.collect::<Vec<_>>() {
        programs.push(started.await.unwrap());
    }
    let pid = programs[0].pid;
    assert!(programs.iter().all(|program| program.pid == pid));
    assert_eq!(programs.iter().filter(|program| !program.found).count(), 1);
    assert_eq!(running(&token), [pid]);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[3], pid.to_string(), "a session of its own");
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"", "nothing of ours in its environment");
    let descriptors: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().collect();
    assert_eq!(descriptors.len(), 3, "nothing of ours among its descriptors");

    // It goes on when the driver is closed, and the next daemon finds it.
    registry.close(Duration::from_secs(1)).await;
    let (_registry, handle) = open_one(folder.path(), entry("a", &good)).await;
    assert_eq!(find(&handle).await, json!({ "name": "s", "pid": pid, "found": true }));
    stop(&handle, 5000).await;
    assert_eq!(running(&token), [0; 0]);
    assert_eq!(find(&handle).await, Value::Null);
    stop(&handle, 0).await;

    // A record whose number has come to mean another process is nobody's program.
    let again = start(&handle, sleeper(&token)).await.unwrap();
    assert!(!again.found);
    let record = folder.path().join("state/programs/cloud.a.s.json");
    let mut changed: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    changed["process"]["start_time"] = json!(changed["process"]["start_time"].as_u64().unwrap() - 1);
    std::fs::write(&record, changed.to_string()).unwrap();
    stop(&handle, 0).await;
    assert_eq!(running(&token), [again.pid], "left alone");
    kill(again.pid);
    eventually("our own children are reaped", || !Path::new(&format!("/proc/{}", again.pid)).exists()).await;
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_listen_is_killed_with_its_session() {
    let folder = folder();
    let (_registry, handle) = open_one(folder.path(), entry("a", good(folder.path()))).await;
    let (token, output) = (token(), folder.path().join("out"));
    let script = format!("trap '' TERM; echo \"$WORD\"; echo oops >&2; /bin/sleep 300.{token} & wait; wait; wait");
    let spec = json!({ "name": "s", "command": ["/bin/sh", "-c", script], "environment": { "WORD": "a b" },
        "directory": folder.path(), "output": output });
    let program = start(&handle, spec).await.unwrap();
    eventually("it runs", || running(&token).len() == 1).await;
    let begin = Instant::now();
    stop(&handle, 200).await;
    assert!(begin.elapsed() >= Duration::from_millis(200), "the grace was given");
    assert_eq!(running(&token), [0; 0], "its child is gone too");
    assert!(!Path::new(&format!("/proc/{}/exe", program.pid)).exists());
    assert_eq!(std::fs::read_to_string(output).unwrap(), "a b\noops\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_started_says_why_and_leaves_no_record() {
    let folder = folder();
    let (_registry, handle) = open_one(folder.path(), entry("a", good(folder.path()))).await;
    for (spec, what) in [
        (json!({ "name": "s", "command": ["/nowhere/program"] }), "No such file"),
        (json!({ "name": "s", "command": ["/etc/passwd"] }), "Permission denied"),
        (json!({ "name": "s", "command": ["sleep", "1"] }), "no absolute path"),
        (json!({ "name": "s", "command": [] }), "the command is empty"),
        (json!({ "name": "../s", "command": ["/bin/true"] }), "is not of a-z"),
        (json!({ "name": "s", "command": ["/bin/true"], "environment": { "A=B": "1" } }), "no name of an environment"),
        (json!({ "name": "s", "command": ["/bin/true"], "directory": "here" }), "no absolute path"),
        (json!({ "name": "s", "command": ["/bin/true"], "directory": "/nowhere" }), "No such file"),
        (json!({ "name": "s", "command": ["/bin/true"], "output": "/nowhere/x" }), "No such file"),
    ] {
        let error = start(&handle, spec.clone()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::INVALID_ARGUMENT, "{spec}");
        assert!(error.to_string().contains(what), "{spec}: {error}");
    }
    assert_eq!(ask(&handle, "program.find", json!({ "name": "s" })).await.unwrap(), Value::Null);
}

/// A stand-in for systemd-run shows what would be asked of it; the real one needs systemd as the init.
#[tokio::test(flavor = "multi_thread")]
async fn under_systemd_a_program_gets_a_scope() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let stand_in = folder.path().join("systemd-run");
    let asked = folder.path().join("asked");
    let script = "#!/bin/sh\necho \"$1 $2 $3 $4 $5\" > ASKED\nshift 5\nexec \"$@\"\n";
    std::fs::write(&stand_in, script.replace("ASKED", &asked.display().to_string())).unwrap();
    std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut settings = settings(folder.path());
    settings.systemd_run = Some(stand_in);
    settings.drivers = vec![entry("a", good(folder.path()))];
    let registry = Registry::open(settings).await.unwrap();
    let handle = registry.handle(Kind::Cloud, "a").unwrap();
    let token = token();
    let program = start(&handle, sleeper(&token)).await.unwrap();
    eventually("it has become the program", || running(&token) == [program.pid]).await;
    assert_eq!(
        std::fs::read_to_string(asked).unwrap(),
        "--scope --collect --quiet --unit=capstan-cloud.a-s.scope --\n"
    );
    stop(&handle, 1000).await;
    assert_eq!(running(&token), [0; 0]);
}

/// The daemon of the next test: opens a driver, says so, and starts a program.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_daemon_killed_at_any_moment_leaves_one_program_or_none"]
async fn daemon_that_is_killed() {
    let folder = std::env::var("CAPSTAN_TEST_FOLDER").unwrap();
    let folder = Path::new(&folder);
    let (_registry, handle) = open_one(folder, entry("a", folder.join("good.so"))).await;
    println!("\nready");
    start(&handle, sleeper(&std::env::var("CAPSTAN_TEST_TOKEN").unwrap())).await.unwrap();
    std::future::pending::<()>().await;
}

#[test]
fn a_daemon_killed_at_any_moment_leaves_one_program_or_none() {
    let folder = folder();
    good(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut none, mut one) = (0, 0);
    for round in 0..40_u64 {
        let token = token();
        let mut daemon = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "daemon_that_is_killed", "--nocapture"])
            .env("CAPSTAN_TEST_FOLDER", folder.path())
            .env("CAPSTAN_TEST_TOKEN", &token)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"));
        // From before the fork to after the program runs, which takes some milliseconds.
        let moment = Instant::now() + Duration::from_micros(round * 200);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let found = runtime.block_on(async {
            let (registry, handle) = open_one(folder.path(), entry("a", folder.path().join("good.so"))).await;
            let found = ask(&handle, "program.find", json!({ "name": "s" })).await.unwrap();
            let before = running(&token);
            assert_eq!(before.len(), usize::from(!found.is_null()), "round {round}: {found}, running {before:?}");
            let program = start(&handle, sleeper(&token)).await.unwrap();
            assert_eq!(program.found, !found.is_null(), "round {round}");
            assert_eq!(running(&token), [program.pid], "round {round}");
            stop(&handle, 1000).await;
            registry.close(Duration::from_secs(1)).await;
            !found.is_null()
        });
        if found {
            one += 1
        } else {
            none += 1
        }
        until("nothing is left", || running(&token).is_empty());
    }
    assert!(none > 0 && one > 0, "the moments were on both sides: {none} without, {one} with a program");
}
