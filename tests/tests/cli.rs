//! The commands of the built binary, and the daemon's HTTP as an operator uses them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use capstan_tests::{
    daemon::{Ended, Setup, Site, update},
    free_port, gearman,
    gearmand::{Gearmand, wait_for_worker},
    http, paths, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const DISCOVER: &str = "{\"hpcs_action\": \"DISCOVER\"}";

fn capstan(arguments: &[&str]) -> Ended {
    Ended::of(Command::new(paths::capstan()).args(arguments).stdin(Stdio::null()).output().unwrap())
}

#[test]
fn every_command_has_help_and_unknown_ones_are_usage() {
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = BTreeSet::new();
    while let Some(command) = waiting.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = capstan(&words);
        assert_eq!(help.code, Some(0), "{words:?}: {help:?}");
        assert!(help.out.len() > 100 && help.out.contains("Usage: capstan"), "{words:?}: {}", help.out);
        seen.insert(command.join(" "));
        let commands =
            help.out.split("\nCommands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
        // A line that is further in goes on with what the one before says.
        for line in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let (name, about) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            assert!(!about.trim().is_empty(), "{words:?}: {name} says nothing about itself");
            if name != "help" {
                waiting.push(command.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
    }
    for expected in [
        "serve",
        "worker",
        "driver list",
        "driver info",
        "driver check",
        "driver reload",
        "driver rollback",
        "driver restart",
        "config check",
        "config show",
        "config import",
        "job send",
        "job list",
        "job show",
        "job cancel",
        "job retry",
        "lbaas",
        "token new",
        "token list",
        "token show",
        "token revoke",
        "store info",
        "store check",
        "store backup",
        "store restore",
        "completions",
    ] {
        assert!(seen.contains(expected), "{expected} is not among {seen:?}");
    }
    assert_eq!(capstan(&["--version"]).out.trim(), format!("capstan {}", env!("CARGO_PKG_VERSION")));
    for wrong in [
        &["sevre"][..],
        &[],
        &["driver"],
        &["driver", "lst"],
        &["serve", "--nonsense"],
        &["job", "send"],
        &["--output", "xml", "driver", "list"],
    ] {
        let ended = capstan(wrong);
        assert_eq!(ended.code, Some(64), "{wrong:?}: {ended:?}");
        assert!(!ended.error.is_empty(), "{wrong:?}");
    }
    assert!(capstan(&["sevre"]).error.contains("serve"), "the nearest command is named");
    // A state that there is not is told before anybody is asked, and which there are.
    for (command, known) in [("pool nodes", "registering"), ("job list", "cancelled"), ("node list", "terminated")] {
        let words: Vec<&str> = command.split(' ').chain(["--state", "bogus"]).collect();
        let ended = capstan(&words);
        assert_eq!(ended.code, Some(64), "{command}: {ended:?}");
        assert!(ended.error.contains("bogus") && ended.error.contains(known), "{command}: {ended:?}");
    }
}

#[test]
fn completions_are_what_their_shells_can_read() {
    for (shell, check) in [("bash", Some("bash")), ("zsh", None), ("fish", None)] {
        let ended = capstan(&["completions", shell]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.contains("capstan") && ended.out.contains("driver") && ended.out.contains("send"), "{shell}");
        if let Some(program) = check {
            let mut child = Command::new(program).arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(ended.out.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{shell} does not take it");
        }
    }
    assert_eq!(capstan(&["completions", "tcsh"]).code, Some(64));
}

#[test]
fn a_reader_that_goes_away_is_no_fault_and_a_full_device_is_one() {
    let site = Site::worker("noop", "");
    let into = |out: Stdio, arguments: &[&str]| {
        let mut command = Command::new(paths::capstan());
        command.arg("--config").arg(site.config()).args(arguments).stdin(Stdio::null()).stdout(out);
        Ended::of(command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap())
    };
    for arguments in [
        &["completions", "bash"][..],
        &["config", "show"],
        &["config", "check"],
        &["--help"],
        &["driver", "info", "noop"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = into(writer.into(), arguments);
        assert_eq!((ended.code, ended.error.as_str()), (Some(0), ""), "{arguments:?} into a pipe that nobody reads");
        let ended = into(File::options().write(true).open("/dev/full").unwrap().into(), arguments);
        let expected =
            "capstan: the result cannot be written to standard output: No space left on device (os error 28)\n";
        assert_eq!((ended.code, ended.error.as_str()), (Some(1), expected), "{arguments:?} into a full device");
    }
}

#[test]
fn without_a_daemon_the_commands_say_so() {
    let site = Site::worker("noop", "");
    let ended = site.expect(69, &["driver", "list"]);
    assert!(ended.out.is_empty() && ended.error.contains("start it with `capstan serve`"), "{ended:?}");
    let url = format!("http://127.0.0.1:{}", free_port());
    let ended = site.expect(69, &["driver", "list", "--url", &url]);
    assert!(ended.error.contains("correct --url"), "{ended:?}");
    site.expect(69, &["driver", "list", "--socket", "/nowhere/capstan.sock"]);
    site.expect(64, &["driver", "list", "--url", "ftp://x"]);
    site.expect(64, &["driver", "list", "--url", &url, "--socket", "/x"]);
    let ended = site.expect(69, &["job", "send", "node-1", DISCOVER]);
    assert!(ended.error.contains("no job server can be reached"), "{ended:?}");
    site.expect(64, &["driver", "info", "nobody"]);
    site.expect(1, &["driver", "info", "/nowhere/driver.so"]);
    site.expect(1, &["driver", "check", "/nowhere/driver.so"]);
    let ended = capstan(&["--config", "/nowhere/capstan.toml", "serve"]);
    assert!(ended.code == Some(64) && ended.error.contains("/nowhere/capstan.toml"), "{ended:?}");
}

#[test]
fn lists_as_table_and_as_json() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    site.pass(&update(80, &[("1", 81)]));
    let table = site.expect(0, &["driver", "list"]);
    let (head, row) = table.out.split_once('\n').unwrap();
    for column in ["NAME", "KIND", "STATE", "VERSION", "ISOLATION", "CALLS", "ERRORS", "P50"] {
        assert!(head.contains(column), "{column}: {head}");
    }
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..5], ["noop", "load_balancer", "ready", env!("CARGO_PKG_VERSION"), "process"], "{row}");
    for place in [
        vec![],
        vec!["--url".to_owned(), format!("http://127.0.0.1:{}", site.http_port)],
        vec!["--socket".to_owned(), site.path().join("run/capstan.sock").display().to_string()],
    ] {
        let mut words = vec!["driver", "list", "--output", "json"];
        words.extend(place.iter().map(String::as_str));
        let json = site.expect(0, &words).json();
        assert_eq!(json["drivers"][0]["name"], "noop");
        assert!(json["drivers"][0]["calls"].as_u64() >= Some(1), "{json}");
    }
    let check = site.expect(0, &["driver", "check", "noop"]);
    for stage in [
        "resolve",
        "file",
        "elf",
        "manifest",
        "compatibility",
        "checksum",
        "signature",
        "store",
        "probe",
        "configuration",
        "load",
        "open",
        "health",
    ] {
        assert!(
            check.out.lines().any(|line| line.starts_with(stage) && line.ends_with("ok")),
            "{stage}: {}",
            check.out
        );
    }
    let json = site.expect(0, &["driver", "check", "noop", "--output", "json"]).json();
    assert!(json["stages"].as_array().unwrap().len() == 13 && json["error"].is_null(), "{json}");
    assert_eq!(site.expect(0, &["driver", "info", "noop", "--output", "json"]).json()["manifest"]["name"], "noop");
    site.expect(0, &["driver", "info", "load_balancer.noop"]);
    site.expect(0, &["config", "check", "--output", "json"]).json();
    site.expect(0, &["config", "show", "--output", "json"]).json();
    // A reader that goes away is no reason to crash.
    let head = Command::new("sh")
        .args(["-c", "\"$0\" --config \"$1\" config show | head -1"])
        .arg(paths::capstan())
        .arg(site.config())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&head.stderr), "");
    daemon.stop();
}

