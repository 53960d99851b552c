//! Small text files that the configuration names.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// The text of a regular file of at most `limit` bytes, and its mode. It is looked at and read through one descriptor.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<(String, u32)> {
    // Without O_NONBLOCK the open of a FIFO waits for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok((text, metadata.permissions().mode()))
}

/// The warning about a file that decides what is trusted and that everybody on this machine may write.
pub(super) fn open_to_all(path: &Path, mode: u32) -> Option<String> {
    (mode & 0o002 != 0).then(|| {
        let path = path.display();
        format!("every user of this machine may write {path} (mode {:03o}): chmod o-w {path}", mode & 0o777)
    })
}
