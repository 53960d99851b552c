//! The author's kit: what `driver new` writes builds and passes `driver check` unedited, and the check finds what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use capstan_tests::{paths, process::Process, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const KINDS: [&str; 4] = ["cloud", "database", "load_balancer", "mgm"];

fn capstan(folder: &Path, arguments: &[&str]) -> Output {
    let nowhere = ["--config", "/nowhere/capstan.toml"];
    let output = Command::new(paths::capstan()).args(nowhere).args(arguments).current_dir(folder).output().unwrap();
    assert_ne!(output.status.code(), Some(70), "{output:?}");
    output
}

fn new(folder: &Path, name: &str, kind: &str, language: &str) -> PathBuf {
    let made = capstan(folder, &["driver", "new", name, "--kind", kind, "--language", language]);
    assert!(made.status.success(), "{made:?}");
    folder.join(name)
}

/// Runs the kit on a file; answers its outcomes.
fn check(project: &Path, file: &str) -> (bool, Vec<Value>) {
    let arguments = [
        "driver",
        "check",
        file,
        "--trust-own-files",
        "--live",
        "conformance.toml",
        "--output",
        "json",
        "--junit",
        "junit.xml",
    ];
    let output = capstan(project, &arguments);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let checks = report["checks"].as_array().unwrap_or_else(|| panic!("{report:#}")).clone();
    let xml = fs::read_to_string(project.join("junit.xml")).unwrap();
    assert_eq!(xml.matches("<testcase ").count(), checks.len(), "{xml}");
    assert_eq!(xml.matches("<failure ").count(), failed(&checks).len(), "{xml}");
    (output.status.success(), checks)
}

fn failed(checks: &[Value]) -> Vec<String> {
    let failed = checks.iter().filter(|check| check["verdict"] == "failed");
    failed
        .map(|check| format!("{} {}: {}", check["isolation"], check["check"].as_str().unwrap(), check["detail"]))
        .collect()
}

fn passes(project: &Path, file: &str) {
    let (is_well, checks) = check(project, file);
    assert!(is_well && failed(&checks).is_empty(), "{:#?}", failed(&checks));
    assert!(checks.len() > 15, "{}: {checks:#?}", project.display());
}

/// A cloud driver takes what an entry of the farm has, and its schema finds what is wrong in it.
fn serves_a_farm(project: &Path, file: &str) {
    let call = |settings: &str| {
        let entry = format!(r#"{{ "user": "u", "password": "p", "extra_params": {settings} }}"#);
        let words = ["driver", "call", file, "list_images", "{}", "--trust-own-files", "--driver-config", &entry];
        capstan(project, &words)
    };
    let good = call(r#"{ "endpoint": "http://127.0.0.1:1" }"#);
    assert!(good.status.success(), "{good:?}");
    let bad = call(r#"{ "end_point": "http://127.0.0.1:1" }"#);
    let told = String::from_utf8_lossy(&bad.stderr);
    assert!(!bad.status.success() && told.contains("end_point"), "{told}");
}

fn make(project: &Path) {
    let output = Command::new("make").args(["CFLAGS=-O1 -Wall -Wextra -Werror"]).current_dir(project).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_new_driver_in_c_passes_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let project = new(folder.path(), &format!("acme-{kind}"), kind, "c");
        make(&project);
        let file = format!("./libacme_{kind}.so");
        passes(&project, &file);
        if kind == "cloud" {
            serves_a_farm(&project, &file);
        }
    }
}

#[test]
fn a_new_driver_in_python_passes_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let project = new(folder.path(), &format!("acme-{kind}"), kind, "python");
        passes(&project, "./driver.py");
        if kind == "cloud" {
            serves_a_farm(&project, "./driver.py");
        }
    }
}

/// Built as an author builds it, outside of the workspace; with the versions that the workspace has, so that nothing is fetched.
#[test]
fn a_new_driver_in_rust_passes_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let target = paths::build().parent().unwrap().join("tmp/new-drivers");
    for kind in KINDS {
        let project = new(folder.path(), &format!("acme-{kind}"), kind, "rust");
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
        fs::copy(lock, project.join("Cargo.lock")).unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet"])
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", "-D warnings")
            .current_dir(&project)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let library = target.join("debug").join(format!("libacme_{kind}.so"));
        passes(&project, library.to_str().unwrap());
        if kind == "cloud" {
            serves_a_farm(&project, library.to_str().unwrap());
        }
    }
}

