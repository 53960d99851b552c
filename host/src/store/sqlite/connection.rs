//! A connection with everything set that the store relies on.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::failure;
use crate::store::Error;

/// How long another process may keep the file locked before a change gives up.
const BUSY: Duration = Duration::from_secs(5);

/// Statements that are kept prepared by each connection.
const STATEMENTS: usize = 200;

/// Makes the file and its folder where they are not there. The store holds what nobody else on the machine is to read, and the
/// files that SQLite puts beside it take their mode from it.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| {
        let place = path.display();
        match error.kind() {
            io::ErrorKind::StorageFull => Error::Full(place.to_string()),
            _ => Error::Unavailable(format!(
                "{place}: {error}; make the folder writable for this user, or set store.url to a file elsewhere"
            )),
        }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(()),
    }
}

/// SQLite says of a folder no more than that it cannot open it.
pub(super) fn refuse_folder(path: &Path) -> Result<(), Error> {
    if !path.is_dir() {
        return Ok(());
    }
    let place = path.display();
    Err(Error::Unavailable(format!(
        "{place} is a directory; set store.url to a file, such as \"sqlite:{place}/capstan.db\""
    )))
}

/// A connection that writes, and syncs at each commit.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    let failed = |error: rusqlite::Error| failure::of(&error, path);
    let connection = plain(path).map_err(failed)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864").map_err(failed)?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" || synchronous != 2 {
        return Err(Error::Unavailable(format!(
            "{}: found journal mode {mode} and synchronous = {synchronous}; expected wal and 2; put the file on a local file system",
            path.display()
        )));
    }
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let failed = |error: rusqlite::Error| failure::of(&error, path);
    let connection = plain(path).map_err(failed)?;
    connection.execute_batch("PRAGMA query_only = ON").map_err(failed)?;
    Ok(connection)
}

fn plain(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Memory maps stay off: a disk that fails would end the process instead of a statement.
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; \
         PRAGMA case_sensitive_like = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -16384",
    )?;
    Ok(connection)
}
