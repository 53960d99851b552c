//! What the kernel would say of a program's file, before it is started and in an operator's words.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use super::error::{Failure, Stage, one_line};

/// The longest first line that the kernel reads (`BINPRM_BUF_SIZE`).
const LONGEST_FIRST_LINE: usize = 256;

/// Whether a file can be run: its mode, and the interpreter that a script's first line names.
pub(super) fn check(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
    let refuse =
        |found: String, expected: &str, remedy: String| Err(Failure::new(Stage::File, found, expected, remedy));
    let shown = path.display();
    if mode & 0o111 == 0 {
        return refuse(
            format!("mode {:04o}, so that nobody may run it", mode & 0o7777),
            "an executable file",
            format!("chmod +x {shown}"),
        );
    }
    if bytes.starts_with(b"\x7fELF") {
        return Ok(());
    }
    let Some(script) = bytes.strip_prefix(b"#!") else {
        return refuse(
            "neither a program nor a script that begins with #!".to_owned(),
            "a file that can be run",
            format!(
                "begin it with the interpreter's line, as #!/usr/bin/python3, or name both: command = [\"/usr/bin/python3\", \"{shown}\"]"
            ),
        );
    };
    let line = script.get(..script.len().min(LONGEST_FIRST_LINE)).unwrap_or_default();
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return refuse(
            "a first line that ends in a carriage return, which belongs to the interpreter's name then".to_owned(),
            "lines that end in a line feed alone",
            format!("sed -i 's/\\r$//' {shown}"),
        );
    }
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let interpreter = Path::new(OsStr::from_bytes(words.next().unwrap_or_default()));
    if interpreter.is_absolute() && !interpreter.exists() {
        return refuse(
            format!("a script for {}, which is not there", one_line(&interpreter.to_string_lossy())),
            "an interpreter that is installed",
            format!("install it, or correct the first line of {shown}"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_told_with_what_to_do() {
        let said = |mode, bytes: &[u8]| check(Path::new("/opt/acme/driver.py"), mode, bytes).map_err(|f| f.remedy);
        for well in [&b"#!/bin/sh\n"[..], b"#! /bin/sh -e\n", b"#!/bin/sh", b"\x7fELF\x02", b"#!\n"] {
            assert_eq!(said(0o755, well), Ok(()), "{}", String::from_utf8_lossy(well));
        }
        for (mode, bytes, remedy) in [
            (0o644, &b"#!/bin/sh\n"[..], "chmod +x /opt/acme/driver.py"),
            (0o755, b"", "#!/usr/bin/python3"),
            (0o755, b"import sys\n", "command = [\"/usr/bin/python3\", \"/opt/acme/driver.py\"]"),
            (0o755, b"#!/bin/sh\r\n", "sed -i"),
            (0o755, b"#!/nowhere/python3 -I\n", "install it"),
        ] {
            let told = said(mode, bytes).unwrap_err();
            assert!(told.contains(remedy), "{remedy}: {told}");
        }
    }
}