#[test]
fn a_new_driver_is_hosted_by_a_daemon_with_the_configuration_that_lies_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    for language in ["c", "python"] {
        let project = new(folder.path(), &format!("acme-{language}"), "mgm", language);
        if language == "c" {
            make(&project);
        }
        let run = |arguments: &[&str]| {
            let words = [&["--config", "capstan.toml"], arguments].concat();
            Command::new(paths::capstan()).args(words).current_dir(&project).output().unwrap()
        };
        let mut serve = Command::new(paths::capstan());
        serve.args(["--config", "capstan.toml", "serve"]).current_dir(&project);
        let mut daemon =
            Process::spawn(serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())).unwrap();
        let state = || {
            let listed: Value = serde_json::from_slice(&run(&["driver", "list", "--output", "json"]).stdout).ok()?;
            (listed["drivers"][0]["state"] == "ready").then_some(())
        };
        wait_for("the driver to be ready", Duration::from_secs(30), state);
        let reloaded = run(&["driver", "reload", &format!("acme-{language}")]);
        assert!(reloaded.status.success(), "{reloaded:?}");
        daemon.signal(Signal::TERM);
        assert!(daemon.wait(Duration::from_secs(20)).success());
    }
}

/// One change in a driver that passes, and what the kit must say of it.
struct Fault {
    kind: &'static str,
    from: &'static str,
    to: &'static str,
    check: &'static str,
}

#[test]
fn what_is_wrong_with_a_driver_is_found() {
    let open = "    self->host = host;\n";
    let faults = [
        Fault {
            kind: "mgm",
            from: "return FAIL(\"not_supported\", \"the driver has no such method\");",
            to: "return capstan_reply_static(CAPSTAN_OK, \"null\");",
            check: "unknown-method",
        },
        Fault {
            kind: "mgm",
            from: "return FAIL(\"invalid_argument\", \"name is missing or no text\");",
            to: "return FAIL(\"internal\", \"oops\");",
            check: "malformed",
        },
        Fault {
            kind: "mgm",
            from: open,
            to: "    self->host = host;\n    dup(1);\n    dup(1);\n",
            check: "open-close",
        },
        Fault {
            kind: "cloud",
            from: "if (json_same_text(self->nodes[i].token, token)) {",
            to: "if (0) {",
            check: "create-once",
        },
        Fault {
            kind: "load_balancer",
            from: "return FAIL(\"conflict\", \"the generation is older than the one that runs\");",
            to: "",
            check: "older-generation",
        },
        Fault {
            kind: "cloud",
            from: "    capstan_instance *self = calloc(1, sizeof *self);\n",
            to: "    static capstan_instance shared;\n    capstan_instance *self = &shared;\n",
            check: "instances",
        },
        Fault { kind: "database", from: open, to: "    abort();\n", check: "load" },
    ];
    let folder = tempfile::tempdir().unwrap();
    for (number, Fault { kind, from, to, check: wanted }) in faults.into_iter().enumerate() {
        let project = new(folder.path(), &format!("acme{number}"), kind, "c");
        let source = fs::read_to_string(project.join("driver.c")).unwrap();
        assert!(source.contains(from), "{from}");
        let mut changed =
            source.replace(from, to).replace("#include <pthread.h>", "#include <pthread.h>\n#include <unistd.h>");
        if wanted == "instances" {
            // What is shared is not freed twice.
            changed = changed
                .replace("    pthread_mutex_destroy(&self->lock);\n    free(self);\n", "")
                .replace("    free(self->nodes);\n", "");
        }
        fs::write(project.join("driver.c"), changed).unwrap();
        let built = Command::new("make").args(["CFLAGS=-O1 -w"]).current_dir(&project).output().unwrap();
        assert!(built.status.success(), "{built:?}");
        let (is_well, checks) = check(&project, &format!("./libacme{number}.so"));
        let names: Vec<&str> = checks
            .iter()
            .filter(|check| check["verdict"] == "failed")
            .filter_map(|check| check["check"].as_str())
            .collect();
        assert!(!is_well && names.contains(&wanted), "{wanted} is not among {:#?}", failed(&checks));
    }
}

