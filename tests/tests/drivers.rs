//! Bad drivers through the built daemon: one line says why, and everything else goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use capstan_tests::{
    c_driver,
    daemon::{Setup, Site, update},
    elf, http,
    message::action,
    paths, wait_for,
};
use serde_json::{Value, json};

/// What a bad driver's one line must say, in this order: stage, found, expected, remedy.
struct Case {
    name: String,
    /// Keys of its entry besides `isolation`.
    entry: String,
    says: Vec<String>,
}

/// Makes bad drivers in a folder of a site.
struct Shelf {
    folder: PathBuf,
    c: Vec<u8>,
    rust: Vec<u8>,
    cases: Vec<Case>,
}

impl Shelf {
    fn new(site: &Site) -> Self {
        let folder = site.path().join("d");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        c_driver::build(&folder.join("c.so"), "");
        let c = fs::read(folder.join("c.so")).unwrap();
        let rust = fs::read(paths::build().join("libcapstan_bad_driver.so")).expect("the bad driver; `make build`");
        Self { folder, c, rust, cases: Vec::new() }
    }

    /// A file that is put there.
    fn file(&mut self, name: &str, bytes: &[u8], says: &[&str]) -> PathBuf {
        let path = self.folder.join(format!("{name}.so"));
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self.entry(name, &format!("library = \"{}\"", path.display()), says);
        path
    }

    /// The Rust driver with its entry patched.
    fn entry_word(&mut self, word: &str, says: &[&str]) {
        let old = "CAPSTAN-BAD-ENTRY=good.";
        let bytes = elf::patched(&self.rust, 0..self.rust.len(), old, &format!("CAPSTAN-BAD-ENTRY={word:.<5}"));
        self.file(&format!("entry-{word}"), &bytes, says);
    }

    /// The Rust driver as it is, with a configuration.
    fn configured(&mut self, name: &str, config: &str, says: &[&str]) {
        let library = paths::build().join("libcapstan_bad_driver.so");
        self.entry(name, &format!("library = \"{}\"\nconfig = {config}", library.display()), says);
    }

    fn entry(&mut self, name: &str, entry: &str, says: &[&str]) {
        let says = says.iter().map(|&part| part.to_owned()).collect();
        self.cases.push(Case { name: name.to_owned(), entry: entry.to_owned(), says });
    }

    fn toml(&self) -> String {
        self.cases.iter().fold(String::new(), |mut toml, Case { name, entry, .. }| {
            writeln!(toml, "[known_drivers.load_balancer.{name}]\nisolation = \"in-process\"\n{entry}\n").unwrap();
            toml
        })
    }

    /// Starts a daemon with all of them beside the noop driver, and holds every one against what is seen from outside.
    fn check(&self, site: &Site) {
        let text = fs::read_to_string(site.config()).unwrap();
        site.configure(&format!("{text}\n{}", self.toml()));
        let daemon = site.start();
        assert_eq!(site.pass(&update(80, &[("1", 81)]))["hpcs_response"], "PASS", "the noop driver serves");

        let listed = site.expect(0, &["driver", "list", "--output", "json"]).json();
        let listed: BTreeMap<&str, &Value> =
            listed["drivers"].as_array().unwrap().iter().map(|one| (one["name"].as_str().unwrap(), one)).collect();
        assert_eq!(listed["noop"]["state"], "ready");
        let lines = site.log_lines();
        let mut faults = Vec::new();
        for Case { name, says, .. } in &self.cases {
            let prefix = format!("driver load_balancer.{name}: stage ");
            let told: Vec<&str> = lines
                .iter()
                .filter_map(|line| line["message"].as_str())
                .filter(|text| text.starts_with(&prefix))
                .collect();
            let [line] = told.as_slice() else {
                faults.push(format!("{name}: {} lines in the log, not one: {told:#?}", told.len()));
                continue;
            };
            let mut rest = *line;
            for part in says.iter().map(String::as_str).chain(["; expected ", "; "]) {
                // The last two only say that there is an expectation and a remedy at all.
                let from = if part == "; expected " { line } else { rest };
                match from.find(part) {
                    Some(at) => rest = &from[at + part.len()..],
                    None => faults.push(format!("{name}: {part:?} is not in {line:?}")),
                }
            }
            let state = &listed[name.as_str()]["state"];
            if state != "failed" {
                faults.push(format!("{name}: driver list shows {state}"));
            }
            if listed[name.as_str()]["last_error"].as_str() != Some(*line) {
                faults.push(format!("{name}: driver list says {}", listed[name.as_str()]["last_error"]));
            }
        }
        assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
        let table = site.expect(0, &["driver", "list"]);
        assert_eq!(
            table.out.lines().filter(|line| line.contains(" failed ")).count(),
            self.cases.len(),
            "{}",
            table.out
        );

        // None of them is in the way of the others, nor of the daemon's end.
        assert_eq!(site.pass(&action("SUSPEND"))["hpcs_response"], "PASS");
        assert_eq!(http::get(site.http_port, "/readyz", "").unwrap().status, 200);
        daemon.stop();
    }
}