#[test]
fn a_check_says_at_which_stage_a_driver_fails() {
    let site = Site::worker("noop", "");
    let text = site.path().join("text.so");
    fs::write(&text, "no library").unwrap();
    let text = text.to_str().unwrap();
    let ended = site.expect(1, &["driver", "check", text]);
    assert!(ended.error.contains("stage elf: "), "{ended:?}");
    let bad = paths::driver("load_balancer_noop").with_file_name("libcapstan_bad_driver.so");
    let config = "{\"open\": \"error:auth_failed\"}";
    let ended = site.expect(1, &["driver", "check", bad.to_str().unwrap(), "--driver-config", config]);
    assert!(ended.out.lines().any(|line| line.starts_with("load ") && line.ends_with("ok")), "{}", ended.out);
    assert!(ended.out.lines().any(|line| line.starts_with("open ") && line.ends_with("failed")), "{}", ended.out);
    assert!(ended.error.contains("stage open: ") && ended.error.contains("auth_failed"), "{}", ended.error);
    let json = site.run(&["driver", "check", bad.to_str().unwrap(), "--driver-config", config, "--output", "json"]);
    let json = Ended::of(json).json();
    assert!(json["error"].as_str().unwrap().contains("stage open"), "{json}");
    site.expect(64, &["driver", "check", bad.to_str().unwrap(), "--driver-config", "{no JSON"]);
}

