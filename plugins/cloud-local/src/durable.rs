//! Files that are there after a crash, whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

/// Puts a file in place of the one before, on disk when it returns; nobody ever reads half of it.
pub(crate) fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write(path, value, true)?;
    sync_folder(path.parent().unwrap_or(path))
}

/// The same for what need not survive the machine.
pub(crate) fn replace_volatile(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write(path, value, false)
}

fn write(path: &Path, value: &impl Serialize, durable: bool) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&aside, path)
}

/// Makes what was created, renamed or removed in a folder last.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads such a file; none when there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
