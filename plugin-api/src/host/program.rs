//! Programs that outlive their driver: the host starts them in a session of their own and finds them again by name.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Host,
    service::{ProgramFind, ProgramStop},
};
use crate::DriverError;

/// What to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgramSpec {
    /// Unique in the instance: `[a-z0-9._-]`, at most 64 bytes.
    pub name: String,
    /// Program (absolute path) and arguments; never given to a shell.
    pub command: Vec<String>,
    /// The whole environment; the daemon's own is not passed on.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Working directory; none means `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// File that standard output and error are appended to; none means nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
}

/// A program that was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Name of its specification.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// It was running already when `start` was called.
    #[serde(default)]
    pub found: bool,
}

impl Host {
    /// Starts a program, or finds the one of this name that runs already.
    pub fn program_start(&self, spec: &ProgramSpec) -> Result<Program, DriverError> {
        self.call("program.start", spec)
    }

    /// The running program of this name, or none. A process that merely has the same number is not taken for it.
    pub fn program_find(&self, name: &str) -> Result<Option<Program>, DriverError> {
        self.call("program.find", &ProgramFind { name: name.into() })
    }

    /// Ends a program with SIGTERM, and with SIGKILL after `grace_ms` milliseconds; returns when it is gone. A missing one is no error.
    pub fn program_stop(&self, name: &str, grace_ms: u64) -> Result<(), DriverError> {
        self.call("program.stop", &ProgramStop { name: name.into(), grace_ms })
    }
}