#[test]
fn a_file_is_checked_by_the_rules_about_owners_that_hold_when_it_is_loaded() {
    let site = Site::worker("noop", "");
    // Folders that all may write and nobody may take from others are good enough for development only.
    let shared = site.path().join("shared");
    fs::create_dir_all(shared.join("own")).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let library = shared.join("own/driver.so");
    fs::copy(paths::driver("load_balancer_noop"), &library).unwrap();
    fs::set_permissions(&library, fs::Permissions::from_mode(0o644)).unwrap();
    let library = library.to_str().unwrap();
    // The rules about files are those of loading; the kit that follows is not what this is about.
    let check = ["driver", "check", library, "--load-only"];
    let stages = |ended: &Ended| -> Vec<String> {
        ended.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };

    // Without a configuration it is as strict as a daemon without one.
    let without = |more: &[&str]| capstan(&[&["--config", "/nowhere/capstan.toml"], &check[..], more].concat());
    let ended = without(&[]);
    assert_eq!((ended.code, stages(&ended)), (Some(1), vec!["resolve ok".to_owned(), "file failed".to_owned()]));
    assert!(ended.error.contains("note: for development, --trust-own-files admits it"), "{}", ended.error);
    let json = without(&["--output", "json"]).json();
    assert!(json["error"].as_str().unwrap().contains("stage file: "), "{json}");
    assert!(json["remark"].as_str().unwrap().contains("--trust-own-files"), "{json}");
    let ended = without(&["--trust-own-files"]);
    assert_eq!((ended.code, stages(&ended).last().map(String::as_str)), (Some(0), Some("health ok")), "{ended:?}");
    let remark = "note: only --trust-own-files admits this file: found ";
    assert!(ended.error.starts_with(remark) && !ended.error.contains("chmod go-w /tmp"), "{}", ended.error);

    // With one, it is as that says, and a daemon says the same.
    let text = fs::read_to_string(site.config()).unwrap();
    let line = text.lines().position(|line| line.starts_with("trust_own_files")).unwrap() + 1;
    let ended = site.expect(0, &check);
    let who = format!("drivers.trust_own_files = true ({}:{line})", site.config().display());
    assert!(ended.error.starts_with(&format!("note: only {who} admits this file: found ")), "{}", ended.error);
    site.configure(&format!(
        "{}\n[known_drivers.load_balancer.strict]\nlibrary = \"{library}\"\nrequired = true\n",
        text.replace("trust_own_files = true", "trust_own_files = false")
    ));
    let found = site.expect(1, &check).error;
    let found = found.split("stage file: ").nth(1).unwrap();
    assert!(site.expect(1, &["driver", "check", "strict"]).error.contains(found));
    assert!(site.expect(69, &["serve"]).error.contains(found));
    site.expect(0, &["driver", "check", "strict", "--trust-own-files"]);
}

