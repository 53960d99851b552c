//! Starts the process of a driver.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as Socket, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    net::{UnixStream, unix::pipe},
    process::Child,
};

use crate::drivers::child::{Program, Specification};

/// What a driver's process is started from; the same at each restart.
#[derive(Clone)]
pub(in crate::drivers) struct Launch {
    /// `kind.name`.
    pub driver: String,
    /// The daemon's own binary.
    pub executable: PathBuf,
    pub program: Program,
    pub max_concurrency: usize,
}

/// A process that has just been started.
pub(super) struct Started {
    pub child: Child,
    pub socket: UnixStream,
    /// What it prints.
    pub output: pipe::Receiver,
    /// Dropping it ends the process and everything below it.
    pub lifeline: OwnedFd,
}

impl Launch {
    /// Starts it; needs tokio's runtime.
    pub(super) fn start(&self) -> io::Result<Started> {
        let specification = Specification {
            driver: self.driver.clone(),
            program: self.program.clone(),
            max_concurrency: self.max_concurrency,
        };
        let specification = serde_json::to_string(&specification)?;
        let (own, theirs) = Socket::pair()?;
        let (output, output_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (lifeline_reader, lifeline) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = Command::new(&self.executable);
        command
            .arg0("capstan")
            .arg("__driver")
            .arg(specification)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(lifeline_reader))
            .stderr(Stdio::from(output_writer))
            .process_group(0);
        let mut command = tokio::process::Command::from(command);
        // The lifeline does it, and takes what is below along.
        command.kill_on_drop(false);
        let child = command.spawn()?;
        // Our copies of the child's ends go with the command; without that their end would never be seen.
        drop(command);
        own.set_nonblocking(true)?;
        Ok(Started {
            child,
            socket: UnixStream::from_std(own)?,
            output: pipe::Receiver::from_owned_fd(output)?,
            lifeline,
        })
    }
}
