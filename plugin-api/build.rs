//! Passes the target triple on to the manifest.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=CAPSTAN_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