#[test]
fn jobs_are_sent_in_every_way() {
    let gearmand = Gearmand::start();
    for job_server in [None, Some(gearmand.port())] {
        let site = Site::new(Setup { job_server, ..Setup::default() });
        let daemon = site.start();
        wait_for_worker(site.job_server_port, &site.function);
        let sent = site.expect(0, &["job", "send", &site.function, DISCOVER]);
        assert_eq!(sent.json()["hpcs_response"], "PASS");
        assert!(sent.error.contains("ms"), "how long it took stands beside the result: {}", sent.error);
        assert_eq!(site.expect(0, &["job", "send", &site.function, DISCOVER, "--output", "json"]).error, "");

        // From standard input.
        let mut child = Command::new(paths::capstan())
            .arg("--config")
            .arg(site.config())
            .args(["job", "send", &site.function, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(DISCOVER.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&ended.stdout).unwrap()["hpcs_response"], "PASS");

        // In the background: a handle, and the work is done.
        let unique = "in-the-background";
        let sent = site.expect(
            0,
            &["job", "send", &site.function, DISCOVER, "--background", "--unique", unique, "--output", "json"],
        );
        assert!(sent.json()["handle"].as_str().unwrap().starts_with("H:"), "{}", sent.out);
        wait_for("the job to be done", Duration::from_secs(10), || site.log().contains(unique).then_some(()));

        // Nobody serves that function.
        let begun = Instant::now();
        let ended = site.expect(1, &["job", "send", "nobody", DISCOVER, "--timeout", "1"]);
        assert!(ended.error.contains("no result within 1s") && begun.elapsed() < Duration::from_secs(5), "{ended:?}");

        site.expect(64, &["job", "send", &site.function, "{no JSON"]);
        site.expect(1, &["job", "send", &site.function, "[1]"]);
        site.expect(64, &["job", "send", "", DISCOVER]);
        let nowhere = format!("127.0.0.1:{}", free_port());
        let ended = site.expect(69, &["job", "send", &site.function, DISCOVER, "--server", &nowhere]);
        assert!(ended.error.contains(&nowhere), "{ended:?}");
        site.expect(64, &["job", "send", &site.function, DISCOVER, "--server", "no:port:at:all"]);
        // The configuration may be absent when the server is named.
        let server = format!("127.0.0.1:{}", site.job_server_port);
        let ended = capstan(&[
            "--config",
            "/nowhere/capstan.toml",
            "job",
            "send",
            &site.function,
            DISCOVER,
            "--server",
            &server,
        ]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        daemon.stop();
    }
}

#[test]
fn a_foreign_worker_answers_our_client() {
    let gearmand = Gearmand::start();
    let site = Site::new(Setup { job_server: Some(gearmand.port()), ..Setup::default() });
    let foreign = Command::new("gearman")
        .args(["-h", "127.0.0.1", "-p", &gearmand.port().to_string(), "-w", "-f", "reverse", "--", "rev"])
        .spawn()
        .unwrap();
    let foreign = capstan_tests::process::Process::from(foreign);
    wait_for_worker(gearmand.port(), "reverse");
    let sent = site.expect(0, &["job", "send", "reverse", "[1, 2]"]);
    assert_eq!(sent.out.trim(), "]2 ,1[");
    drop(foreign);
}

#[test]
fn http_over_tcp_and_over_the_socket() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let socket = site.path().join("run/capstan.sock");
    let over_tcp = |path: &str, headers: &str| http::get(site.http_port, path, headers).unwrap();
    let over_unix = |path: &str, headers: &str| http::get_unix(&socket, path, headers).unwrap();
    for (way, get) in [("tcp", &over_tcp as &dyn Fn(&str, &str) -> http::Response), ("unix", &over_unix)] {
        assert_eq!((get("/livez", "").status, get("/readyz", "").status), (200, 200), "{way}");
        assert_eq!(get("/readyz", "").json()["status"], "ready");
        let metrics = get("/metrics", "");
        assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{metrics:?}");
        assert!(metrics.body.contains("capstan_build_info"), "{}", metrics.body);
        for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(name.starts_with("capstan_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert_eq!(get("/drivers/v1", "").json()["drivers"][0]["state"], "ready");
        let one = get("/drivers/v1/load_balancer/noop", "").json();
        assert_eq!((&one["kind"], &one["isolation"]), (&json!("load_balancer"), &json!("process")), "{one}");
        assert!(get("/", "").json()["links"].is_object());

        for path in [
            "/nowhere",
            "/drivers/v1/load_balancer/nobody",
            "/drivers/v1/melons/noop",
            "/livez/",
            "/drivers/v1/load_balancer/..%2f..%2fetc",
        ] {
            let answer = get(path, "x-request-id: suite-42\r\n");
            let problem = answer.json();
            assert_eq!(
                (answer.status, &problem["status"], &problem["type"]),
                (404, &json!(404), &json!("not_found")),
                "{path}: {answer:?}"
            );
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!((answer.header("x-request-id"), &problem["request_id"]), (Some("suite-42"), &json!("suite-42")));
            assert!(!problem["detail"].as_str().unwrap().is_empty());
        }
        // An id that would spoil the log is replaced.
        let id =
            get("/livez", &format!("x-request-id: {}\r\n", "a".repeat(300))).header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 36, "{id}");
        assert_ne!(get("/livez", "").header("x-request-id"), get("/livez", "").header("x-request-id"));
    }
    // What is no HTTP costs its own connection.
    let mut stream = TcpStream::connect(("127.0.0.1", site.http_port)).unwrap();
    stream.write_all(b"\0\x16\x03\x01 no HTTP\r\n\r\n").unwrap();
    let _held_open = TcpStream::connect(("127.0.0.1", site.http_port)).unwrap();
    assert_eq!(over_tcp("/livez", "").status, 200);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    daemon.stop();
    assert!(!socket.exists(), "the socket goes with the daemon");
}

#[test]
fn messages_and_calls_are_counted() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let value = |name: &str, labels: &[&str]| -> f64 {
        let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
        let lines =
            metrics.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let before = value("capstan_worker_messages", &[]);
    site.pass(&update(80, &[("1", 81)]));
    site.pass(&json!({ "hpcs_action": "SUSPEND" }));
    site.submit(b"no message");
    assert_eq!(value("capstan_worker_messages", &[]) - before, 3.0);
    let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
    assert!(metrics.contains("noop") && metrics.contains("apply"), "calls by driver and method:\n{metrics}");
    daemon.stop();
}

#[test]
fn readiness_follows_the_job_server() {
    let mut gearmand = Gearmand::start();
    let site = Site::new(Setup { job_server: Some(gearmand.port()), ..Setup::default() });
    let daemon = site.start();
    let ready = || http::get(site.http_port, "/readyz", "").unwrap();
    assert_eq!(ready().status, 200);
    gearmand.process().signal(Signal::KILL);
    gearmand.process().wait(Duration::from_secs(5));
    let answer = wait_for("not ready", Duration::from_secs(10), || Some(ready()).filter(|answer| answer.status == 503));
    assert!(answer.json()["checks"]["worker"].as_str().unwrap().contains("no job server"), "{answer:?}");
    assert_eq!(http::get(site.http_port, "/livez", "").unwrap().status, 200, "it lives all the same");
    drop(gearmand);
    let _gearmand = Gearmand::start_on(site.job_server_port);
    wait_for("ready again", Duration::from_secs(10), || (ready().status == 200).then_some(()));
    site.pass(&json!({ "hpcs_action": "DISCOVER" }));
    daemon.stop();
}

#[test]
fn a_daemon_starts_without_its_job_server_and_says_that_it_is_not_ready() {
    let port = free_port();
    let site = Site::new(Setup { job_server: Some(port), ..Setup::default() });
    let daemon = site.start();
    assert_eq!(http::get(site.http_port, "/readyz", "").unwrap().status, 503);
    let _gearmand = Gearmand::start_on(port);
    wait_for("ready", Duration::from_secs(10), || {
        (http::get(site.http_port, "/readyz", "").unwrap().status == 200).then_some(())
    });
    site.pass(&json!({ "hpcs_action": "DISCOVER" }));
    daemon.stop();
}

#[test]
fn a_message_at_hand_is_finished_before_the_daemon_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::new(Setup {
            driver: "bad",
            driver_config: "invoke = { suspend = \"sleep:1500\" }",
            ..Setup::default()
        });
        let daemon = site.start();
        let begun = Instant::now();
        thread::scope(|scope| {
            let reply = scope.spawn(|| site.pass(&json!({ "hpcs_action": "SUSPEND" })));
            wait_for("the call to be out", Duration::from_secs(10), || {
                let listed = http::get(site.http_port, "/drivers/v1/load_balancer/bad", "").unwrap().json();
                (listed["in_flight"] == 1).then_some(())
            });
            daemon.signal(signal);
            reply.join().expect("the reply came");
        });
        assert!(begun.elapsed() >= Duration::from_millis(1500), "it was not cut short");
        daemon.ended();
        assert!(TcpStream::connect(("127.0.0.1", site.http_port)).is_err(), "nobody listens any more");
        assert!(TcpStream::connect(("127.0.0.1", site.job_server_port)).is_err());
        assert_eq!(
            gearman::try_submit(site.job_server_port, "x", b"{}").unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
    }
}

#[test]
fn further_signals_while_the_daemon_ends_change_nothing() {
    let site =
        Site::new(Setup { driver: "bad", driver_config: "invoke = { suspend = \"sleep:1500\" }", ..Setup::default() });
    for (signal, answer) in [
        (Signal::TERM, "already ending"),
        (Signal::INT, "already ending"),
        (Signal::HUP, "the configuration was read again; nothing changed"),
    ] {
        let daemon = site.start();
        let seen = |text: &str| site.log().matches(text).count();
        let tells = |text: &str, signal| {
            let before = seen(text);
            daemon.signal(signal);
            wait_for(text, Duration::from_secs(10), || (seen(text) > before).then_some(()));
        };
        thread::scope(|scope| {
            let reply = scope.spawn(|| site.pass(&json!({ "hpcs_action": "SUSPEND" })));
            wait_for("the call to be out", Duration::from_secs(10), || {
                let listed = http::get(site.http_port, "/drivers/v1/load_balancer/bad", "").unwrap().json();
                (listed["in_flight"] == 1).then_some(())
            });
            tells("ending: no new messages are taken", Signal::TERM);
            tells(answer, signal);
            tells(answer, signal);
            reply.join().expect("the reply came");
        });
        daemon.ended();
    }
}

#[test]
fn the_configuration_and_the_folders_in_it_may_be_named_by_relative_paths() {
    let site = Site::haproxy();
    let text = fs::read_to_string(site.config()).unwrap();
    let root = format!("{}/", site.path().display());
    let relative = ["state_dir", "run_dir"].into_iter().fold(text, |text, key| {
        assert!(text.contains(&format!("{key} = \"{root}")), "{key}: {text}");
        text.replace(&format!("{key} = \"{root}"), &format!("{key} = \""))
    });
    // Drivers beside the configuration, as a vendor's trial would have them.
    fs::create_dir(site.path().join("drivers")).unwrap();
    fs::set_permissions(site.path().join("drivers"), fs::Permissions::from_mode(0o755)).unwrap();
    let library = paths::driver("load_balancer_haproxy");
    fs::copy(&library, site.path().join("drivers").join(library.file_name().unwrap())).unwrap();
    let directory = format!("directory = \"{}\"", paths::build().display());
    assert!(relative.contains(&directory));
    site.configure(&relative.replace(&directory, "directory = \"drivers\""));

    // Seen from its own folder, and from another one.
    let from_root = site.config().strip_prefix("/").unwrap().to_owned();
    for (folder, config) in [(site.path(), Path::new("capstan.toml")), (Path::new("/"), &from_root)] {
        let daemon = site.start_in(folder, config);
        // The driver's copy is probed by a child, HAProxy is started and recorded below the state directory.
        site.pass(&update(free_port(), &[("1", free_port())]));
        assert!(!site.haproxy_processes().is_empty());
        let listed = Command::new(paths::capstan())
            .current_dir(folder)
            .arg("--config")
            .arg(config)
            .args(["driver", "list", "--output", "json"])
            .output()
            .unwrap();
        assert_eq!(Ended::of(listed).json()["drivers"][0]["state"], "ready");
        site.pass(&json!({ "hpcs_action": "DELETE" }));
        daemon.stop();
        for name in ["state/lock", "state/drivers"] {
            assert!(site.path().join(name).exists(), "{name}");
        }
    }
}

#[test]
fn one_daemon_to_a_state_directory_and_to_a_port() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let ended = site.expect(69, &["serve"]);
    assert!(ended.error.contains("another daemon uses") && ended.error.contains("state"), "{ended:?}");
    site.pass(&json!({ "hpcs_action": "DISCOVER" }));
    daemon.kill();
    // The lock ended with the process, and the socket it left behind is nobody's.
    let daemon = site.start();
    site.expect(0, &["driver", "list"]);
    daemon.stop();

    let taken = TcpListener::bind(("127.0.0.1", site.http_port)).unwrap();
    let ended = site.expect(69, &["serve"]);
    assert!(ended.error.contains(&site.http_port.to_string()) && ended.error.contains("http.listen"), "{ended:?}");
    drop(taken);
    let _taken = TcpListener::bind(("127.0.0.1", site.job_server_port)).unwrap();
    let ended = site.expect(69, &["serve"]);
    assert!(ended.error.contains(&site.job_server_port.to_string()), "{ended:?}");
}

