//! Drivers in another language through the built daemon: entries with `command`, on both channels, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use capstan_tests::{
    daemon::{Daemon, Setup, Site, update},
    http,
    process::{is_alive, signal_to, with_command_line},
    wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn action(name: &str) -> Value {
    json!({ "hpcs_action": name })
}

/// A site whose worker uses this entry, under the name `py`; `@ROOT@/d` holds the example in Python and the driver that misbehaves.
fn site(entry: &str) -> Site {
    let more = format!("[known_drivers.load_balancer.py]\n{entry}");
    let site = Site::new(Setup { more: &more, ..Setup::default() });
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = site.path().join("d");
    fs::create_dir(&folder).unwrap();
    for (from, mode) in [
        ("plugins/examples/python-load-balancer/driver.py", 0o755),
        ("plugins/examples/python-load-balancer/capstan_driver.py", 0o644),
        ("tests/drivers/raw.py", 0o755),
    ] {
        put(&site, from.rsplit('/').next().unwrap(), mode, &fs::read(repository.join(from)).unwrap());
    }
    site
}

/// Puts a file into `@ROOT@/d`.
fn put(site: &Site, name: &str, mode: u32, bytes: &[u8]) -> PathBuf {
    let path = site.path().join("d").join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn start(site: &Site) -> Daemon<'_> {
    site.start_with(&["worker", "--driver", "py"])
}

