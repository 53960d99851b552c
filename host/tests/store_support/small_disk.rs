//! Tests that run on a small file system of their own, in a mount namespace.
#![allow(dead_code, reason = "each test file uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "this module is part of tests")]

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

const MOUNT: &str = "CAPSTAN_TEST_MOUNT";

/// Runs an ignored test of this program with a file system of so many megabytes at [`mounted`].
pub fn on_a_small_file_system(test: &str, megabytes: u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$CAPSTAN_TEST_MOUNT\" && exec \"$0\" \"$@\"");
    let output = command
        .args(["--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(MOUNT, folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Where the file system of this test is.
pub fn mounted() -> PathBuf {
    std::env::var_os(MOUNT).unwrap().into()
}
