//! From SQLite's codes to the store's errors.

use std::path::Path;

use rusqlite::{Error as Sqlite, ErrorCode, ffi};

use crate::store::{Constraint, Error};

/// What an error of SQLite means for this file.
pub(super) fn of(error: &Sqlite, path: &Path) -> Error {
    let Sqlite::SqliteFailure(failure, _) = error else {
        return Error::Statement(error.to_string());
    };
    let place = |text: &str| format!("{}: {text}", path.display());
    let code = failure.extended_code;
    match failure.code {
        ErrorCode::ConstraintViolation => Error::Constraint { kind: constraint(code), text: error.to_string() },
        ErrorCode::DiskFull => Error::Full(path.display().to_string()),
        ErrorCode::ReadOnly => Error::ReadOnly(place("the file is read-only")),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Error::Corrupt(place(&error.to_string())),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Error::Unavailable(place("another process keeps it locked; end it, the store then goes on by itself"))
        }
        ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::OutOfMemory
        | ErrorCode::PermissionDenied
        | ErrorCode::SystemIoFailure => Error::Unavailable(place(&format!(
            "{error} (SQLite's code {code}); look at the disk and the file's permissions"
        ))),
        _ => Error::Statement(error.to_string()),
    }
}

fn constraint(extended_code: i32) -> Constraint {
    match extended_code {
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Constraint::ForeignKey,
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID | ffi::SQLITE_CONSTRAINT_UNIQUE => {
            Constraint::Unique
        }
        _ => Constraint::Check,
    }
}