#[test]
fn without_a_role_or_a_driver_there_is_nothing_to_serve() {
    let site = Site::worker("noop", "");
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replace("roles = [\"worker\"]", "roles = []"));
    // Drivers alone are hosted, as their authors need it; no job server is opened for them.
    let daemon = site.start();
    assert!(site.log().contains("no role is switched on"), "{}", site.log());
    let list = site.expect(0, &["driver", "list", "--output", "json"]).json();
    assert_eq!(list["drivers"][0]["state"], "ready", "{list}");
    assert!(TcpStream::connect(("127.0.0.1", site.job_server_port)).is_err());
    daemon.stop();
    let (without, _) = text.split_once("[known_drivers").unwrap();
    let roles = without.replace("roles = [\"worker\"]", "roles = []");
    site.configure(roles.split("[worker]").next().unwrap());
    let ended = site.expect(64, &["serve"]);
    assert!(ended.error.contains("daemon.roles") && ended.error.contains("known_drivers"), "{ended:?}");
    site.configure(&text.replace("roles = [\"worker\"]", "roles = []"));
    // `worker` needs no role in the file.
    let daemon = site.start_with(&["worker"]);
    site.pass(&json!({ "hpcs_action": "DISCOVER" }));
    daemon.stop();
    let ended = site.expect(64, &["worker", "--driver", "nobody"]);
    assert!(ended.error.contains("noop"), "{ended:?}");
}

