//! Exit codes: 0 done, 1 the operation failed, 64 usage or configuration, 69 daemon or driver not available, 70 a bug.

use std::{fmt, process::ExitCode};

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The operation failed: exit code 1.
    Failed(String),
    /// The command line or the configuration is wrong: exit code 64.
    Usage(String),
    /// The daemon or a driver is not to be had: exit code 69.
    Unavailable(String),
    /// A fault of this program: exit code 70.
    Bug(String),
}

impl Failure {
    /// The code to end with.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Bug(_) => 70,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::Unavailable(text) => f.write_str(text),
            Self::Bug(text) => write!(f, "{text}; this is a fault of capstan, please report it"),
        }
    }
}

/// What a command gives back.
pub type Outcome = Result<(), Failure>;
