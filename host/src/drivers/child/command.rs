//! Becomes the program of an entry with `command`.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::io::FdFlags;

use super::keeper;
use crate::drivers::{frames::PROTOCOL, manifest};

/// Where a command finds its frames when they are not on standard input and output.
const DESCRIPTOR: i32 = 3;

/// Runs the very file whose content is checked, by its descriptor.
pub(super) fn become_it(
    frames: OwnedFd,
    path: &Path,
    file: File,
    sha256: &str,
    arguments: &[String],
    on_descriptor: bool,
) -> io::Result<()> {
    let refuse = |why: String| io::Error::other(format!("{} cannot be run: {why}", path.display()));
    // Out of the way of the descriptor that the frames are to have.
    let mut file = File::from(rustix::io::fcntl_dupfd_cloexec(&file, 64)?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if manifest::sha256(&bytes) != sha256 {
        return Err(refuse("it is not the file that was checked a moment ago".to_owned()));
    }
    if bytes.starts_with(b"#!") {
        // The interpreter opens the script by its descriptor too (execve(2), "Interpreter scripts").
        rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
    } else if !bytes.starts_with(b"\x7fELF") {
        // `exec` would hand it to a shell.
        return Err(refuse("it is neither a program nor a script that begins with #!".to_owned()));
    }
    drop(bytes);
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    command.arg0(path).args(arguments).env("CAPSTAN_PROTOCOL", PROTOCOL.to_string()).env("CAPSTAN_DRIVER_FILE", path);
    let kept = if on_descriptor {
        command.env("CAPSTAN_DESCRIPTOR", DESCRIPTOR.to_string());
        Some(keeper::place(frames.as_fd(), DESCRIPTOR)?)
    } else {
        command.stdin(Stdio::from(frames.try_clone()?)).stdout(Stdio::from(frames));
        None
    };
    let error = command.exec();
    drop(kept);
    Err(refuse(error.to_string()))
}
