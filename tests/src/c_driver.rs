//! The driver in C that the repository ships as an example, built when a suite asks for it.

use std::{fs, path::Path, process::Command};

/// Builds it into `to`, with more C at its end.
pub fn build(to: &Path, more: &str) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let example = repository.join("plugins/examples/c-load-balancer");
    let source = to.with_extension("c");
    let text = fs::read_to_string(example.join("driver.c")).expect("the example");
    fs::write(&source, format!("{text}\n{more}\n")).expect("the source is written");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
        .arg(to)
        .arg("-I")
        .arg(repository.join("plugin-api/include"))
        .arg("-I")
        .arg(&example)
        .arg(&source)
        .output()
        .expect("cc runs; `make setup` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// C that leaves a file when the library is loaded.
pub fn witness(path: &Path) -> String {
    format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void eager(void) {{ fclose(fopen(\"{}\", \"w\")); }}",
        path.display()
    )
}
