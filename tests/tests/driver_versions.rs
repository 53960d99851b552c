//! Drivers older and newer than the built daemon, as an operator sees them: `driver info`, `check` and `list`, the log, and
//! the messages of a worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use capstan_tests::{
    daemon::{Setup, Site, update},
    elf, http,
    message::action,
    paths,
};
use serde_json::Value;

const ISOLATIONS: [&str; 2] = ["in-process", "process"];

/// A driver recorded when epoch 1 froze, copied to where only its owner can write.
fn recorded(site: &Site, file: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let to = site.path().join(file);
    fs::copy(repository.join("tests/fixtures/epoch-1").join(file), &to).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).unwrap();
    to
}

/// The bad driver as a vendor of the future would build it: its manifest has a field, a method and a word that this daemon does not
/// know. The texts are of one length, and the file holds the manifest twice, in its section and behind `describe`.
fn newer(site: &Site) -> PathBuf {
    let mut bytes = fs::read(paths::driver("bad_driver")).unwrap();
    for (old, new) in [
        (r#""description":"Misbehaves as its configuration says""#, r#""colour":{"red":1,"green":null},"later":[1]"#),
        (r#""serial_by":"none""#, r#""serial_by":"rack""#),
        (r#""poll","recover"]"#, r#""poll","foresee"]"#),
    ] {
        let whole = 0..bytes.len();
        bytes = elf::patched(&bytes, whole, old, &format!("{new:width$}", width = old.len()));
    }
    let to = site.path().join("newer.so");
    fs::write(&to, bytes).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).unwrap();
    to
}

fn listed(site: &Site, name: &str) -> Value {
    let list = site.expect(0, &["driver", "list", "--output", "json"]).json();
    let found = list["drivers"].as_array().unwrap().iter().find(|driver| driver["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
}

#[test]
fn recorded_drivers_are_read_checked_and_listed() {
    for isolation in ISOLATIONS {
        let kinds = [
            ("cloud", "libcapstan_cloud_dummy.so", ""),
            ("database", "libcapstan_database_minimal.so", ""),
            ("load_balancer", "libcapstan_load_balancer_c.so", ""),
            ("load_balancer", "libcapstan_load_balancer_noop.so", ""),
            ("mgm", "libcapstan_mgm_minimal.so", "url = 'http://127.0.0.1:1'"),
        ];
        let site = Site::worker("noop", "");
        let mut text = fs::read_to_string(site.config()).unwrap();
        for (index, (kind, file, config)) in kinds.iter().enumerate() {
            let library = recorded(&site, file);
            let told = site.expect(0, &["driver", "info", library.to_str().unwrap(), "--output", "json"]).json();
            assert_eq!((&told["manifest"]["kind"], &told["manifest"]["epoch"]), (&(*kind).into(), &1.into()), "{told}");
            text += &format!(
                "[known_drivers.{kind}.old-{index}]\nlibrary = \"{}\"\nisolation = \"{isolation}\"\nconfig = {{ {config} }}\n",
                library.display()
            );
        }
        site.configure(&text);
        site.expect(0, &["config", "check"]);
        for index in 0..kinds.len() {
            let checked = site.expect(0, &["driver", "check", &format!("old-{index}")]);
            assert!(checked.out.contains("health"), "{checked:?}");
        }
        let daemon = site.start();
        for index in 0..kinds.len() {
            let driver = listed(&site, &format!("old-{index}"));
            assert_eq!((&driver["state"], &driver["isolation"]), (&"ready".into(), &isolation.into()), "{driver}");
        }
        daemon.stop();
    }
}

/// The noop driver of epoch 1 has neither `statistics` nor `status`; what a worker can do without them it does.
#[test]
fn a_worker_serves_with_a_recorded_driver() {
    for isolation in ISOLATIONS {
        let entry = format!(
            "[known_drivers.load_balancer.old]\nlibrary = \"@ROOT@/libcapstan_load_balancer_noop.so\"\nisolation = \"{isolation}\""
        );
        let site = Site::new(Setup { more: &entry, ..Setup::default() });
        recorded(&site, "libcapstan_load_balancer_noop.so");
        let daemon = site.start_with(&["worker", "--driver", "old"]);
        site.pass(&update(80, &[("1", 81)]));
        site.fail(&action("STATS"), "Selected driver does not support STATS action.");
        for name in ["SUSPEND", "ENABLE", "DELETE"] {
            site.pass(&action(name));
        }
        daemon.stop();
    }
}

#[test]
fn a_newer_driver_is_read_checked_listed_and_serves() {
    for isolation in ISOLATIONS {
        let behaviour = r#"invoke = { apply = "log_badly", suspend = "error:tape_full" }"#;
        let entry = format!(
            "[known_drivers.load_balancer.newer]\nlibrary = \"@ROOT@/newer.so\"\nisolation = \"{isolation}\"\nconfig = {{ {behaviour} }}"
        );
        let telemetry = "[telemetry]\nlevel = \"info,capstan::drivers=trace\"";
        let site = Site::new(Setup { more: &format!("{telemetry}\n{entry}"), ..Setup::default() });
        let library = newer(&site);
        let told = site.expect(0, &["driver", "info", library.to_str().unwrap()]);
        assert!(told.out.contains("poll foresee"), "{}", told.out);
        assert!(
            told.out.lines().any(|line| line.starts_with("serial by") && line.ends_with("instance")),
            "{}",
            told.out
        );
        site.expect(0, &["config", "check"]);
        site.expect(0, &["driver", "check", "newer"]);

        let daemon = site.start_with(&["worker", "--driver", "newer"]);
        assert_eq!(listed(&site, "newer")["state"], "ready");
        site.pass(&update(80, &[("1", 81)]));
        site.fail(&action("SUSPEND"), "an error as configured");
        let driver = listed(&site, "newer");
        assert_eq!((&driver["errors"]["tape_full"], &driver["state"]), (&1.into(), &"ready".into()), "{driver}");
        let metrics = http::get(site.http_port, "/metrics", "").unwrap().body;
        assert!(metrics.contains(r#"code="tape_full"} 1"#), "{metrics}");
        site.pass(&action("DELETE"));
        daemon.stop();
        // A line of a level that nobody knows is a line all the same, of the least urgent level.
        for text in ["level 0", "level 99"] {
            let lines: Vec<Value> = site.log_lines().into_iter().filter(|line| line["message"] == text).collect();
            assert_eq!(lines.len(), 1, "{text}: {lines:?}");
            assert_eq!((&lines[0]["level"], &lines[0]["driver"]), (&"TRACE".into(), &"load_balancer.newer".into()));
        }
    }
}
