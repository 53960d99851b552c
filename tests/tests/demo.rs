//! What the demo says to a command line that it does not understand, and what `make install` does. That the demo works, `make demo`
//! shows.
#![allow(clippy::unwrap_used, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

#[test]
fn a_job_server_that_there_is_not_is_usage() {
    for (arguments, says) in [
        (&["--job-server", "foo"][..], "demo: found the job server \"foo\"; "),
        (&["--job-server"], "demo: found the arguments [\"--job-server\"]; "),
        (&["gearmand"], "demo: found the arguments [\"gearmand\"]; "),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_demo")).args(arguments).output().unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {error}");
        let expected = "expected --job-server embedded or --job-server gearmand\n";
        assert_eq!(error, format!("{says}{expected}"), "{arguments:?}");
    }
}

fn make(arguments: &[&str]) -> Output {
    let mut command = Command::new("make");
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).args(arguments);
    // It is nobody's sub-make, though this suite may be run by one.
    for variable in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"] {
        command.env_remove(variable);
    }
    command.output().unwrap()
}

#[test]
fn what_is_built_is_installed_without_cargo_and_what_an_operator_changed_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (root, target) = (folder.path().join("root"), folder.path().join("target"));
    let (destination, built) =
        (format!("DESTDIR={}", root.display()), format!("CARGO_TARGET_DIR={}", target.display()));
    let install = || {
        let ended = make(&["install", "CARGO=/nowhere/cargo", &destination, &built]);
        (ended.status.success(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let (is_installed, _, error) = install();
    assert!(!is_installed && error.contains("run `make release` as a user who has Rust"), "{error}");

    let release = target.join("release");
    fs::create_dir_all(&release).unwrap();
    let drivers = [
        "cloud_dummy",
        "cloud_local",
        "load_balancer_haproxy",
        "load_balancer_noop",
        "mgm_dummy",
        "mgm_hp_rest",
        "mgm_local",
    ];
    let libraries = drivers.map(|driver| format!("libcapstan_{driver}.so"));
    for file in ["capstan", "capstan-local-node"].into_iter().chain(libraries.iter().map(String::as_str)) {
        fs::write(release.join(file), "").unwrap();
    }
    let (is_installed, said, error) = install();
    assert!(is_installed && !said.contains("kept"), "{said}{error}");
    let doc = root.join("usr/local/share/doc/capstan");
    for file in ["docs/runbook.md", "docs/operator-guide.md", "config/examples/local-cloud.toml"] {
        assert!(doc.join(file).exists(), "{file}");
    }
    let alerts = fs::read_to_string(root.join("usr/local/share/capstan/alerts/pool.rules.yml")).unwrap();
    assert!(alerts.contains("runbook: /usr/local/share/doc/capstan/docs/runbook.md#capstanpoolstockempty"), "{alerts}");

    let kept = ["capstan.toml", "images/lb-node/image.toml"].map(|file| root.join("etc/capstan").join(file));
    for file in &kept {
        assert!(!file.with_extension("toml.new").exists());
        fs::write(file, "# the operator's").unwrap();
    }
    let (is_installed, said, error) = install();
    assert!(is_installed, "{error}");
    for file in &kept {
        assert_eq!(fs::read_to_string(file).unwrap(), "# the operator's");
        assert!(
            file.with_extension("toml.new").exists() && said.contains(&format!("kept {}", file.display())),
            "{said}"
        );
    }
    assert!(!root.join("etc/capstan/images/lb-node/capstan.toml.new").exists());
}

#[test]
fn make_says_so_before_it_builds_anything() {
    // A dry run, so that nothing is built where the word is taken.
    let make = |job_server: &str| make(&["--dry-run", "demo", &format!("JOB_SERVER={job_server}")]);
    let ended = make("foo");
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && ended.stdout.is_empty(), "{error}");
    assert!(error.contains("found JOB_SERVER=foo; expected embedded or gearmand"), "{error}");
    for known in ["embedded", "gearmand"] {
        assert!(make(known).status.success(), "{known}");
    }
}
