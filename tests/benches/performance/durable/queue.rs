//! gearmand with the queue in SQLite that Debian builds it with.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use capstan_tests::{free_port, gearmand::Gearmand};
use tempfile::TempDir;

use crate::{rivals::Target, scratch};

const FUNCTION: &str = "bench";

/// A job server that keeps background jobs in a file. No worker takes them.
pub(super) struct Queue {
    server: Gearmand,
    folder: TempDir,
}

impl Queue {
    pub fn start() -> Self {
        Self::start_by(Command::new("gearmand"))
    }

    /// With its calls that bring something to the disk written to a file.
    pub fn traced(trace: &Path) -> Self {
        let mut command = Command::new("strace");
        // With -D it is gearmand that is our child, and is ended as such.
        command.args(["-D", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"]).arg(trace).arg("gearmand");
        Self::start_by(command)
    }

    fn start_by(mut command: Command) -> Self {
        let folder = scratch::folder();
        let file = format!("--libsqlite3-db={}", folder.path().join("queue.db").display());
        command.args(["-q", "libsqlite3", &file]);
        Self { server: Gearmand::start_by(command, free_port()), folder }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    pub fn target<'p>(&self, payload: &'p [u8]) -> Target<'p> {
        Target { port: self.server.port(), function: FUNCTION, payload }
    }
}