#[test]
fn files_that_are_no_trusted_driver() {
    let site = Site::worker("noop", "");
    let mut shelf = Shelf::new(&site);
    let folder = shelf.folder.clone();
    let at = |name: &str| folder.join(name);
    let c = shelf.c.clone();

    shelf.entry(
        "missing",
        "library = \"@ROOT@/d/none.so\"",
        &["resolve: ", "found no such file", "expected a driver's .so file", "the folder holds "],
    );
    shelf.entry(
        "nowhere",
        "library = \"@ROOT@/no/none.so\"",
        &["resolve: ", "found no folder", "expected", "correct `library`"],
    );
    shelf.file(
        "empty",
        b"",
        &["elf: ", "found an empty file", "expected a whole shared library", "copy the file again"],
    );
    shelf.file(
        "text",
        b"#!/bin/sh\nexit 0\n",
        &["elf: ", "found no ELF file: it begins with", "expected", "name the driver's .so file"],
    );
    symlink(at("c.so"), at("link.so")).unwrap();
    shelf.entry(
        "symlink",
        "library = \"@ROOT@/d/link.so\"",
        &["file: ", "found a symbolic link", "expected a regular file", "name the driver's"],
    );
    assert!(Command::new("mkfifo").arg(at("fifo.so")).status().unwrap().success());
    shelf.entry(
        "fifo",
        "library = \"@ROOT@/d/fifo.so\"",
        &["file: ", "found a FIFO", "expected a regular file", "name the driver's"],
    );
    fs::create_dir(at("folder.so")).unwrap();
    shelf.entry("folder", "library = \"@ROOT@/d/folder.so\"", &["file: ", "found a folder", "expected a regular file"]);
    shelf.entry("device", "library = \"/dev/null\"", &["file: ", "found a device", "expected a regular file"]);
    let open = shelf.file(
        "writable",
        &c,
        &["file: ", "found mode 0646, so that others may write it", "expected", "chmod go-w"],
    );
    fs::set_permissions(open, fs::Permissions::from_mode(0o646)).unwrap();
    let group = shelf.file("group-writable", &c, &["file: ", "found mode 0664", "expected", "chmod go-w"]);
    fs::set_permissions(group, fs::Permissions::from_mode(0o664)).unwrap();
    fs::create_dir(at("shared")).unwrap();
    shelf.file("shared/c", &c, &[]);
    shelf.cases.pop();
    fs::set_permissions(at("shared"), fs::Permissions::from_mode(0o777)).unwrap();
    shelf.entry(
        "parent",
        "library = \"@ROOT@/d/shared/c.so\"",
        &["file: ", "found the parent folder", "others may write", "expected", "chmod go-w"],
    );
    let foreign = shelf.file(
        "owner",
        &c,
        &["file: ", "found a file owned by uid 12345", "expected root or the daemon's user", "chown root"],
    );
    if rustix::process::geteuid().is_root() {
        chown(&foreign, Some(12345), None).unwrap();
    } else {
        // Only root can give a file away; anybody else's own files are the foreign ones for a daemon that trusts root alone.
        shelf.cases.pop();
        let strict = Site::worker("noop", "");
        let text = fs::read_to_string(strict.config()).unwrap();
        strict.configure(&text.replace("trust_own_files = true", "trust_own_files = false"));
        let ended = strict.expect(69, &["serve"]);
        assert!(
            ended.error.contains("stage file: ") && ended.error.contains("expected root as owner"),
            "{}",
            ended.error
        );
    }
    shelf.entry(
        "pin",
        &format!("library = \"@ROOT@/d/c.so\"\nsha256 = \"{}\"", "0".repeat(64)),
        &["checksum: ", "found sha256 ", "expected 0000", "the pin", "install the pinned file"],
    );

    // A library, but no driver.
    let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
    let libc = libc.iter().find(|path| Path::new(path).exists()).expect("a C library");
    shelf.file(
        "libc",
        &fs::read(libc).unwrap(),
        &[
            "manifest: ",
            "found a library without a section .capstan_manifest",
            "expected a Capstan driver",
            "name a driver's file",
        ],
    );
    shelf.file("program", &fs::read("/proc/self/exe").unwrap(), &["manifest: ", "without a section", "expected"]);
    let whole = 0..c.len();
    shelf.file(
        "no-symbol",
        &elf::patched(&c, whole, "capstan_driver_epoch_1", "capstan_driver_epoch_X"),
        &["compatibility: ", "found no symbol capstan_driver_epoch_1", "expected", "export the symbol"],
    );

    // Manifests: patched, so that the file is a good driver otherwise.
    shelf.file(
        "epoch",
        &elf::with_manifest(&c, "\"epoch\":1", "\"epoch\":2"),
        &["compatibility: ", "found a driver of epoch 2", "expected epoch 1", "install a build"],
    );
    shelf.file(
        "target",
        &elf::with_manifest(&c, "-linux-gnu", "-linux-abc"),
        &["compatibility: ", "found a driver for ", "-linux-abc", "expected", "build it for"],
    );
    shelf.file(
        "abort",
        &elf::with_manifest(&c, "\"panic\":\"none\"", "\"panic\":\"abrt\""),
        &["compatibility: ", "found panic strategy \"abrt\"", "expected unwind, abort or none"],
    );
    shelf.file(
        "interface",
        &elf::with_manifest(&c, "load_balancer/1", "load_balancer/9"),
        &["compatibility: ", "found interface \"load_balancer/9\"", "expected load_balancer/1"],
    );
    shelf.file(
        "broken-manifest",
        &elf::with_manifest(&c, "{\"name\":", "{\"name\"="),
        &["manifest: ", "found a manifest that cannot be read", "expected", "ask the driver's vendor"],
    );
    shelf.file(
        "name",
        &elf::with_manifest(&c, "\"c-example\"", "\"C example\""),
        &["manifest: ", "found the name \"C example\"", "expected", "ask the driver's vendor"],
    );
    let rust = shelf.rust.clone();
    shelf.file(
        "panic-abort",
        &elf::with_manifest(&rust, "\"panic\":\"unwind\"", "\"panic\":\"abort\" "),
        &[
            "compatibility: ",
            "found a driver built with panic = \"abort\"",
            "expected panic = \"unwind\"",
            "rebuild it",
        ],
    );
    shelf.file(
        "lie",
        &elf::with_manifest(&rust, "Misbehaves", "Is good as"),
        &["probe: ", "found a manifest from `describe` that differs", "expected the same bytes", "the manifest lies"],
    );
    let kind = "library = \"@KIND@\""
        .replace("@KIND@", &paths::build().join("libcapstan_cloud_dummy.so").display().to_string());
    shelf.entry(
        "kind",
        &kind,
        &[
            "compatibility: ",
            "found a driver of kind \"cloud\"",
            "expected kind \"load_balancer\"",
            "known_drivers.cloud",
        ],
    );
    shelf.check(&site);
}

