use std::{fs, time::Duration};

use capstan_tests::{daemon::update, paths, wait_for};
use rustix::process::Signal;

use super::{alter, assert_says, at, copy, site, state, texts};

#[test]
fn a_locked_driver_is_loaded_as_it_was_locked_until_the_operator_locks_it_anew() {
    let site = site("", "", "");
    let file = at(&site, "drivers.lock");
    let ended = site.expect(1, &["driver", "lock", "--check"]);
    assert_says(&ended.out, &["load_balancer.acme: new: none -> 0.1.0 sha256 ", "load_balancer.noop: new: none -> "]);
    assert_says(&ended.error, &["drivers.lock and the drivers' files differ", "run capstan driver lock"]);
    assert!(!file.exists(), "a check writes nothing");

    assert_says(&site.expect(0, &["driver", "lock"]).out, &["load_balancer.acme: new: "]);
    let first = fs::read_to_string(&file).unwrap();
    assert_eq!(first.matches("[[driver]]").count(), 2, "{first}");
    assert_says(&site.expect(0, &["driver", "lock"]).out, &["drivers.lock is up to date"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), first, "the same files give the same text");
    site.expect(0, &["driver", "lock", "--check"]);
    assert_eq!(
        site.expect(0, &["config", "check", "--output", "json"]).json()["warnings"].as_array().unwrap().len(),
        0
    );

    alter(&at(&site, "d/acme.so"));
    let daemon = site.start();
    site.pass(&update(80, &[("1", 81)]));
    let (is, why) = state(&site, "acme");
    assert_eq!(is, "failed");
    assert_says(
        &why,
        &[
            "stage checksum",
            "acme.so: found sha256 ",
            "which the lock file has for ",
            "d/acme.so; ",
            "capstan driver lock",
        ],
    );
    daemon.stop();
    let told = site.run(&["driver", "lock", "--check", "--output", "json"]);
    assert_eq!(told.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(texts(&told["differences"], "driver"), ["load_balancer.acme"]);
    assert_eq!(texts(&told["differences"], "difference"), ["changed"]);
    assert_ne!(told["differences"][0]["locked"]["sha256"], told["differences"][0]["found"]["sha256"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), first);

    assert_says(
        &site.expect(0, &["driver", "lock"]).out,
        &["load_balancer.acme: changed: 0.1.0 sha256 ", " -> 0.1.0 sha256 "],
    );
    let daemon = site.start();
    assert_eq!(state(&site, "acme"), ("ready".to_owned(), String::new()));
    daemon.stop();
    // What was right before is wrong now.
    copy(&paths::driver("load_balancer_noop"), &at(&site, "d/acme.so"));
    assert_says(&site.expect(1, &["driver", "check", "acme"]).error, &["stage checksum", "which the lock file has"]);
}

#[test]
fn entries_come_and_go_and_move() {
    let site = site("policy = \"pinned\"", "", "");
    let text = fs::read_to_string(site.config()).unwrap();
    site.expect(0, &["driver", "lock"]);
    site.expect(0, &["driver", "check", "acme"]);

    // A new entry has no line: a warning, and under this policy no driver.
    let pin =
        site.expect(0, &["driver", "info", "acme", "--output", "json"]).json()["sha256"].as_str().unwrap().to_owned();
    let entry = "[known_drivers.load_balancer.later]\nlibrary = \"@ROOT@/d/acme.so\"\n";
    site.configure(&format!("{text}\n{entry}"));
    let warned = site.expect(0, &["config", "check"]).out;
    assert_says(
        &warned,
        &["known_drivers.load_balancer.later: will not load: drivers.policy is \"pinned\"", "capstan driver lock"],
    );
    let ended = site.expect(1, &["driver", "check", "later"]);
    assert_says(
        &ended.error,
        &["stage checksum", "which nothing pins", "expected a pin, as drivers.policy = \"pinned\" asks"],
    );
    site.configure(&format!("{text}\n{entry}sha256 = \"{pin}\"\n"));
    site.expect(0, &["driver", "check", "later"]);
    assert_says(&site.expect(1, &["driver", "lock", "--check"]).out, &["load_balancer.later: new: none -> "]);
    site.expect(0, &["driver", "lock"]);

    // An entry that went leaves a line: a warning, and nothing fails.
    site.configure(&text);
    assert_says(
        &site.expect(0, &["config", "check"]).out,
        &["load_balancer.later: a line for a driver that known_drivers does not have"],
    );
    assert_says(
        &site.expect(1, &["driver", "lock", "--check"]).out,
        &["load_balancer.later: stale: 0.1.0 sha256 ", " -> none"],
    );
    site.expect(0, &["driver", "check", "acme"]);
    site.expect(0, &["driver", "lock"]);
    assert!(!fs::read_to_string(at(&site, "drivers.lock")).unwrap().contains("later"));

    // The same content elsewhere is the same driver.
    fs::rename(at(&site, "d/acme.so"), at(&site, "d/moved.so")).unwrap();
    site.configure(&text.replace("acme.so", "moved.so"));
    site.expect(0, &["driver", "check", "acme"]);
    assert_says(
        &site.expect(1, &["driver", "lock", "--check"]).out,
        &["load_balancer.acme: moved: ", "acme.so -> ", "moved.so"],
    );
}

#[test]
fn nothing_is_locked_while_one_file_is_refused() {
    let site = site("", "", "");
    site.expect(0, &["driver", "lock"]);
    let first = fs::read_to_string(at(&site, "drivers.lock")).unwrap();
    alter(&at(&site, "d/noop.so"));
    fs::write(at(&site, "d/acme.so"), "no library").unwrap();
    let ended = site.expect(1, &["driver", "lock"]);
    assert_says(
        &ended.error,
        &["driver load_balancer.acme: stage elf: ", "1 of the files cannot be locked and nothing was written"],
    );
    assert_eq!(fs::read_to_string(at(&site, "drivers.lock")).unwrap(), first);
    let ended = site.expect(1, &["driver", "lock", "--check"]);
    assert_says(&ended.out, &["load_balancer.noop: changed: "]);
    assert!(!ended.out.contains("acme"), "what it is nobody knows: {}", ended.out);
    // A pin that the file does not have is no line to write either.
    let site = super::site("", "", &format!("sha256 = \"{}\"", "0".repeat(64)));
    assert_says(
        &site.expect(1, &["driver", "lock"]).error,
        &["driver load_balancer.acme: stage checksum: ", "the pin"],
    );
    assert!(!at(&site, "drivers.lock").exists());
}

#[test]
fn a_broken_lock_file_keeps_a_daemon_from_starting_and_a_running_one_as_it_is() {
    let site = site("", "", "");
    site.expect(0, &["driver", "lock"]);
    let good = fs::read_to_string(at(&site, "drivers.lock")).unwrap();
    let daemon = site.start();
    fs::write(at(&site, "drivers.lock"), good.replace("sha256 = \"", "sha256 = \"x")).unwrap();
    daemon.signal(Signal::HUP);
    wait_for("the fault in the log", Duration::from_secs(10), || {
        site.log_lines()
            .iter()
            .any(|line| {
                let text = line["message"].as_str().unwrap_or_default();
                text.contains("the running one is kept") && text.contains("drivers.lock:9: driver.sha256: found ")
            })
            .then_some(())
    });
    site.pass(&update(80, &[("1", 81)]));
    assert_eq!(state(&site, "acme").0, "ready");
    daemon.stop();
    for command in [&["serve"][..], &["config", "check"], &["driver", "check", "acme"], &["driver", "lock", "--check"]]
    {
        assert_says(
            &site.expect(64, command).error,
            &["drivers.lock:9: driver.sha256: found a text of 65 characters; ", "; expected a SHA-256"],
        );
    }
    // The command that writes it does not need to understand it.
    site.expect(0, &["driver", "lock"]);
    assert_eq!(fs::read_to_string(at(&site, "drivers.lock")).unwrap(), good);
}
