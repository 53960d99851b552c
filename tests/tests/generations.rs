//! Drivers that are replaced while they serve, through the built daemon: by command, by signal, by a file that changes.
//!
//! `CAPSTAN_LONG=1` reloads a hundred times under load, else twenty times.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use capstan_tests::{
    daemon::{Daemon, HAPROXY, Setup, Site, update},
    elf, http, paths, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

fn action(name: &str) -> Value {
    json!({ "hpcs_action": name })
}

/// A site whose worker drives `next`, a copy of the noop driver of its own.
fn site(isolation: &str, more: &str) -> Site {
    let entry = format!(
        "[known_drivers.load_balancer.next]\nlibrary = \"@ROOT@/d/next.so\"\nisolation = \"{isolation}\"\n{more}"
    );
    let site = Site::new(Setup { more: &entry, ..Setup::default() });
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replacen("driver = \"noop\"", "driver = \"next\"", 1));
    let folder = site.path().join("d");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    install(&site, "1.0.0");
    site
}

fn library(site: &Site) -> PathBuf {
    site.path().join("d/next.so")
}

/// The noop driver as another version of itself.
fn noop(version: &str) -> Vec<u8> {
    let bytes = fs::read(paths::driver("load_balancer_noop")).unwrap();
    let version = format!("\"version\":\"{version}\"");
    elf::with_manifest(&bytes, &format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")), &version)
}

fn put(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(new, path).unwrap();
}

/// Puts a version in place as a package manager does: beside the old file, then by a rename.
fn install(site: &Site, version: &str) {
    put(&library(site), &noop(version));
}

fn driver(site: &Site, name: &str) -> Value {
    http::get(site.http_port, &format!("/drivers/v1/load_balancer/{name}"), "").unwrap().json()
}

/// Asks by command and expects what it prints.
fn changed(site: &Site, command: &str) -> Value {
    site.expect(0, &["driver", command, "next", "--output", "json"]).json()
}

/// Sends SIGHUP and waits for the line that says what came of it.
fn hang_up(site: &Site, daemon: &Daemon<'_>, says: &str) -> Value {
    let lines = || {
        let lines = site.log_lines();
        let said = lines.into_iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains(says)));
        said.collect::<Vec<_>>()
    };
    let before = lines().len();
    daemon.signal(Signal::HUP);
    wait_for(&format!("{says:?}; the log:\n{}", site.log()), Duration::from_secs(60), || lines().get(before).cloned())
}

const FOLLOWED: &str = "the drivers follow it";
const KEPT: &str = "the running one is kept";

fn counted(daemon: &Daemon<'_>, what: &str) -> usize {
    fs::read_dir(format!("/proc/{}/{what}", daemon.id())).unwrap().count()
}

#[test]
fn reloads_under_load_in_the_daemon() {
    reloads_under_load("in-process");
}

#[test]
fn reloads_under_load_of_a_process() {
    reloads_under_load("process");
}

