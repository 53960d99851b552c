//! One daemon at a time uses a file. SQLite would let two of them write by turns, but leases and sweeps of one machine rely on a
//! single one.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::store::Error;

/// The lock of a file; it goes with this value, and with the process, however that ends.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock, which lies in a file beside the database: closing any handle of the database itself would let go of the
    /// locks that SQLite has on it.
    pub fn take(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            // A folder that cannot be made is told of when the lock cannot be.
            let _told_below = std::fs::create_dir_all(folder);
        }
        let place = beside(path);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&place);
        let file = file.map_err(|error| {
            Error::Unavailable(format!(
                "{}: {error}; make the folder writable for this user, or set store.url to a file elsewhere",
                place.display()
            ))
        })?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::Locked(format!(
                "another capstan uses the store {}; stop it, or give this one a store of its own (store.url)",
                path.display()
            ))
        })?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a process that is being started in this moment has the file open as well, until it runs its program.
        let _goes_with_the_process = flock(&self.0, FlockOperation::Unlock);
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