/// What `driver list` says of a driver.
fn listed(site: &Site, name: &str) -> Value {
    let list = site.expect(0, &["driver", "list", "--output", "json"]).json();
    list["drivers"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

/// The driver's own process: the one below the child that the daemon started.
fn driver_process(site: &Site) -> u32 {
    let keeper = listed(site, "py")["pid"].as_u64().unwrap();
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("one process below {keeper}, not {children:?}"))
}

fn until_ready(site: &Site) {
    wait_for("the driver to be ready", LIMIT, || (listed(site, "py")["state"] == "ready").then_some(()));
}

fn statuses(reply: &Value) -> Vec<(&str, &str)> {
    let nodes = reply["nodes"].as_array().unwrap().iter();
    nodes.map(|node| (node["id"].as_str().unwrap(), node["status"].as_str().unwrap())).collect()
}

#[test]
fn the_driver_in_python_serves_on_both_channels_and_however_it_is_started() {
    for command in [r#"["@ROOT@/d/driver.py"]"#, r#"["/usr/bin/python3", "@ROOT@/d/driver.py"]"#] {
        for channel in ["stdio", "descriptor"] {
            let site = site(&format!("command = {command}\nchannel = \"{channel}\""));
            let daemon = start(&site);
            assert_eq!(site.send(&action("STATS"))["status"], "DELETED");
            let message = update(80, &[("1", 81), ("2", 82)]);
            let reply = site.send(&message);
            assert_eq!(reply["hpcs_response"], "PASS", "{command} {channel}: {reply}");
            assert_eq!(reply["loadBalancers"][0]["nodes"][1]["condition"], "ENABLED", "{reply}");
            assert_eq!(statuses(&site.pass(&action("STATS"))), [("1", "UP"), ("2", "UP")]);
            site.pass(&action("SUSPEND"));
            assert_eq!(statuses(&site.pass(&action("STATS"))), [("1", "DOWN"), ("2", "DOWN")]);
            site.pass(&action("ENABLE"));
            let metrics = site.pass(&action("METRICS"));
            assert_eq!(metrics["loadBalancers"], json!([{ "protocol": "http", "bytes_out": 0 }]));
            assert!(metrics["utc_start"].as_str() < metrics["utc_end"].as_str(), "{metrics}");
            site.pass(&action("DELETE"));
            site.pass(&action("DELETE"));
            assert_eq!(site.ask(&action("STATS"))["status"], "DELETED");
            site.fail(&action("SUSPEND"), "the device carries no such load balancer");
            site.fail(
                &json!({ "hpcs_action": "ARCHIVE", "hpcs_object_store_type": "swift",
                    "hpcs_object_store_endpoint": "http://127.0.0.1:1/v1/a", "hpcs_object_store_basepath": "b",
                    "hpcs_object_store_token": "a-token", "loadBalancers": [{ "id": "1", "name": "web", "protocol": "http" }] }),
                "Selected driver does not support ARCHIVE action.",
            );
            let row = listed(&site, "py");
            assert_eq!((&row["isolation"], &row["version"]), (&json!("process"), &json!("0.1.0")), "{row}");
            let line = site.log_lines().into_iter().find(|line| line["message"] == "changed").unwrap();
            assert_eq!(line["driver"], "load_balancer.py");
            assert!(!line["request_id"].as_str().unwrap().is_empty(), "{line}");
            // Nothing of the daemon's environment, nothing else open than what the page names.
            let pid = driver_process(&site);
            let environment = String::from_utf8(fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap();
            assert!(environment.split('\0').all(|one| one.is_empty() || one.starts_with("CAPSTAN_")), "{environment}");
            assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
            daemon.stop();
            assert!(!is_alive(pid), "{command} {channel}");
        }
    }
}

#[test]
fn a_restarted_or_killed_daemon_finds_the_state_and_leaves_no_process() {
    let site = site("command = [\"@ROOT@/d/driver.py\"]");
    let daemon = start(&site);
    site.pass(&update(80, &[("1", 81)]));
    site.pass(&action("SUSPEND"));
    daemon.stop();
    let daemon = start(&site);
    assert_eq!(statuses(&site.pass(&action("STATS"))), [("1", "DOWN")]);
    site.pass(&action("ENABLE"));
    let pid = driver_process(&site);
    daemon.kill();
    wait_for("the driver to end with its daemon", LIMIT, || (!is_alive(pid)).then_some(()));
    wait_for("its keeper to end", LIMIT, || {
        with_command_line(&format!("{}/d/", site.path().display())).is_empty().then_some(())
    });
    let daemon = start(&site);
    assert_eq!(statuses(&site.pass(&action("STATS"))), [("1", "UP")]);
    site.pass(&update(80, &[("1", 81), ("2", 82)]));
    daemon.stop();
}

#[test]
fn a_driver_that_is_killed_in_the_middle_of_a_message_serves_the_next_one() {
    let site = site("command = [\"@ROOT@/d/driver.py\"]\nconfig = { delay_ms = 2000 }");
    let daemon = start(&site);
    site.pass(&update(80, &[("1", 81)]));
    let reply = thread::scope(|scope| {
        let asked = scope.spawn(|| site.ask(&update(80, &[("2", 82)])));
        wait_for("the message to reach the driver", LIMIT, || {
            let running = listed(&site, "py")["running"].clone();
            (running[0]["method"] == "apply").then_some(())
        });
        signal_to(driver_process(&site), Signal::KILL);
        asked.join().unwrap()
    });
    assert_eq!(reply["hpcs_response"], "FAIL", "{reply}");
    assert_eq!(reply["hpcs_error"], "the driver ended while it worked on this");
    until_ready(&site);
    assert_eq!(statuses(&site.pass(&action("STATS"))), [("1", "UP")], "nothing was changed");
    site.pass(&update(80, &[("2", 82)]));
    assert_eq!(statuses(&site.pass(&action("STATS"))), [("2", "UP")]);
    let row = listed(&site, "py");
    assert_eq!((&row["restarts"], &row["ends"]), (&json!(1), &json!({ "crashed": 1 })), "{row}");
    let ended = site.log_lines().into_iter().find(|line| line["end"] == "crashed").unwrap();
    assert_eq!(ended["message"], "the driver ended: it crashed (SIGKILL)");
    let failed = site.log_lines().into_iter().find(|line| line["outcome"] == "FAIL").unwrap();
    let why = failed["why"].as_str().unwrap();
    assert!(why.contains("[unavailable: ") && why.contains("apply: it crashed (SIGKILL); it may be repeated"), "{why}");
    daemon.stop();
}

/// Raises in one method, prints in another, and fails to start when it is told to.
const BROKEN: &str = r#"#!/usr/bin/python3 -IB
import os, sys
sys.path.append(os.path.dirname(os.environ["CAPSTAN_DRIVER_FILE"]))
from capstan_driver import DriverError, Pending, serve

class Broken:
    MANIFEST = {"name": "broken", "version": "1", "kind": "load_balancer", "interface": "load_balancer/1",
                "methods": ["apply", "observe", "suspend", "enable", "delete", "poll", "status"]}

    def __init__(self, host, config):
        if "url" not in config:
            raise DriverError("invalid_argument", "no address of the appliance")
        self.host = host

    def observe(self, call, params):
        return {"generation": 0, "load_balancers": []}

    def suspend(self, call, params):
        return 1 / 0

    def enable(self, call, params):
        print("printed to standard output")
        return {"load_balancers": [], "method": float("nan")}

    def delete(self, call, params):
        return Pending("t-1", 10)

    def poll(self, call, params):
        call.progress(1, 2, "halfway")
        return {"load_balancers": [], "method": params["token"]}

    def apply(self, call, params):
        raise SystemExit("no more")

serve(Broken)
"#;

#[test]
fn a_traceback_stands_in_the_log_and_costs_one_call() {
    let site = site("command = [\"@ROOT@/d/broken.py\"]\nconfig = { url = \"x\" }");
    put(&site, "broken.py", 0o755, BROKEN.as_bytes());
    put(&site, "syntax.py", 0o755, b"#!/usr/bin/python3\ndef broken(:\n");
    let more = "[known_drivers.load_balancer.syntax]\ncommand = [\"@ROOT@/d/syntax.py\"]\n\
        [known_drivers.load_balancer.unopened]\ncommand = [\"@ROOT@/d/broken.py\"]";
    site.configure(&format!("{}\n{more}", fs::read_to_string(site.config()).unwrap()));
    let daemon = start(&site);
    for (name, error) in [
        ("SUSPEND", "the driver failed"),
        ("ENABLE", "the driver's answer cannot be sent"),
        ("STATS", "the driver failed"),
    ] {
        site.fail(&action(name), error);
    }
    site.pass(&action("DELETE"));
    assert_eq!(site.ask(&update(80, &[("1", 81)]))["hpcs_response"], "FAIL");
    let row = listed(&site, "py");
    assert_eq!((&row["state"], &row["restarts"], &row["errors"]["internal"]), (&json!("ready"), &json!(0), &json!(4)));
    daemon.stop();

    let printed = |driver: &str, text: &str| {
        site.log_lines().iter().any(|line| {
            line["driver"] == *driver && line["from"] == "output" && line["message"].as_str().unwrap().contains(text)
        })
    };
    for text in ["Traceback (most recent call last):", "ZeroDivisionError: division by zero", "SystemExit: no more"] {
        assert!(printed("load_balancer.py", text), "{text}: {}", site.log());
    }
    assert!(printed("load_balancer.py", "printed to standard output"), "{}", site.log());
    assert!(printed("load_balancer.syntax", "SyntaxError"), "{}", site.log());
    for (driver, parts) in [
        (
            "syntax",
            ["stage load: ", "it ended by itself with code 1 while it was loaded; it printed last: SyntaxError"],
        ),
        ("unopened", ["stage open: ", "found invalid_argument: no address of the appliance"]),
    ] {
        let prefix = format!("driver load_balancer.{driver}: ");
        let told = site.log_lines().into_iter().filter_map(|line| Some(line["message"].as_str()?.to_owned()));
        let told: Vec<String> = told.filter(|message| message.starts_with(&prefix)).collect();
        let [line] = told.as_slice() else { panic!("{driver}: {told:?}") };
        assert!(parts.iter().all(|part| line.contains(part)), "{driver}: {line}");
    }
}

/// Starts a daemon with these entries, (name, keys, parts of the one line that says why it was refused), beside a good one.
fn refused(site: &Site, entries: &[(&str, String, &[&str])]) {
    let mut toml = fs::read_to_string(site.config()).unwrap();
    for (name, keys, _) in entries {
        write!(toml, "\n[known_drivers.load_balancer.{name}]\n{keys}\n").unwrap();
    }
    site.configure(&toml);
    let daemon = start(site);
    site.pass(&update(80, &[("1", 81)]));
    let list = site.expect(0, &["driver", "list", "--output", "json"]).json();
    let list: BTreeMap<&str, &Value> =
        list["drivers"].as_array().unwrap().iter().map(|one| (one["name"].as_str().unwrap(), one)).collect();
    let lines = site.log_lines();
    let mut faults = Vec::new();
    for (name, _, parts) in entries {
        let prefix = format!("driver load_balancer.{name}: stage ");
        let told = lines.iter().filter_map(|line| line["message"].as_str()).filter(|line| line.starts_with(&prefix));
        let told: Vec<&str> = told.collect();
        let row = list[name];
        if told.len() != 1 || !parts.iter().chain(&["; expected "]).all(|part| told[0].contains(part)) {
            faults.push(format!("{name}: not {parts:?}: {told:#?}"));
        } else if (row["state"].as_str(), row["last_error"].as_str()) != (Some("failed"), Some(told[0])) {
            faults.push(format!("{name}: driver list says {row}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let left = with_command_line(&format!("{}/d/", site.path().display()));
    assert_eq!(left.len(), 2, "the good driver and its keeper alone");
    daemon.stop();
}

#[test]
fn programs_that_are_no_drivers() {
    // The last word makes the good driver's process known by its command line.
    let site = site("command = [\"@ROOT@/d/driver.py\", \"@ROOT@/d/\"]");
    put(&site, "text.sh", 0o755, b"#!/bin/sh\necho ready to serve\nexec sleep 1000\n");
    put(&site, "quiet.sh", 0o755, b"#!/bin/sh\necho out of licences >&2\nexit 3\n");
    put(&site, "nobody.sh", 0o755, b"#!/no/such/shell\n");
    put(&site, "plain.sh", 0o644, b"#!/bin/sh\n");
    put(&site, "nothing", 0o755, b"neither a script nor a program\n");
    let command = |words: &str| format!("command = [{words}]");
    let raw = |step: &str| command(&format!("\"@ROOT@/d/raw.py\", \"{step}\""));
    refused(
        &site,
        &[
            (
                "true",
                command("\"/bin/true\""),
                &["load: ", "found that it ended by itself with code 0 while it was loaded"],
            ),
            ("cat", command("\"/bin/cat\""), &["manifest: ", "found a hello without a manifest"]),
            (
                "text",
                command("\"@ROOT@/d/text.sh\""),
                &[
                    "load: ",
                    "found a hello that cannot be read (a frame of 1919246692 bytes, at most 67174400 are taken)",
                ],
            ),
            ("quiet", command("\"@ROOT@/d/quiet.sh\""), &["load: ", "with code 3", "it printed last: out of licences"]),
            (
                "nobody",
                command("\"@ROOT@/d/nobody.sh\""),
                &["file: ", "found a script for /no/such/shell, which is not there", "install it"],
            ),
            (
                "plain",
                command("\"@ROOT@/d/plain.sh\""),
                &["file: ", "found mode 0644, so that nobody may run it", "chmod +x"],
            ),
            (
                "nothing",
                command("\"@ROOT@/d/nothing\""),
                &["file: ", "found neither a program nor a script that begins with #!", "#!/usr/bin/python3"],
            ),
            (
                "kind",
                raw("hello=kind"),
                &["compatibility: ", "found a driver of kind \"cloud\"", "known_drivers.cloud"],
            ),
            ("no-manifest", raw("hello=no_manifest"), &["manifest: ", "found a hello without a manifest"]),
            ("protocol-0", raw("hello=protocol_0"), &["load: ", "found a hello of protocol 0"]),
            ("failed", raw("hello=failed"), &["load: ", "found no licence; expected one; buy it"]),
            ("reply-first", raw("hello=reply_first"), &["load: ", "another message came first"]),
        ],
    );
}

#[test]
fn files_that_may_not_be_run() {
    let site = site("command = [\"@ROOT@/d/driver.py\", \"@ROOT@/d/\"]");
    let driver = fs::read(site.path().join("d/driver.py")).unwrap();
    let hash = Command::new("sha256sum").arg(site.path().join("d/driver.py")).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap()[..64].to_owned();
    put(&site, "writable.py", 0o757, &driver);
    fs::create_dir(site.path().join("d/shared")).unwrap();
    put(&site, "shared/driver.py", 0o755, &driver);
    fs::set_permissions(site.path().join("d/shared"), fs::Permissions::from_mode(0o777)).unwrap();
    let command = |file: &str| format!("command = [\"@ROOT@/d/{file}\"]");
    let mut entries: Vec<(&str, String, &[&str])> = vec![
        ("missing", command("none.py"), &["resolve: ", "found no such file; expected a program; correct `command`"]),
        (
            "nowhere",
            command("no/none.py"),
            &["resolve: ", "found no folder", "; expected a program; correct `command`"],
        ),
        ("folder", command("shared"), &["file: ", "found a folder"]),
        ("writable", command("writable.py"), &["file: ", "found mode 0757, so that others may write it", "chmod go-w"]),
        ("parent", command("shared/driver.py"), &["file: ", "found the parent folder", "others may write"]),
        ("pin", format!("{}\nsha256 = \"{}\"", command("driver.py"), "0".repeat(64)), &["checksum: ", "expected 0000"]),
        ("config", format!("{}\nconfig = {{ delay = 1 }}", command("driver.py")), &["configuration: ", "config.delay"]),
    ];
    if rustix::process::geteuid().is_root() {
        let foreign = put(&site, "foreign.py", 0o755, &driver);
        chown(&foreign, Some(12345), None).unwrap();
        entries.push(("owner", command("foreign.py"), &["file: ", "found a file owned by uid 12345", "chown root"]));
    }
    refused(&site, &entries);
    // The right pin, and a link that leads to the program.
    let text = fs::read_to_string(site.config()).unwrap();
    std::os::unix::fs::symlink(site.path().join("d/driver.py"), site.path().join("d/link")).unwrap();
    let good = format!("{}\nsha256 = \"{hash}\"", command("link"));
    site.configure(&format!("{text}\n[known_drivers.load_balancer.pinned]\n{good}\n"));
    let daemon = site.start_with(&["worker", "--driver", "pinned"]);
    site.pass(&update(80, &[("1", 81)]));
    assert_eq!(listed(&site, "pinned")["sha256"], hash);
    daemon.stop();
}

#[test]
fn what_a_later_driver_may_say_is_skipped() {
    let site = site("command = [\"@ROOT@/d/raw.py\", \"hello=unknown\", \"suspend=unknown\", \"enable=byte_by_byte\"]");
    let daemon = start(&site);
    for name in ["SUSPEND", "ENABLE", "DELETE"] {
        site.pass(&action(name));
    }
    assert_eq!(listed(&site, "py")["restarts"], 0);
    daemon.stop();
}

#[test]
fn a_driver_that_keeps_ending_shows_in_list_log_and_readiness() {
    let site = site("command = [\"@ROOT@/d/raw.py\", \"hello=another\", \"suspend=no_json\"]");
    let daemon = start(&site);
    assert_eq!(site.ask(&action("SUSPEND"))["hpcs_error"], "the driver ended while it worked on this");
    // It is another driver each time, so it does not come up again.
    let row = wait_for("a start in vain", LIMIT, || {
        let row = listed(&site, "py");
        (row["ends"]["not_started"].as_u64() >= Some(1) && row["state"] == "restarting").then_some(row)
    });
    assert_eq!(row["ends"]["protocol"], 1, "{row}");
    let ended = site.expect(0, &["driver", "list"]);
    assert!(ended.out.lines().any(|line| line.starts_with("py ") && line.contains(" restarting ")), "{ended:?}");
    assert!(
        ended.error.contains("another manifest in its hello") && ended.error.contains("started again in"),
        "{ended:?}"
    );
    let reply = site.ask(&action("ENABLE"));
    assert_eq!(reply["hpcs_error"], "the driver is being started again; it has not seen the call");
    assert_eq!(http::get(site.http_port, "/readyz", "").unwrap().status, 503);
    let line = site.log_lines().into_iter().find(|line| line["end"] == "protocol").unwrap();
    assert!(line["message"].as_str().unwrap().contains("it broke the protocol (a frame that cannot be read"), "{line}");
    daemon.stop();
}

/// A driver whose `open` leaves a file beside it.
const WITNESS: &str = r#"#!/usr/bin/python3 -IB
import os, sys
folder = os.path.dirname(os.environ["CAPSTAN_DRIVER_FILE"])
sys.path.append(folder)
from capstan_driver import serve

class Witness:
    MANIFEST = {"name": "witness", "version": "3.1.4", "kind": "load_balancer", "interface": "load_balancer/1",
                "methods": ["observe"], "config_schema": {"type": "object", "properties": {"port": {"type": "integer"}}}}

    def __init__(self, host, config):
        open(os.path.join(folder, "opened"), "w").close()

    def observe(self, call, params):
        return {}

serve(Witness)
"#;

#[test]
fn info_shows_what_a_command_says_in_its_hello_and_opens_nothing() {
    let site = site("command = [\"@ROOT@/d/witness.py\", \"-v\"]\nconfig = { port = 80 }");
    let witness = put(&site, "witness.py", 0o755, WITNESS.as_bytes());
    let opened = site.path().join("d/opened");
    let hash = Command::new("sha256sum").arg(&witness).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap()[..64].to_owned();
    for name in ["py", "load_balancer.py", witness.to_str().unwrap()] {
        let shown = site.expect(0, &["driver", "info", name]).out;
        for part in ["witness", "3.1.4", "load_balancer/1", "observe", "\"port\"", &hash] {
            assert!(shown.contains(part), "{name}: {part} is not in {shown}");
        }
        let shown = site.expect(0, &["driver", "info", name, "--output", "json"]).json();
        assert_eq!((&shown["manifest"]["name"], &shown["running"]), (&json!("witness"), &Value::Null), "{shown}");
    }
    assert!(!opened.exists(), "`driver info` opened the driver");
    site.expect(0, &["driver", "check", "py"]);
    assert!(opened.exists(), "the witness shows whether it was opened");

    // Beside the worker's own driver, which is another.
    let daemon = site.start();
    let shown = site.expect(0, &["driver", "info", "py"]).out;
    assert!(shown.contains("3.1.4") && shown.contains("in the daemon"), "{shown}");
    // An error of the configuration points to it, so it is there while the configuration is wrong.
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replace("port = 80", "port = \"http\""));
    let refused = site.expect(1, &["driver", "check", "py"]).error;
    assert!(refused.contains("stage configuration") && refused.contains("`capstan driver info`"), "{refused}");
    assert!(site.expect(0, &["driver", "info", "py"]).out.contains("\"port\""));
    // What was begun without a hello says what it printed.
    put(&site, "witness.py", 0o755, b"#!/bin/sh\necho no licence >&2\nexit 3\n");
    let refused = site.expect(1, &["driver", "info", "py"]).error;
    assert!(refused.contains("stage load") && refused.contains("no licence"), "{refused}");
    let refused = site.expect(1, &["driver", "rollback", "py"]).error;
    assert!(refused.contains("the files of a command are not kept"), "{refused}");
    daemon.stop();
}

#[test]
fn check_takes_a_command_through_its_stages() {
    let site = site("command = [\"@ROOT@/d/driver.py\"]");
    let ended = site.expect(0, &["driver", "check", "py"]);
    assert!(ended.out.lines().any(|line| line.starts_with("health ") && line.ends_with("ok")), "{ended:?}");
}
