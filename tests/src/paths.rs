//! Where the build put things.

use std::path::PathBuf;

/// The folder of the built binary and drivers: that of the running test, demo or benchmark, `deps` aside.
pub fn build() -> PathBuf {
    let mut folder = std::env::current_exe().expect("the path of this program");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

/// The daemon.
pub fn capstan() -> PathBuf {
    let path = build().join("capstan");
    assert!(path.exists(), "{} is missing: build the workspace first (`make build`)", path.display());
    path
}

/// A driver's library: `driver("load_balancer_noop")`.
pub fn driver(name: &str) -> PathBuf {
    let path = build().join(format!("libcapstan_{name}.so"));
    assert!(path.exists(), "{} is missing: build the workspace first (`make build`)", path.display());
    path
}
