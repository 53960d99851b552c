//! Why a driver was not changed, in one line each.

use std::fmt;

use thiserror::Error;

use crate::drivers::{DriverUnavailable, Kind, LoadError};

/// A reload, rollback or restart that did not happen. What served before serves still.
#[derive(Clone, Debug, Error)]
pub enum ReloadError {
    /// There is no such entry.
    #[error("{0}")]
    Unknown(DriverUnavailable),
    /// The next generation was refused.
    #[error("{0}")]
    Refused(LoadError),
    /// There is nothing to roll back to.
    #[error("driver {kind}.{name}: {why}; install the file that you want and reload the driver")]
    NothingBefore {
        /// Kind asked for.
        kind: Kind,
        /// Name asked for.
        name: String,
        /// What is in the way.
        why: &'static str,
    },
    /// The driver's process did not come up again.
    #[error("driver {driver}: not restarted: {reason}")]
    NotRestarted {
        /// `kind.name`.
        driver: String,
        /// What happened.
        reason: String,
    },
    /// The daemon ends, or the entry is being removed.
    #[error("driver {driver}: {reason}")]
    Unavailable {
        /// `kind.name`.
        driver: String,
        /// What is in the way.
        reason: String,
    },
}

/// A new table of drivers that was not taken over. Everything is as it was; each fault is one line.
#[derive(Clone, Debug, Error)]
pub struct NotApplied(pub Vec<String>);

impl fmt::Display for NotApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
