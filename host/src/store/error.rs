//! What goes wrong, in the operator's words.

use thiserror::Error;

/// Which rule of a table a statement broke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Constraint {
    /// A condition of `CHECK` or `NOT NULL`.
    Check,
    /// A row that another one refers to, or that refers to none.
    ForeignKey,
    /// A key that is there already.
    Unique,
}

/// Why a read or a write gave nothing.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Error {
    /// The store was closed, or its threads have ended.
    #[error("the store is closed")]
    Closed,
    /// A rule of a table was broken; `ON CONFLICT` is the way around it.
    #[error("a rule of the table was broken: {text}")]
    Constraint {
        /// Which kind of rule.
        kind: Constraint,
        /// The database's words.
        text: String,
    },
    /// The database's file is damaged. Sticky: nothing is written any more.
    #[error(
        "the store is damaged: {0}; stop the daemon, run `capstan store check`, and bring a backup back with `capstan store restore`"
    )]
    Corrupt(String),
    /// There is no room left.
    #[error(
        "the store has no room left: {0}; free space or give the file system more, the store then goes on by itself"
    )]
    Full(String),
    /// A statement or a value that no database could take: a fault of the caller.
    #[error("the store cannot do this: {0}")]
    Invalid(String),
    /// A lease was lost to somebody else, or to time. What was to be written under it is not written.
    #[error("the lease {name} is lost: {reason}")]
    LeaseLost {
        /// Name of the lease, or id of the job.
        name: String,
        /// How.
        reason: String,
    },
    /// Another process has the store.
    #[error("{0}")]
    Locked(String),
    /// What is stored comes from a newer program.
    #[error(
        "the store was written by a newer capstan: {found}, and this one knows {known}; start the newer capstan, or restore a \
backup that was taken with this one into an empty store"
    )]
    NewerSchema {
        /// What stands in the store.
        found: String,
        /// What this program knows.
        known: String,
    },
    /// A job, an object: there is none of this name.
    #[error("there is no {0}")]
    NotFound(String),
    /// A closure panicked. Nothing of it is written.
    #[error("a change of the store panicked: {0}; nothing of it was written")]
    Panicked(String),
    /// The file may not be written.
    #[error("the store cannot be written: {0}; make it writable for this user, the store then goes on by itself")]
    ReadOnly(String),
    /// Two transactions met, again and again.
    #[error("other changes came in between too often: {0}")]
    Contended(String),
    /// The database did not understand a statement: a fault of this program.
    #[error("the store did not take a statement: {0}")]
    Statement(String),
    /// The database cannot be reached, or its file not be used.
    #[error("the store cannot be used: {0}")]
    Unavailable(String),
    /// The commit was sent and no answer came: the change may be there or not.
    #[error("whether the change was stored is not known: {0}; look before it is done again")]
    Unconfirmed(String),
}

impl Error {
    /// The store itself is at fault rather than what was asked of it, and readiness says so.
    #[must_use]
    pub const fn is_of_the_store(&self) -> bool {
        matches!(
            self,
            Self::Corrupt(_) | Self::Full(_) | Self::ReadOnly(_) | Self::Unavailable(_) | Self::Unconfirmed(_)
        )
    }
}
