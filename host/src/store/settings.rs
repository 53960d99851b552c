//! Where the store is.

use std::path::{Path, PathBuf};

use super::Clock;
use crate::config::{self, Secret};

/// Where the store is, and by which clock its leases run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database.
    pub location: Location,
    /// Connections to PostgreSQL; SQLite has its own number.
    pub connections: u32,
    /// The clock.
    pub clock: Clock,
}

/// The database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    /// A server that several daemons share.
    Postgres {
        /// `postgres://USER@HOST:PORT/DATABASE`, without the password.
        url: String,
        /// The password, if the server wants one.
        password: Option<Secret>,
        /// Where the server's certificate has to come from, in PEM; without it, the connection is not encrypted.
        ca: Option<PathBuf>,
    },
    /// One file, used by one daemon.
    Sqlite(PathBuf),
}

/// Connections to PostgreSQL, unless the file says otherwise. A change is short, and the server commits together what is
/// committed at the same time.
const CONNECTIONS: u32 = 8;

impl Settings {
    /// A SQLite file, made if it is not there.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::at(Location::Sqlite(path.into()))
    }

    /// A database of PostgreSQL, without password and encryption.
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::at(Location::Postgres { url: url.into(), password: None, ca: None })
    }

    /// As `[store]` says. A relative path is seen from `state_dir`.
    #[must_use]
    pub fn of(store: &config::Store, state_dir: &Path) -> Self {
        let location = match store.url.strip_prefix("sqlite:") {
            Some(path) => Location::Sqlite(state_dir.join(path)),
            None => {
                Location::Postgres { url: store.url.clone(), password: store.password.clone(), ca: store.ca.clone() }
            }
        };
        Self { connections: store.connections, ..Self::at(location) }
    }

    fn at(location: Location) -> Self {
        Self { location, connections: CONNECTIONS, clock: Clock::default() }
    }
}
