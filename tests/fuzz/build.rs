//! Builds the driver in C: a real driver file that is small enough to be mutated thousands of times a second.

use std::{env, path::Path, process::Command};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = root.join("plugins/examples/c-load-balancer/driver.c");
    let library = Path::new(&env::var_os("OUT_DIR").unwrap()).join("driver.so");
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed={}", root.join("plugin-api/include").display());
    let made = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-Os", "-s", "-I"])
        .arg(root.join("plugin-api/include"))
        .arg("-o")
        .args([library, source])
        .status()
        .expect("cc is installed");
    assert!(made.success(), "cc: {made}");
}