#[test]
fn a_file_cut_off_at_any_boundary_of_its_sections() {
    let site = Site::worker("noop", "");
    let mut shelf = Shelf::new(&site);
    let c = shelf.c.clone();
    let mut cuts: Vec<usize> =
        elf::sections(&c).iter().flat_map(|section| [section.offset, section.offset + section.size]).collect();
    cuts.extend([1, 4, 16, 63, 64, 65, c.len() - 1]);
    cuts.retain(|cut| (1..c.len()).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    assert!(cuts.len() > 30, "{cuts:?}");
    for cut in cuts {
        shelf.file(&format!("cut-{cut}"), &c[..cut], &["elf: ", "found ", "expected a whole shared library"]);
    }
    shelf.check(&site);
}

#[test]
fn drivers_that_crash_lie_or_refuse_when_they_are_loaded() {
    let site = Site::worker("noop", "");
    let mut shelf = Shelf::new(&site);
    shelf.entry_word("null", &["probe: ", "null", "expected", "docs/abi-epoch-1.md"]);
    shelf.entry_word("magic", &["probe: ", "magic 0x", "expected", "docs/abi-epoch-1.md"]);
    shelf.entry_word("epoch", &["probe: ", "a table of epoch 7", "expected", "docs/abi-epoch-1.md"]);
    shelf.entry_word("size", &["probe: ", "a table of 8 bytes", "expected", "docs/abi-epoch-1.md"]);
    shelf.entry_word("other", &["probe: ", "`describe` that differs", "expected", "the manifest lies"]);
    shelf.entry_word("descr", &["probe: ", "died by SIGABRT", "expected", "vendor"]);
    shelf.entry_word("abort", &["probe: ", "died by SIGABRT", "expected", "vendor"]);
    shelf.entry_word("panic", &["probe: ", "died by SIGABRT", "expected", "vendor"]);
    for (name, word, says) in [
        ("open-error", "error:auth_failed", "auth_failed"),
        ("open-panic", "panic", "panic"),
        ("open-null", "null_instance", "a null instance"),
        ("open-status", "status:77", "77"),
        ("open-pending", "pending:3", "pending"),
    ] {
        shelf.configured(
            name,
            &format!("{{ open = \"{word}\" }}"),
            &["open: ", says, "expected an open instance", "vendor"],
        );
    }
    for (name, word, says) in [
        ("health-error", "error:unavailable", "unavailable: an error as configured"),
        ("health-panic", "panic", "panic"),
        ("health-garbage", "garbage", ""),
        ("health-wrong-type", "wrong_type", ""),
        ("health-huge", "huge:100", ""),
        ("health-status", "status:77", "77"),
        // It has five seconds.
        ("health-hang", "hang", "no answer"),
    ] {
        shelf.configured(
            name,
            &format!("{{ health = \"{word}\" }}"),
            &["health: ", says, "expected a healthy instance", "correct what it names"],
        );
    }
    // The probe has ten.
    shelf.entry_word("hang", &["probe: ", "found that it did not load within 10 s", "expected"]);
    let begun = Instant::now();
    shelf.check(&site);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn calls_that_panic_hang_or_answer_nonsense_cost_themselves_only() {
    let words = [
        ("panic", "the driver panicked"),
        ("error:quota_exceeded", "an error as configured"),
        ("garbage", ""),
        ("not_utf8", ""),
        ("wrong_type", ""),
        ("empty", ""),
        ("null_body", ""),
        ("status:77", ""),
        ("huge:100", ""),
        ("wordy:1", "many words"),
        ("pending:1000000", ""),
        ("hang", ""),
        ("hang_until_cancelled", ""),
    ];
    // Every word once as SUSPEND; the other methods of the same driver answer as they should.
    for (word, text) in words {
        let poll = if word.starts_with("pending") { word } else { "good" };
        let config = format!("invoke = {{ suspend = \"{word}\", poll = \"{poll}\" }}");
        let site = Site::new(Setup {
            driver: "bad",
            driver_config: &config,
            drivers: "isolation = \"in-process\"\ncall_timeout_seconds = 0.5",
            more: "[known_drivers.load_balancer.noop]\nlibrary = \"libcapstan_load_balancer_noop.so\"",
            ..Setup::default()
        });
        let daemon = site.start();
        let reply = site.ask(&action("SUSPEND"));
        let error = reply["hpcs_error"].as_str().unwrap_or_default();
        assert_eq!(reply["hpcs_response"], "FAIL", "{word}: {reply}");
        assert!(!error.is_empty() && error.contains(text) && error.len() < 5000, "{word}: {reply}");
        site.pass(&action("ENABLE"));
        site.pass(&update(80, &[("1", 81)]));
        let listed = site.expect(0, &["driver", "list", "--output", "json"]).json();
        let of =
            |name: &str| listed["drivers"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
        let errors: u64 = of("bad")["errors"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!(errors, 1, "{word}: {}", of("bad")["errors"]);
        assert!(site.log().len() < 200_000, "{word}: the log has {} bytes", site.log().len());
        assert_eq!((&of("noop")["state"], &of("bad")["state"]), (&json!("ready"), &json!("ready")), "{word}");
        if word == "hang" {
            assert_eq!(of("bad")["lost_threads"], 1);
        }
        let memory = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let resident = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
        let kib: u64 = resident.split(' ').next().unwrap().parse().unwrap();
        assert!(kib < 400 << 10, "{word}: {resident} stay in memory");
        daemon.stop();
    }
}

#[test]
fn a_cancel_or_a_close_that_goes_wrong_holds_up_nobody() {
    for isolation in ["in-process", "process"] {
        for word in ["panic", "hang", "error:internal", "garbage", "not_utf8", "null_body", "huge:100"] {
            let config =
                format!("invoke = {{ suspend = \"hang_until_cancelled\" }}\ncancel = \"{word}\"\nclose = \"{word}\"");
            let site = Site::new(Setup {
                driver: "bad",
                driver_config: &config,
                drivers: &format!("isolation = \"{isolation}\"\ncall_timeout_seconds = 0.5"),
                ..Setup::default()
            });
            let daemon = site.start();
            for _ in 0..2 {
                assert_eq!(site.ask(&action("SUSPEND"))["hpcs_response"], "FAIL", "{isolation} {word}");
                wait_for("the driver to serve", Duration::from_secs(10), || {
                    (site.ask(&action("ENABLE"))["hpcs_response"] == "PASS").then_some(())
                });
            }
            daemon.stop();
            if isolation == "in-process" {
                // A `cancel` that hangs holds the instance, so that its `close` does not even begin; whether there was one depends
                // on who saw the deadline first.
                let said = ["`close` did not return within", "are still out, so the instance stays open"];
                let is_told = said.iter().any(|said| site.log().contains(said));
                assert_eq!(is_told, word == "hang", "{word}: {}", site.log());
            }
        }
    }
}

#[test]
fn a_driver_that_keeps_hanging_is_quarantined_and_readiness_says_so() {
    let site = Site::new(Setup {
        driver: "bad",
        driver_config: "invoke = { suspend = \"hang\" }",
        drivers: "isolation = \"in-process\"\ncall_timeout_seconds = 0.1",
        ..Setup::default()
    });
    let daemon = site.start();
    wait_for("the quarantine", Duration::from_secs(60), || {
        let reply = site.ask(&action("SUSPEND"));
        assert_eq!(reply["hpcs_response"], "FAIL");
        let listed = http::get(site.http_port, "/drivers/v1/load_balancer/bad", "").unwrap().json();
        (listed["state"] == "quarantined").then_some(())
    });
    let ready = http::get(site.http_port, "/readyz", "").unwrap();
    assert_eq!(ready.status, 503, "{ready:?}");
    let begun = Instant::now();
    assert_eq!(site.ask(&action("ENABLE"))["hpcs_response"], "FAIL", "it is called no more");
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    site.pass(&action("DISCOVER"));
    daemon.stop();
}

#[test]
fn a_required_driver_that_fails_keeps_the_daemon_from_starting() {
    let required = "[known_drivers.load_balancer.gone]\nlibrary = \"@ROOT@/gone.so\"\nrequired = true";
    let site = Site::new(Setup { more: required, ..Setup::default() });
    let ended = site.expect(69, &["serve"]);
    assert!(ended.error.contains("driver load_balancer.gone: stage resolve: "), "{}", ended.error);
    assert!(http::get(site.http_port, "/livez", "").is_err());
    // The same without the word: it is up.
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replace("required = true", "required = false"));
    let daemon = site.start();
    site.pass(&action("DISCOVER"));
    daemon.stop();
    // The worker cannot do without its own driver.
    site.configure(&text.replace("required = true", "").replace("driver = \"noop\"", "driver = \"gone\""));
    let ended = site.expect(69, &["serve"]);
    assert!(ended.error.contains("driver load_balancer.gone: stage resolve: "), "{}", ended.error);
    // Nor with a name that nobody knows: it gets the list of those that are known.
    site.configure(&text.replace("required = true", ""));
    let ended = site.expect(64, &["worker", "--driver", "nop"]);
    assert!(ended.error.contains("noop"), "{}", ended.error);
}

#[test]
fn driver_info_runs_no_line_of_the_driver() {
    let site = Site::worker("noop", "");
    let (library, witness) = (site.path().join("eager.so"), site.path().join("witness"));
    c_driver::build(&library, &c_driver::witness(&witness));
    let library = library.to_str().unwrap();
    let info = site.expect(0, &["driver", "info", library, "--output", "json"]).json();
    assert!(info.to_string().contains("c-example") && info.to_string().contains("delay_ms"), "{info}");
    let table = site.expect(0, &["driver", "info", library]);
    let hash = Command::new("sha256sum").arg(library).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    for part in
        ["c-example", "0.1.0", "load_balancer/1", "apply observe suspend enable delete", "delay_ms", &hash[..64]]
    {
        assert!(table.out.contains(part), "{part}: {}", table.out);
    }
    assert!(!witness.exists(), "`driver info` ran the driver");
    // Nor does a check of the configuration, which reads its schema.
    let text = fs::read_to_string(site.config()).unwrap();
    let entry = format!("[known_drivers.load_balancer.eager]\nlibrary = \"{library}\"\nconfig = {{ delay_ms = 1 }}");
    site.configure(&format!("{text}\n{entry}"));
    site.expect(0, &["config", "check"]);
    site.configure(&format!("{text}\n{}", entry.replace("delay_ms = 1", "delay_ms = true")));
    assert!(site.expect(64, &["config", "check"]).error.contains("delay_ms"));
    assert!(!witness.exists(), "`config check` ran the driver");
    // What would run it does.
    let check = site.expect(0, &["driver", "check", library]);
    assert!(check.out.contains("health"), "{}", check.out);
    assert!(witness.exists(), "the witness shows whether it ran");
}

#[test]
fn the_driver_in_c_serves_in_both_isolations_and_keeps_its_state() {
    for isolation in ["process", "in-process"] {
        let entry = format!(
            "[known_drivers.load_balancer.c]\nlibrary = \"@ROOT@/c.so\"\nisolation = \"{isolation}\"\nconfig = {{ delay_ms = 1 }}"
        );
        let site = Site::new(Setup { more: &entry, ..Setup::default() });
        c_driver::build(&site.path().join("c.so"), "");
        let listed = || http::get(site.http_port, "/drivers/v1/load_balancer/c", "").unwrap().json();
        let daemon = site.start_with(&["worker", "--driver", "c"]);
        site.fail(&action("SUSPEND"), "there is no such device");
        let reply = site.pass(&update(80, &[("1", 81)]));
        assert_eq!(reply["loadBalancers"][0]["nodes"][0]["condition"], "ENABLED", "{reply}");
        site.pass(&action("SUSPEND"));
        assert_eq!(listed()["isolation"], isolation);
        assert_eq!(listed()["pid"].is_u64(), isolation == "process");
        daemon.stop();
        // The generations go on from what was kept: an older one would be a conflict.
        let daemon = site.start_with(&["worker", "--driver", "c"]);
        for name in ["ENABLE", "DELETE"] {
            site.pass(&action(name));
        }
        assert_eq!(listed()["errors"], json!({}));
        assert!(site.log().contains("applied"), "{}", site.log());
        daemon.stop();
    }
}
