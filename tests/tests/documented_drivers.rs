//! The drivers that README and driver guide show, compiled as they stand there and run as they say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use capstan_tests::{daemon::Site, paths};
use serde_json::{Value, json};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)).unwrap()
}

/// The first block of code in a language that begins with these words, as a reader of the rendered page sees it.
fn block(page: &str, language: &str, begins: &str) -> String {
    let opening = format!("```{language}\n{begins}");
    let from = page.find(&opening).unwrap_or_else(|| panic!("no block {opening:?}")) + language.len() + 4;
    let text = &page[from..];
    let text = &text[..text.find("\n```").expect("the end of the block")];
    let is_shown = |line: &&str| language != "rust" || !(line.starts_with("# ") || *line == "#");
    text.lines().filter(is_shown).map(|line| format!("{line}\n")).collect()
}

/// Compiles a driver's source against the crate that the suites were built with, as cargo would.
fn compile(folder: &Path, source: &str) -> PathBuf {
    let (file, library) = (folder.join("lib.rs"), folder.join("libacme_driver.so"));
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&file, source).unwrap();
    let api = paths::build().join("libcapstan_plugin_api.rlib");
    assert!(api.exists(), "{} is missing: build the workspace first (`make build`)", api.display());
    let output = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "acme_driver", "--deny", "warnings"])
        .arg("--extern")
        .arg(format!("capstan_plugin_api={}", api.display()))
        .arg("-L")
        .arg(format!("dependency={}", paths::build().join("deps").display()))
        .arg("-o")
        .arg(&library)
        .arg(&file)
        .env("CARGO_PKG_VERSION", "0.1.0")
        .output()
        .expect("rustc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

#[test]
fn the_driver_of_the_guide_runs_as_the_guide_says() {
    let guide = page("docs/driver-guide.md");
    let site = Site::worker("noop", "");
    let (library, file) = (site.path().join("target/release"), site.path().join("acme.json"));
    let library = compile(&library, &block(&guide, "rust", ""));
    // Ports of this suite's own, in sections that the guide's file leaves out.
    let toml = block(&guide, "toml", "# acme.toml").replace("/tmp/acme.json", file.to_str().unwrap());
    site.configure(&format!(
        "{toml}\n[http]\nlisten = [\"127.0.0.1:{}\"]\n[gearman]\nembedded_listen = \"127.0.0.1:{}\"\n",
        site.http_port, site.job_server_port
    ));
    site.expect(0, &["config", "check"]);
    site.expect(0, &["driver", "check", "acme"]);
    let config = json!({ "file": file }).to_string();
    let library = library.to_str().unwrap();
    site.expect(0, &["driver", "check", library, "--trust-own-files", "--driver-config", &config]);

    let daemon = site.start_with(&["worker", "--driver", "acme"]);
    let messages: Vec<&str> =
        guide.split("job send node-1 '").skip(1).map(|rest| rest.split('\'').next().unwrap()).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    let written = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    for (message, state) in messages.into_iter().zip(["up", "suspended"]) {
        let reply = site.expect(0, &["job", "send", "node-1", message]).json();
        assert_eq!(reply["hpcs_response"], "PASS", "{reply}\n{}", site.log());
        let balancer = &written()["load_balancers"][0];
        assert_eq!(balancer["admin_state"], state, "{balancer}");
        assert_eq!(balancer["pools"][0]["members"][0]["address"], "10.0.0.10", "{balancer}");
    }
    let listed = site.expect(0, &["driver", "list", "--output", "json"]).json();
    assert_eq!((&listed["drivers"][0]["name"], &listed["drivers"][0]["state"]), (&json!("acme"), &json!("ready")));
    // What a restarted daemon finds is what was there; and DELETE leaves nothing.
    daemon.stop();
    let daemon = site.start_with(&["worker", "--driver", "acme"]);
    for (name, response) in [("ENABLE", "PASS"), ("DELETE", "PASS"), ("SUSPEND", "FAIL"), ("STATS", "FAIL")] {
        let reply = site.ask(&json!({ "hpcs_action": name }));
        assert_eq!(reply["hpcs_response"], response, "{reply}\n{}", site.log());
    }
    assert!(!file.exists());
    daemon.stop();
}

#[test]
fn the_driver_of_the_readme_loads_as_it_says() {
    let readme = page("README.md");
    let site = Site::worker("noop", "");
    let library = compile(&site.path().join("acme"), &block(&readme, "rust", ""));
    let config = readme.split("--driver-config '").nth(1).unwrap().split('\'').next().unwrap();
    // The guide's driver goes through the whole kit; once is enough.
    site.expect(0, &["driver", "check", library.to_str().unwrap(), "--driver-config", config, "--load-only"]);
    let text = fs::read_to_string(site.config()).unwrap();
    let entry =
        block(&readme, "toml", "[known_drivers.").replace("/opt/acme/libacme_balancer.so", library.to_str().unwrap());
    site.configure(&format!("{text}\n{entry}"));
    let daemon = site.start_with(&["worker", "--driver", "acme"]);
    site.pass(&capstan_tests::daemon::update(8080, &[("1", 80)]));
    daemon.stop();
}
