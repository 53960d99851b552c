//! Ways to a store beside the daemon's: for commands that look at it while a daemon works, or replace it while none does.

use std::path::PathBuf;

use super::{Error, Location, Settings, Transaction, postgres, sqlite};

/// Runs a closure that changes nothing, on one state of a store that is there.
pub(super) fn look<T>(
    settings: &Settings,
    closure: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    match &settings.location {
        Location::Sqlite(path) => sqlite::look(path, &settings.clock, closure),
        location @ Location::Postgres { .. } => postgres::look(location, &settings.clock, closure),
    }
}

/// Fills a store that has no tables, which it is made to be if `force` is set. Gives where the file is that was there before.
pub(super) fn replace(
    settings: &Settings,
    force: bool,
    fill: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), Error>,
) -> Result<Option<PathBuf>, Error> {
    match &settings.location {
        Location::Sqlite(path) => sqlite::replace(path, &settings.clock, force, fill),
        location @ Location::Postgres { .. } => {
            postgres::replace(location, &settings.clock, force, fill).map(|()| None)
        }
    }
}

/// What a store that is not empty says to a backup.
pub(super) fn not_empty(place: &str) -> Error {
    Error::Invalid(format!(
        "{place} is not empty; name an empty store, or give --force to put the backup in the place of what is there"
    ))
}