/// A daemon that serves the clouds, with a cloud without machines whose file is `cloud` in the site's folder.
fn orchestrator() -> Site {
    let site = Site::worker("noop", "");
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&format!(
        "{}\n[known_drivers.cloud.dummy]\nlibrary = \"libcapstan_cloud_dummy.so\"\n\
         [cloud_farm.default]\nengine = \"dummy\"\n[cloud_farm.default.extra_params]\nfile = \"@ROOT@/cloud\"\nclient_tokens = false\n",
        text.replace("roles = [\"worker\"]", "roles = [\"orchestrator\"]")
    ));
    site
}

#[test]
fn a_node_that_was_waited_for_is_shown_and_its_job_says_how_it_ended() {
    let site = orchestrator();
    let daemon = site.start();
    let made = site.expect(0, &["node", "create", "web", "--image", "debian-12", "--size", "small", "--wait"]);
    let listed = site.expect(0, &["node", "list", "--output", "json"]).json();
    let id = listed["nodes"][0]["id"].as_str().unwrap().to_owned();
    assert!(made.out.lines().any(|line| line.split_whitespace().nth(1) == Some(&id)), "{id}: {made:?}");
    let said = |kind: &str| site.expect(0, &["job", "list", "--kind", kind]).out;
    assert!(said("cloud.create_node").contains(&format!("{id} is running")), "{}", said("cloud.create_node"));

    // A caller's mistake is not the driver's.
    site.expect(1, &["node", "show", "nope"]);
    site.expect(0, &["node", "delete", &id, "--wait"]);
    assert!(said("cloud.delete_node").contains(&format!("{id} is gone")), "{}", said("cloud.delete_node"));
    assert_eq!(site.expect(0, &["driver", "list"]).error, "");
    let clouds = site.expect(0, &["cloud", "list", "--output", "json"]).json();
    assert_eq!(clouds["clouds"][0]["error"], Value::Null, "{clouds}");

    let unknown = site.expect(1, &["node", "create", "--image", "none", "--size", "small"]);
    assert!(unknown.error.contains("`capstan cloud images default` lists them"), "{unknown:?}");
    daemon.stop();
}

