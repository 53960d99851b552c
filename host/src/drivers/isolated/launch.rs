//! Starts the process of a driver.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as Socket, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    net::{UnixStream, unix::pipe},
    process::Child,
};

use crate::drivers::{
    Confinement,
    child::{Program, Specification},
    confinement::{Cgroup, Prepared},
};

/// What a driver's process is started from; the same at each restart.
#[derive(Clone)]
pub(in crate::drivers) struct Launch {
    /// `kind.name`.
    pub driver: String,
    /// The daemon's own binary.
    pub executable: PathBuf,
    pub program: Program,
    pub max_concurrency: usize,
    pub confinement: Confinement,
    /// What of it does not bind here has been told.
    pub is_told: Arc<AtomicBool>,
}

/// A process that has just been started.
pub(super) struct Started {
    pub child: Child,
    pub socket: UnixStream,
    /// What it prints.
    pub output: pipe::Receiver,
    /// Dropping it ends the process and everything below it.
    pub lifeline: OwnedFd,
    /// What limits it with everything below it, where the daemon may make such a group.
    pub cgroup: Option<Cgroup>,
}

impl Launch {
    /// Starts it; needs tokio's runtime.
    pub(super) fn start(&self) -> io::Result<Started> {
        let (prepared, cgroup) = self.confined().map_err(io::Error::other)?;
        let specification = Specification {
            driver: self.driver.clone(),
            program: self.program.clone(),
            max_concurrency: self.max_concurrency,
            prepared,
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
            cgroup,
        })
    }

    /// What binds the process on this machine. What does not is told once, not at every start.
    fn confined(&self) -> Result<(Prepared, Option<Cgroup>), String> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let mut confinement = self.confinement.clone();
        if let Some(sandbox) = &mut confinement.sandbox {
            let (Program::Library { path, .. } | Program::Command { path, .. }) = &self.program;
            sandbox.read.push(path.clone());
        }
        let prepared = confinement.prepare()?;
        let name = format!("{}-{}", self.driver, NUMBER.fetch_add(1, Ordering::Relaxed));
        let is_first = !self.is_told.swap(true, Ordering::Relaxed);
        let (prepared, cgroup) = match Cgroup::create(&name, &confinement.limits) {
            Ok(Some(cgroup)) => (prepared.within(&cgroup), Some(cgroup)),
            Ok(None) => (prepared, None),
            Err(reason) => {
                tracing::debug!(driver = self.driver, "no control group: {reason}");
                (prepared, None)
            }
        };
        if is_first {
            prepared.shortfalls().iter().for_each(|line| tracing::warn!(driver = self.driver, "not enforced: {line}"));
        }
        Ok((prepared, cgroup))
    }
}