fn reloads_under_load(isolation: &str) {
    let long = std::env::var("CAPSTAN_LONG").is_ok_and(|value| value != "0");
    let rounds = if long { 100 } else { 20 };
    let site = site(isolation, "");
    let daemon = site.start();
    site.pass(&update(80, &[("1", 81)]));
    let before = (counted(&daemon, "fd"), counted(&daemon, "task"));
    let (stop, messages) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Ends the load also when a round fails.
        let ended = Stop(&stop);
        for client in 0..4_u16 {
            let (site, stop, messages) = (&site, &stop, &messages);
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    site.pass(&update(80 + client, &[("1", 81)]));
                    site.pass(&action("SUSPEND"));
                    messages.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let mut serving = "1.0.0".to_owned();
        for round in 1..=rounds {
            let seen = messages.load(Ordering::Relaxed);
            if round % 10 == 0 {
                // Each tenth is no good: cut off, or without a method that is in use.
                let whole = noop("9.9.9");
                let bad = if round % 20 == 0 {
                    whole[..whole.len() / 2].to_vec()
                } else {
                    elf::with_manifest(&whole, "\"suspend\"", "\"suspemd\"")
                };
                put(&library(&site), &bad);
                let refused = site.expect(1, &["driver", "reload", "next"]);
                let reason = if round % 20 == 0 { "stage elf" } else { "without suspend" };
                assert!(refused.error.contains(reason) && refused.error.lines().count() == 1, "{refused:?}");
                assert_eq!(driver(&site, "next")["version"], serving, "the old one serves");
            } else {
                let version = format!("1.{}.{}", round / 10, round % 10);
                install(&site, &version);
                let change = changed(&site, "reload");
                assert_eq!(
                    (&change["before"]["version"], &change["after"]["version"]),
                    (&json!(serving), &json!(version))
                );
                serving = version;
            }
            wait_for("a message after it", Duration::from_secs(30), || {
                (messages.load(Ordering::Relaxed) > seen + 1 || stop.load(Ordering::Acquire)).then_some(())
            });
        }
        drop(ended);
    });
    let drained = || (driver(&site, "next")["draining_generations"] == 0).then_some(());
    wait_for("the last to be drained", Duration::from_secs(30), drained);
    let after = driver(&site, "next");
    let (good, bad) = (rounds - rounds / 10, rounds / 10);
    assert_eq!(
        (&after["generation"], &after["reloads"], &after["failed_reloads"]),
        (&json!(good + 1), &json!(good), &json!(bad))
    );
    assert_eq!(after["errors"], json!({}), "no call failed");
    let retired = if isolation == "process" { 0 } else { good };
    assert_eq!(after["retired_generations"], retired);
    let warned = site.log().contains("libraries that serve no more stay in the daemon's memory");
    assert_eq!(warned, retired >= 16, "{}", site.log());
    let grown = (counted(&daemon, "fd"), counted(&daemon, "task"));
    assert!(grown.0 <= before.0 + 8 && grown.1 <= before.1 + 12, "descriptors and threads: {before:?}, then {grown:?}");
    let copies = fs::read_dir(site.path().join("state/drivers")).unwrap();
    let copies = copies.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "so"));
    assert!(copies.count() <= 4, "three of next, one of noop");
    let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
    let labels = "kind=\"load_balancer\",driver=\"next\"";
    for line in [
        format!("capstan_driver_generation{{{labels}}} {}", good + 1),
        format!("capstan_driver_reloads_total{{{labels},result=\"done\"}} {good}"),
        format!("capstan_driver_reloads_total{{{labels},result=\"refused\"}} {bad}"),
        format!("capstan_driver_retired_generations{{{labels}}} {retired}"),
        format!("capstan_driver_info{{{labels},version={},sha256={}}} 1", after["version"], after["sha256"]),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let infos = metrics.lines().filter(|line| line.starts_with("capstan_driver_info") && line.contains("\"next\""));
    assert_eq!(infos.count(), 1, "{metrics}");
    daemon.stop();
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_rollback_and_a_restart_by_command() {
    let site = site("in-process", "");
    let daemon = site.start();
    let none = site.expect(1, &["driver", "rollback", "next"]);
    assert!(none.error.contains("no generation before this one is kept"), "{none:?}");
    install(&site, "2.0.0");
    let reloaded = site.expect(0, &["driver", "reload", "load_balancer.next"]);
    for part in ["load_balancer.next reloaded", "before  1.0.0    1 ", "now     2.0.0    2 "] {
        assert!(reloaded.out.contains(part), "{part:?} is not in\n{}", reloaded.out);
    }
    let back = changed(&site, "rollback");
    assert_eq!((&back["before"]["version"], &back["after"]["version"]), (&json!("2.0.0"), &json!("1.0.0")));
    let again = changed(&site, "restart");
    assert_eq!((&again["after"]["version"], &again["after"]["generation"]), (&json!("1.0.0"), &json!(4)));
    site.pass(&update(80, &[("1", 81)]));
    let info = site.expect(0, &["driver", "info", "next"]);
    for part in ["generation    4", "reloads       2", "restarts      1", "retired       1", "used by       the worker"]
    {
        assert!(info.out.contains(part), "{part:?} is not in\n{}", info.out);
    }
    assert!(info.error.contains("the file is not the one that serves"), "{info:?}");
    let json = site.expect(0, &["driver", "info", "next", "--output", "json"]).json();
    assert_eq!((&json["manifest"]["version"], &json["running"]["version"]), (&json!("2.0.0"), &json!("1.0.0")));

    // An upgrade that leaves the daemon without its driver is undone from the daemon's own copies.
    daemon.kill();
    fs::write(library(&site), "no library").unwrap();
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replacen("driver = \"next\"", "driver = \"noop\"", 1));
    let daemon = site.start();
    assert_eq!(driver(&site, "next")["state"], "failed");
    let back = changed(&site, "rollback");
    assert_eq!((&back["before"], &back["after"]["version"]), (&Value::Null, &json!("1.0.0")));
    assert_eq!(driver(&site, "next")["state"], "ready");

    let unknown = site.expect(64, &["driver", "reload", "nobody"]);
    assert!(unknown.error.contains("known are: load_balancer.next, load_balancer.noop"), "{unknown:?}");
    let refused = site.expect(1, &["driver", "reload", "next", "--output", "json"]);
    assert!(refused.out.is_empty() && refused.error.contains("stage elf"), "{refused:?}");
    let list = site.expect(0, &["driver", "list"]);
    assert!(list.error.contains("next: the last reload was refused: driver load_balancer.next: stage elf"), "{list:?}");
    daemon.stop();
    site.expect(69, &["driver", "reload", "next"]);
}

