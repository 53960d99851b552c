//! One database file takes the place of another.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::store::Error;

/// The write-ahead log and its index belong to the file they lie beside: left behind, the log would be played into another one.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// The path with something behind it.
pub(super) fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Removes a file and what lies beside it.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    for ending in ["", BESIDE[0], BESIDE[1]] {
        let file = named(path, ending);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&file, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// Moves the file that is there aside and the new one into its place. Gives where the old one is now.
pub(super) fn put_in_place(fresh: &Path, path: &Path, now: i64) -> Result<Option<PathBuf>, Error> {
    File::open(fresh).and_then(|file| file.sync_all()).map_err(|error| failed(fresh, &error))?;
    let aside = named(path, &format!(".before-{now}"));
    let mut set_aside = None;
    // The log first: between two of these steps there may be a file without its log, never a log without its file.
    for ending in [BESIDE[1], BESIDE[0], ""] {
        let (from, to) = (named(path, ending), named(&aside, ending));
        match fs::rename(&from, &to) {
            Ok(()) if ending.is_empty() => set_aside = Some(to),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&from, &error)),
        }
    }
    fs::rename(fresh, path).map_err(|error| failed(path, &error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, &error))?;
    Ok(set_aside)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}; make the folder writable for this user", path.display()))
}