#[test]
fn a_secret_in_the_log_is_found_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let project = new(folder.path(), "acme", "mgm", "python");
    let source = fs::read_to_string(project.join("driver.py")).unwrap();
    let leaky = source
        .replace("\"config_schema\": {", "\"secrets\": [\"password\"],\n        \"config_schema\": {")
        .replace("\"properties\": {", "\"properties\": {\"password\": {\"type\": \"string\"}, ")
        .replace("self.devices = set()", "self.devices = set()\n        host.log(\"info\", f\"with {config}\")");
    fs::write(project.join("driver.py"), leaky).unwrap();
    fs::write(project.join("conformance.toml"), "[config]\npassword = \"correct horse battery\"\n").unwrap();
    let (is_well, checks) = check(&project, "./driver.py");
    assert!(
        !is_well && failed(&checks).iter().any(|line| line.contains("it gave a secret away")),
        "{:#?}",
        failed(&checks)
    );
    assert!(!format!("{checks:?}").contains("horse"), "{checks:#?}");
}

#[test]
fn one_method_is_called_for_trying() {
    let folder = tempfile::tempdir().unwrap();
    let project = new(folder.path(), "acme", "database", "python");
    let call = |method: &str, params: &str| {
        capstan(&project, &["driver", "call", "./driver.py", method, params, "--trust-own-files", "--state", "kept"])
    };
    assert!(call("initialise", r#"{"server": "a"}"#).status.success());
    let answer: Value = serde_json::from_slice(&call("status", r#"{"server": "a"}"#).stdout).unwrap();
    assert_eq!(answer["state"], "stopped", "what is kept with the host is there in the next call");
    let refused = call("start", r#"{"server": "b"}"#);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("not_found: the server was never initialised"),
        "{refused:?}"
    );
    let unknown = String::from_utf8_lossy(&call("fly", "{}").stderr).into_owned();
    assert!(unknown.contains("not_supported") && unknown.contains("it has initialise start stop status"), "{unknown}");
    assert_eq!(call("status", "{no JSON").status.code(), Some(64));
}

#[test]
fn wrong_words_get_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str], code: i32| {
        let output = capstan(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said(&["driver", "new", "acme", "--kind", "fridge"], 64).contains("known are cloud, database"));
    assert!(said(&["driver", "new", "Acme", "--kind", "mgm"], 64).contains("choose another"));
    new(folder.path(), "acme", "mgm", "python");
    assert!(said(&["driver", "new", "acme", "--kind", "mgm"], 64).contains("it is there already"));
    assert!(
        said(&["driver", "new", "b", "--kind", "mgm", "--plugin-api", "/nowhere"], 64).contains("no crate lies there")
    );
    assert!(said(&["driver", "check", ".", "--trust-own-files"], 64).contains("no .so file lies in"));
    assert!(said(&["driver", "check", "x.so", "--for", "debian99"], 64).contains("debian12"));
    fs::write(folder.path().join("live.toml"), "[config]\na = \n").unwrap();
    // A file is one also without ./ before it, where there is no configuration or its name can be no entry's.
    assert!(said(&["driver", "check", "acme", "--trust-own-files"], 64).contains("no .so file lies in acme"));
    assert!(said(&["driver", "call", "driver.py", "get_url", "--trust-own-files"], 1).contains("no such file"));
    let untrusted = said(&["driver", "call", "acme/driver.py", "get_url"], 1);
    assert!(untrusted.contains("stage file") && untrusted.contains("--trust-own-files admits it"), "{untrusted}");
    let driver = "acme/driver.py";
    assert!(said(&["driver", "check", driver, "--trust-own-files", "--live", "live.toml"], 64).contains("live.toml"));
    assert!(
        said(&["driver", "check", driver, "--trust-own-files", "--live", "nowhere.toml"], 64)
            .contains("cannot be read")
    );
}