#[test]
fn over_http_a_refusal_is_a_problem_that_says_what_to_do() {
    let site = site("in-process", "");
    let daemon = site.start();
    let post = |path: &str, headers: &str| http::post(site.http_port, &format!("/drivers/v1/{path}"), headers).unwrap();
    let done = post("load_balancer/next/reload", "");
    assert_eq!((done.status, &done.json()["after"]["generation"]), (200, &json!(2)));
    fs::write(library(&site), "no library").unwrap();
    for (path, headers, status, kind, says) in [
        ("load_balancer/next/reload", "", 422, "driver_refused", "copy the file again"),
        ("load_balancer/next/rollback", "", 409, "conflict", "reload the driver"),
        ("load_balancer/nobody/reload", "", 404, "not_found", "known are next, noop"),
        ("melons/next/restart", "", 404, "not_found", "/drivers/v1 lists all"),
        ("load_balancer/next/reload", "origin: http://127.0.0.1:8770\r\n", 403, "forbidden", "capstan driver"),
    ] {
        let answer = post(path, &format!("x-request-id: suite-7\r\n{headers}"));
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["type"], &problem["request_id"]),
            (status, &json!(kind), &json!("suite-7"))
        );
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        let says = if kind == "driver_refused" { "stage elf" } else { says };
        assert!(problem["detail"].as_str().unwrap().contains(says), "{path}: {problem}");
    }
    // A file cannot be named, only what is configured.
    let named = post("load_balancer/..%2f..%2ftmp%2fx.so/reload", "");
    assert_eq!(named.status, 404, "{named:?}");
    assert_eq!(http::get(site.http_port, "/drivers/v1/load_balancer/next/reload", "").unwrap().status, 405);
    site.pass(&update(80, &[("1", 81)]));
    daemon.stop();
}

