//! What goes wrong between the driver and the machine, and how a caller hears of it.

use std::path::PathBuf;

use capstan_plugin_api::{DriverError, ErrorCode, Retry};

use crate::{
    config::TokenError,
    control::CommandError,
    runtime::{SocketError, StatError},
};

/// A failure. The text is the operator's; a tenant reads what [`DriverError::message`] says.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Another call about the device, perhaps of another process, did not end in time.
    #[error("{path} stayed locked by another call until the deadline")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A program could not be run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The host, or a check before anything was touched.
    #[error("{0}")]
    Driver(DriverError),
    /// A file or directory.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `haproxy -c` refused the candidate.
    #[error("haproxy -c refused the new configuration, which was not put in place: {said}")]
    Invalid {
        /// Its words.
        said: String,
    },
    /// The new configuration did not come up; the last good one is back.
    #[error("HAProxy did not come up with the new configuration: {said}")]
    NotLoaded {
        /// Its words.
        said: String,
    },
    /// A HAProxy has the device's socket that the daemon did not start.
    #[error(
        "process {pid} answers on {path}, and is not the HAProxy that the daemon started: end it, then repeat the message"
    )]
    NotOwned {
        /// The socket.
        path: PathBuf,
        /// Who answers.
        pid: u32,
    },
    /// A stop was asked for and the program is still there.
    #[error("HAProxy was told to stop and still runs")]
    NotStopped,
    /// A directory that others could read or change.
    #[error("{path} must be a directory that belongs to this user and that nobody else can enter: {found}")]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The kept record cannot be read.
    #[error("{path} is no record of a device: {reason}; `delete` removes it")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// An answer of the runtime API.
    #[error(transparent)]
    Stat(#[from] StatError),
    /// systemctl refused.
    #[error("systemctl {verb} {service} failed: {said}")]
    Systemctl {
        /// What was asked of it.
        verb: &'static str,
        /// The unit.
        service: String,
        /// Its words.
        said: String,
    },
    /// The kernel's limit for a socket's path.
    #[error("the socket {path} would have a path of {length} bytes, at most 90 work; set a shorter runtime_directory")]
    TooLong {
        /// The socket.
        path: PathBuf,
        /// Bytes of its path.
        length: usize,
    },
    /// A word that may not be written; the checks before should have refused it.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Fault {
    /// For `map_err` on what the file system says.
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl From<Fault> for DriverError {
    fn from(fault: Fault) -> Self {
        let operator = fault.to_string();
        let (code, message, retry) = match fault {
            Fault::Driver(error) => return error,
            Fault::Busy { .. } => (ErrorCode::TIMEOUT, "Another change of the device is under way.", Retry::Now),
            Fault::Socket(error) if error.is_absent() => {
                (ErrorCode::UNAVAILABLE, "HAProxy is not running.", Retry::Now)
            }
            Fault::Command(CommandError::TimedOut { .. }) => {
                (ErrorCode::TIMEOUT, "HAProxy did not answer in time.", Retry::Now)
            }
            Fault::Socket(_) => (ErrorCode::UNAVAILABLE, "HAProxy did not answer.", Retry::Now),
            Fault::Invalid { .. } => (ErrorCode::INTERNAL, "Configuration file is invalid", Retry::Never),
            Fault::NotLoaded { .. } => (
                ErrorCode::UNAVAILABLE,
                "The new configuration did not come up; the previous one was restored.",
                Retry::Now,
            ),
            Fault::NotOwned { .. } => {
                (ErrorCode::CONFLICT, "Another HAProxy runs in the device's place.", Retry::Never)
            }
            Fault::NotStopped => (ErrorCode::INTERNAL, "HAProxy could not be stopped.", Retry::Now),
            Fault::Token(_) => (ErrorCode::INTERNAL, "The configuration cannot be written.", Retry::Never),
            Fault::Systemctl { .. } => {
                (ErrorCode::UNAVAILABLE, "The HAProxy service did not do as it was told.", Retry::Now)
            }
            Fault::Command(_) | Fault::Stat(_) | Fault::File { .. } | Fault::Record { .. } => {
                (ErrorCode::INTERNAL, "The load balancer's machine reported a fault.", Retry::Never)
            }
            Fault::NotPrivate { .. } | Fault::TooLong { .. } => {
                (ErrorCode::INTERNAL, "The load balancer's machine is not set up for it.", Retry::Never)
            }
        };
        Self::new(code, message).for_operator(operator).retry(retry)
    }
}
