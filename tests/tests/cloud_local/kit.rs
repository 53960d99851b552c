//! The conformance kit, in both modes.

use std::{fs, process::Command};

use capstan_tests::paths;
use serde_json::Value;

use crate::support;

#[test]
fn it_passes_the_kit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    support::image(&folder.path().join("images"), "plain", "exec tail -F @DIR@/x", "");
    let live = folder.path().join("live.toml");
    let config = support::settings(root, "", &[8080]);
    fs::write(&live, format!("[config]\n{config}\n[conformance]\nshared_backend = true\n")).unwrap();
    let library = paths::driver("cloud_local");
    for more in [&[][..], &["--live", live.to_str().unwrap()]] {
        let output = Command::new(paths::capstan())
            .args(["--config", "/nowhere/capstan.toml", "driver", "check", library.to_str().unwrap()])
            .args(["--trust-own-files", "--output", "json"])
            .args(more)
            .output()
            .unwrap();
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let checks = report["checks"].as_array().unwrap_or_else(|| panic!("{report:#}"));
        let failed: Vec<_> = checks.iter().filter(|check| check["verdict"] == "failed").collect();
        assert!(output.status.success() && failed.is_empty(), "{more:?}: {failed:#?}");
        for mode in ["process", "in-process"] {
            let passed = |name: &str| {
                checks.iter().any(|c| c["isolation"] == mode && c["check"] == name && c["verdict"] == "passed")
            };
            assert!(passed("open-close"), "{mode}");
            assert!(
                more.is_empty() || ["create", "create-once", "destroy", "not-found"].into_iter().all(passed),
                "{mode}"
            );
        }
    }
    assert_eq!(fs::read_dir(folder.path().join("cloud/nodes")).unwrap().count(), 0, "what the kit made, it removed");
}