#[test]
fn a_file_spoilt_in_place_changes_nothing_until_it_is_loaded() {
    for isolation in ["in-process", "process"] {
        let site = site(isolation, "");
        let daemon = site.start();
        let whole = fs::read(library(&site)).unwrap();
        for spoilt in [&whole[..whole.len() / 2], &whole[..100], b"", b"#!/bin/sh\n"] {
            fs::write(library(&site), spoilt).unwrap();
            site.pass(&update(80, &[("1", 81)]));
            site.expect(1, &["driver", "reload", "next"]);
            site.pass(&action("SUSPEND"));
        }
        fs::write(library(&site), &whole).unwrap();
        changed(&site, "reload");
        site.pass(&action("ENABLE"));
        assert_eq!(driver(&site, "next")["failed_reloads"], 4);
        daemon.stop();
    }
}

/// Writes the configuration anew with these drivers, each with its keys, and something else changed.
fn reconfigure(site: &Site, drivers: &[(&str, &str)], change: (&str, &str)) {
    let text = fs::read_to_string(site.config()).unwrap();
    let base = text.split_once("[known_drivers.").unwrap().0.replacen(change.0, change.1, 1);
    let entry = |(name, keys): &(&str, &str)| {
        let library = match *name {
            "noop" => "libcapstan_load_balancer_noop.so",
            _ => "@ROOT@/d/next.so",
        };
        format!("[known_drivers.load_balancer.{name}]\nlibrary = \"{library}\"\nisolation = \"in-process\"\n{keys}\n")
    };
    site.configure(&format!("{base}{}", drivers.iter().map(entry).collect::<String>()));
}

#[test]
fn a_signal_applies_what_differs_in_the_drivers() {
    let site = site("in-process", "");
    let none = ("", "");
    reconfigure(&site, &[("noop", ""), ("next", "")], none);
    let daemon = site.start();
    site.pass(&update(80, &[("1", 81)]));
    hang_up(&site, &daemon, "nothing changed");

    // A changed configuration, a driver that is new, one that goes.
    let record = "config = { record = \"@ROOT@/record\" }";
    reconfigure(&site, &[("next", record), ("extra", "")], none);
    let line = hang_up(&site, &daemon, FOLLOWED);
    assert_eq!(
        (&line["added"], &line["changed"], &line["removed"]),
        (&json!("load_balancer.extra"), &json!("load_balancer.next"), &json!("load_balancer.noop"))
    );
    site.pass(&action("SUSPEND"));
    let recorded = fs::read_to_string(site.path().join("record")).unwrap();
    assert!(recorded.contains("\"suspend\""), "the new configuration is in force: {recorded}");
    assert_eq!(driver(&site, "extra")["state"], "ready");
    assert_eq!(http::get(site.http_port, "/drivers/v1/load_balancer/noop", "").unwrap().status, 404);
    let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
    assert!(!metrics.contains("driver=\"noop\"") && metrics.contains("driver=\"extra\""), "{metrics}");

    // A file that was replaced, for both that have it.
    install(&site, "2.0.0");
    let line = hang_up(&site, &daemon, FOLLOWED);
    assert_eq!(line["changed"], "load_balancer.extra load_balancer.next");
    let serves = |generation: u64| {
        let next = driver(&site, "next");
        assert_eq!((&next["version"], &next["generation"]), (&json!("2.0.0"), &json!(generation)), "{next}");
        site.pass(&action("ENABLE"));
    };
    serves(3);

    // Kept as a whole: what the worker uses is gone, a value is no value, a driver does not load.
    let other_record = "config = { record = \"@ROOT@/other-record\" }";
    let to_noop = ("driver = \"next\"", "driver = \"noop\"");
    reconfigure(&site, &[("noop", ""), ("extra", other_record)], to_noop);
    hang_up(&site, &daemon, KEPT);
    assert!(site.log().contains("driver load_balancer.next: found no entry"), "{}", site.log());
    assert!(site.log().contains("but the worker uses it"), "{}", site.log());
    serves(3);
    let to_next = (to_noop.1, to_noop.0);
    reconfigure(&site, &[("next", other_record), ("extra", "max_queue = \"many\"")], to_next);
    hang_up(&site, &daemon, KEPT);
    serves(3);
    let pinned = format!("sha256 = \"{}\"", "0".repeat(64));
    reconfigure(&site, &[("next", other_record), ("extra", &pinned)], none);
    hang_up(&site, &daemon, KEPT);
    assert!(site.log().contains("driver load_balancer.extra: stage checksum"), "{}", site.log());
    serves(3);
    assert!(!site.path().join("other-record").exists(), "it was opened although another file is refused");
    assert_eq!(http::get(site.http_port, "/drivers/v1/load_balancer/noop", "").unwrap().status, 404);

    // Other sections wait for a restart, and say so; a limit needs no other words than its key.
    reconfigure(&site, &[("next", record), ("extra", "max_queue = 3")], ("[worker]\n", "[worker]\nmax_depth = 32\n"));
    let line = hang_up(&site, &daemon, "restart to apply what changed");
    assert_eq!(line["sections"], "worker");
    assert_eq!(driver(&site, "extra")["generation"], 3);
    serves(3);
    daemon.stop();
}

