//! The files of a store as they were opened. Whoever has a file open can go on writing to it after it was removed or replaced; what is
//! written then is gone with the daemon, so it is not acknowledged.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::store::Error;

/// With so many bytes free on the file system a disk is not full any more.
const ROOM: u64 = 1024 * 1024;
/// Or when so long nothing was refused: the write-ahead log may have room of its own, of which nobody knows how much.
const QUIET: Duration = Duration::from_secs(5);

/// The database and its write-ahead log, each with its device and inode.
#[derive(Clone, Debug)]
pub(super) struct Place {
    files: [(PathBuf, (u64, u64)); 2],
    /// When a change found no room, unless that is over.
    refused: Arc<Mutex<Option<Instant>>>,
}

impl Place {
    /// Of a database that is open.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let with_identity = |path: PathBuf| identity(&path).map(|identity| (path, identity));
        let files = [with_identity(path.to_owned())?, with_identity(log.into())?];
        Ok(Self { files, refused: Arc::default() })
    }

    /// Both files still have their names.
    pub fn is_as_opened(&self) -> Result<(), Error> {
        for (path, opened) in &self.files {
            if identity(path)? != *opened {
                return Err(Error::Unavailable(format!(
                    "{} is another file than the one that was opened; restart the daemon, and stop it before you replace the file",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// A change found no room.
    pub fn is_full(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The files have their names, and no change has lately found no room: that a small one fits makes nothing good of a full disk.
    pub fn look(&self) -> Result<(), Error> {
        self.is_as_opened()?;
        let [(path, _), _] = &self.files;
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = *refused else { return Ok(()) };
        let free = rustix::fs::statvfs(path).map_or(0, |system| system.f_bavail.saturating_mul(system.f_frsize));
        if free < ROOM && at.elapsed() < QUIET {
            return Err(Error::Full(path.display().to_string()));
        }
        *refused = None;
        Ok(())
    }
}

fn identity(path: &Path) -> Result<(u64, u64), Error> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino())).map_err(|error| {
        Error::Unavailable(format!("{}: {error}; the file is gone: stop the daemon before you move it", path.display()))
    })
}