#[test]
fn a_node_of_another_deployments_pool_is_not_removed_unless_forced() {
    let site = orchestrator();
    let cloud = json!({ "extra_params": { "file": site.path().join("cloud") } }).to_string();
    let library = paths::build().join("libcapstan_cloud_dummy.so");
    let node = json!({
        "name": "theirs", "image": "image-1", "size": "size-1",
        "tags": { "capstan-owner": "another", "capstan-node": "01THEIRS" },
    });
    let call =
        ["driver", "call", library.to_str().unwrap(), "create_node", &node.to_string(), "--driver-config", &cloud];
    let made = site.expect(0, &[&call[..], &["--trust-own-files"]].concat()).json();
    let id = made["id"].as_str().unwrap();
    let daemon = site.start();
    let refused = site.expect(1, &["node", "delete", id]);
    for says in ["the pool of another deployment, another", &format!("`capstan pool retire {id}` there")] {
        assert!(refused.error.contains(says), "{refused:?}");
    }
    site.expect(0, &["node", "show", id]);
    site.expect(0, &["node", "delete", id, "--force", "--wait"]);
    daemon.stop();
}

#[test]
fn a_job_server_that_speaks_tls_and_one_whose_port_is_taken_are_told_with_a_remedy() {
    let site = Site::worker("noop", "");
    let listener = TcpListener::bind(("127.0.0.1", site.job_server_port)).unwrap();
    let taken = site.expect(69, &["serve"]);
    assert!(taken.error.contains("or give gearman.embedded_listen another address or port"), "{taken:?}");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The alert of a TLS server that was not greeted as it should be.
        stream.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).unwrap();
        stream
    });
    let ended = Ended::of(site.run(&["job", "send", "node-1", DISCOVER]));
    assert!(ended.error.contains("speaks TLS; this side does once gearman.ssl_ca"), "{ended:?}");
    drop(server.join().unwrap());
}