#[test]
fn a_call_timeout_holds_from_the_signal_on() {
    let site = Site::new(Setup {
        driver: "bad",
        driver_config: "invoke = { suspend = \"hang_until_cancelled\" }",
        drivers: "call_timeout_seconds = 20",
        ..Setup::default()
    });
    let daemon = site.start();
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replace("call_timeout_seconds = 20", "call_timeout_seconds = 0.2"));
    hang_up(&site, &daemon, FOLLOWED);
    let begun = std::time::Instant::now();
    assert_eq!(site.ask(&action("SUSPEND"))["hpcs_response"], "FAIL");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    daemon.stop();
}

#[test]
fn a_watched_file_is_reloaded_by_itself() {
    let site = site("in-process", "");
    let daemon = site.start_with(&["serve", "--watch"]);
    let serves = |version: &str| {
        wait_for(version, Duration::from_secs(30), || (driver(&site, "next")["version"] == version).then_some(()));
    };
    install(&site, "2.0.0");
    serves("2.0.0");
    site.pass(&update(80, &[("1", 81)]));
    // In place, as `cp` does it.
    fs::write(library(&site), noop("3.0.0")).unwrap();
    serves("3.0.0");
    fs::write(library(&site), "no library").unwrap();
    wait_for("the refusal", Duration::from_secs(30), || {
        driver(&site, "next")["last_reload_error"].as_str().filter(|error| error.contains("stage elf")).map(drop)
    });
    site.pass(&action("SUSPEND"));
    assert_eq!(driver(&site, "next")["version"], "3.0.0");
    // A reload of the configuration knows of the option.
    hang_up(&site, &daemon, KEPT);
    install(&site, "4.0.0");
    serves("4.0.0");
    hang_up(&site, &daemon, "nothing changed");
    daemon.stop();

    // Without the option nothing happens by itself; with the key it does.
    let daemon = site.start();
    install(&site, "5.0.0");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(driver(&site, "next")["version"], "4.0.0");
    daemon.stop();
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replacen("[daemon]\n", "[daemon]\nwatch_drivers = true\n", 1));
    let daemon = site.start();
    install(&site, "6.0.0");
    serves("6.0.0");
    daemon.stop();
}

#[test]
fn haproxy_runs_on_through_reloads_of_its_driver() {
    let site = Site::new(Setup { driver: "haproxy", driver_config: HAPROXY, ..Setup::default() });
    let daemon = site.start();
    let port = capstan_tests::free_port();
    site.pass(&update(port, &[("1", 1)]));
    let processes = site.haproxy_processes();
    assert!(!processes.is_empty());
    for command in ["reload", "restart", "reload"] {
        site.expect(0, &["driver", command, "haproxy"]);
        // Runtime state and what was last applied are known to the next generation: nothing has to be started again.
        site.pass(&update(port, &[("1", 1), ("2", 2)]));
        site.pass(&update(port, &[("1", 1)]));
        site.pass(&action("STATS"));
    }
    assert_eq!(site.haproxy_processes()[0], processes[0], "the master is the same");
    daemon.stop();
}
