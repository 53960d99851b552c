//! The cloud: what is asked of it, done to the files of its folder and through the daemon's program service.
//!
//! `directory/nodes/ID` is a node and `directory/floating/ADDRESS.json` a floating address. Whoever takes or gives back an address of either
//! kind holds `directory/lock`; whoever changes a node holds its `changes.lock`, so that several daemons may use one cloud.

mod catalog;
mod create;
mod destroy;
mod floating;
mod lists;
mod power;
mod programs;
mod view;

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use capstan_plugin_api::{CallContext, DriverError};

use crate::{
    config::Options,
    node_folder::{NodeFolder, lock_file, number_of},
    record::{Record, Wanted},
};

/// From one try to take a lock, or look at what was asked for, to the next.
const PAUSE: Duration = Duration::from_millis(3);
/// What begins so is on its way into the list of nodes, or out of it.
const ASIDE: &str = ".";

/// A cloud.
pub(crate) struct Cloud {
    options: Options,
}

/// A node and the right to change it, which ends when this goes.
struct Held {
    folder: NodeFolder,
    /// `Err` where the file says nothing that could be understood.
    record: Result<Record, String>,
    _changes: File,
}

impl Held {
    fn record(&self) -> Result<Record, DriverError> {
        self.record.clone().map_err(|wrong| {
            DriverError::conflict("the node's record is damaged, so all that can be done is to destroy it")
                .for_operator(wrong)
        })
    }
}

/// A fault of the file system.
fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> DriverError {
    DriverError::unavailable(format!("the cloud {what}")).for_operator(format!("{}: {error}", path.display()))
}

fn no_node(id: &str) -> DriverError {
    let shown: String = id.chars().take(100).collect();
    DriverError::not_found(format!("there is no node {shown:?}"))
}

impl Cloud {
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    fn nodes(&self) -> PathBuf {
        self.options.directory.join("nodes")
    }

    /// Makes the folders where they are missing and takes the cloud's lock.
    fn lock(&self, call: &CallContext) -> Result<File, DriverError> {
        for folder in [self.nodes(), self.floating()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| failed("cannot keep nodes", &folder, &error))?;
        }
        let path = self.options.directory.join("lock");
        let file = lock_file(&path).map_err(|error| failed("cannot be locked", &path, &error))?;
        take(call, &file, &path)?;
        Ok(file)
    }

    /// Takes a node to change it.
    fn hold(&self, call: &CallContext, id: &str) -> Result<Held, DriverError> {
        let folder = self.find(id)?;
        // The lock file would come into being in a folder that goes at this moment; then there is none.
        let file = folder.changes().map_err(|_| no_node(id))?;
        take(call, &file, folder.path())?;
        match folder.record() {
            Ok(Some(record)) => Ok(Held { folder, record: Ok(record), _changes: file }),
            Ok(None) => Err(no_node(id)),
            Err(error) => Ok(Held { folder, record: Err(error.to_string()), _changes: file }),
        }
    }

    /// The folder of a node that is there.
    fn find(&self, id: &str) -> Result<NodeFolder, DriverError> {
        let folder = number_of(id).map(|_| NodeFolder::new(self.nodes().join(id)));
        folder.filter(|folder| folder.path().is_dir()).ok_or_else(|| no_node(id))
    }

    /// All nodes by their ids, in order.
    fn all(&self) -> Result<Vec<NodeFolder>, DriverError> {
        let path = self.nodes();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("cannot read its nodes", &path, &error)),
        };
        let entries: Vec<_> =
            entries.collect::<io::Result<_>>().map_err(|error| failed("cannot read its nodes", &path, &error))?;
        let mut folders: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| number_of(name).is_some()))
            .map(|entry| NodeFolder::new(entry.path()))
            .collect();
        folders.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(folders)
    }

    /// The node that a token made and that is not being destroyed.
    fn by_token(&self, token: &str) -> Result<Option<Record>, DriverError> {
        if token.is_empty() {
            return Ok(None);
        }
        let records = self.all()?.into_iter().filter_map(|folder| folder.record().ok().flatten());
        Ok(records.into_iter().find(|record| record.client_token == token && record.wanted != Wanted::Gone))
    }

    /// Removes what a crash left on its way; under the cloud's lock.
    fn clear(&self) {
        for entry in fs::read_dir(self.nodes()).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(ASIDE)) {
                let _tried_again_next_time = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn image(&self, id: &str) -> Option<PathBuf> {
        let is_name = Path::new(id).file_name() == Some(OsStr::new(id));
        Some(self.options.images.join(id)).filter(|path| is_name && path.is_dir())
    }
}

/// Waits for a lock as long as the call has time.
fn take(call: &CallContext, file: &File, path: &Path) -> Result<(), DriverError> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {
                call.check()?;
                thread::sleep(PAUSE);
            }
            Err(TryLockError::Error(error)) => return Err(failed("cannot be locked", path, &error)),
        }
    }
}
