//! The `program.*` services: what must outlive its driver, found again by name after any restart.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    DriverError, Program, ProgramSpec,
    host::service::{ProgramFind, ProgramStop},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{FlockOperation, OFlags},
    process::{Pid, PidfdFlags, Signal},
};
use serde::{Deserialize, Serialize};

use super::{
    error::one_line,
    process_table::{ProcessId, session_members},
    program_launch, store,
};

/// How long one start or stop waits for another of the same program.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a killed process may take to go.
const KILL_WAIT: Duration = Duration::from_secs(10);
const LONGEST_GRACE_MS: u64 = 600_000;

/// Programs of one driver, with their records in one folder.
pub(super) struct Programs {
    folder: PathBuf,
    /// `kind.name`.
    owner: String,
    systemd_run: Option<PathBuf>,
}

/// What is known of a program on disk. It holds the environment, so nobody else may read it.
#[derive(Serialize, Deserialize)]
struct Record {
    process: ProcessId,
    spec: ProgramSpec,
}

fn invalid(message: impl Into<String>) -> DriverError {
    DriverError::invalid_argument(message)
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> DriverError {
    DriverError::internal("the host cannot manage the program").for_operator(one_line(&format!("{what}: {error}")))
}

fn check_name(name: &str) -> Result<(), DriverError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(invalid(format!("the program's name {:?} is not of a-z, 0-9, '.', '_' and '-', 1 to 64 bytes", one_line(name))))
}

fn check(spec: &ProgramSpec) -> Result<(), DriverError> {
    check_name(&spec.name)?;
    let Some(program) = spec.command.first() else { return Err(invalid("the command is empty")) };
    let paths = [Some(Path::new(program)), spec.directory.as_deref(), spec.output.as_deref()];
    if let Some(path) = paths.into_iter().flatten().find(|path| !path.is_absolute()) {
        return Err(invalid(format!("{:?} is no absolute path", path.display().to_string())));
    }
    let texts = spec.command.iter().chain(spec.environment.keys()).chain(spec.environment.values());
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(invalid("a zero byte in the command or the environment"));
    }
    if let Some(name) = spec.environment.keys().find(|name| name.is_empty() || name.contains('=')) {
        return Err(invalid(format!("{name:?} is no name of an environment variable")));
    }
    Ok(())
}

impl Programs {
    pub fn new(state_dir: &Path, owner: &str, systemd_run: Option<PathBuf>) -> Self {
        Self { folder: state_dir.join("programs"), owner: owner.to_owned(), systemd_run }
    }

    fn file(&self, name: &str, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{name}.{suffix}", self.owner))
    }

    pub fn start(&self, spec: &ProgramSpec) -> Result<Program, DriverError> {
        check(spec)?;
        let lock = self.lock(&spec.name)?;
        if let Some(record) = self.running(&spec.name)? {
            return Ok(program(&record, true));
        }
        let record_path = self.file(&spec.name, "json");
        let record = |pid: i32| {
            let process = ProcessId::of(pid).ok_or_else(|| io::Error::other("the child has gone"))?;
            let bytes = serde_json::to_vec(&Record { process, spec: spec.clone() })?;
            store::replace(&record_path, &bytes, 0o600)
        };
        let child = program_launch::launch(self.command(spec)?, &lock, record);
        let mut child = child.map_err(|error| {
            let _nothing_runs = store::remove(&record_path);
            DriverError::invalid_argument(format!("the program {} cannot be started", spec.name))
                .for_operator(one_line(&format!("{}: {error}", spec.command.join(" "))))
        })?;
        let started = Program { name: spec.name.clone(), pid: child.id(), found: false };
        tracing::info!(driver = %self.owner, program = %spec.name, pid = child.id(), "program started");
        // It ends when it ends; while the daemon is its parent the daemon has to take note of it.
        let reaper = thread::Builder::new().name("program".into()).stack_size(64 << 10);
        if let Err(error) = reaper.spawn(move || child.wait()) {
            tracing::warn!(program = %spec.name, %error, "no thread to wait for the program's end");
        }
        Ok(started)
    }

    pub fn find(&self, request: &ProgramFind) -> Result<Option<Program>, DriverError> {
        check_name(&request.name)?;
        let _lock = self.lock(&request.name)?;
        Ok(self.running(&request.name)?.map(|record| program(&record, true)))
    }

    pub fn stop(&self, request: &ProgramStop) -> Result<(), DriverError> {
        check_name(&request.name)?;
        let _lock = self.lock(&request.name)?;
        if let Some(record) = self.running(&request.name)? {
            end(&record.process, Duration::from_millis(request.grace_ms.min(LONGEST_GRACE_MS)))?;
            tracing::info!(driver = %self.owner, program = %request.name, pid = record.process.pid, "program stopped");
        }
        store::remove(&self.file(&request.name, "json")).map_err(|error| failed(&request.name, &error))
    }

    /// Held while a program is started, stopped or looked for, by other processes of this state folder too.
    fn lock(&self, name: &str) -> Result<File, DriverError> {
        let fault = |error: io::Error| failed(name, &error);
        store::private_folder(&self.folder).map_err(fault)?;
        let path = self.file(name, "lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(fault)?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(2));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(DriverError::unavailable(format!("the program {name} is being started or stopped")));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(name, &error)),
            }
        }
    }

    /// The record, when what it describes runs.
    fn running(&self, name: &str) -> Result<Option<Record>, DriverError> {
        let path = self.file(name, "json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(name, &error)),
        };
        // An unreadable record is no licence to start the program a second time.
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| failed(&path.display().to_string(), &error))?;
        Ok(Some(record).filter(|record| record.process.is_running()))
    }

    fn command(&self, spec: &ProgramSpec) -> Result<Command, DriverError> {
        let (program, arguments) = spec.command.split_first().ok_or_else(|| invalid("the command is empty"))?;
        let mut command = match &self.systemd_run {
            None => Command::new(program),
            // In a scope of its own it is no part of the daemon's cgroup, which systemd empties when the unit stops. With
            // `--scope` systemd-run becomes the program itself, so number and start time stay.
            Some(systemd_run) => {
                let unit = format!("--unit=capstan-{}-{}.scope", self.owner, spec.name);
                let mut command = Command::new(systemd_run);
                command.args(["--scope", "--collect", "--quiet", &unit, "--", program]);
                command
            }
        };
        command
            .args(arguments)
            .env_clear()
            .envs(&spec.environment)
            .current_dir(spec.directory.as_deref().unwrap_or(Path::new("/")))
            .stdin(Stdio::null());
        match &spec.output {
            None => command.stdout(Stdio::null()).stderr(Stdio::null()),
            Some(path) => {
                let refuse = |error: io::Error| {
                    invalid(format!("the output file of {} cannot be opened", spec.name))
                        .for_operator(one_line(&format!("{}: {error}", path.display())))
                };
                let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
                let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path);
                let file = file.map_err(refuse)?;
                command.stdout(file.try_clone().map_err(refuse)?).stderr(file)
            }
        };
        Ok(command)
    }
}

fn program(record: &Record, found: bool) -> Program {
    Program { name: record.spec.name.clone(), pid: record.process.pid.unsigned_abs(), found }
}

/// Ends a program and all that is left of its session.
fn end(process: &ProcessId, grace: Duration) -> Result<(), DriverError> {
    let fault = |error: rustix::io::Errno| failed(&format!("process {}", process.pid), &error);
    let Some(leader) = Pid::from_raw(process.pid) else { return Ok(()) };
    let pidfd = match rustix::process::pidfd_open(leader, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(fault(error)),
    };
    // Now that the descriptor holds it, is it still the one that was recorded?
    if !process.is_running() {
        return Ok(());
    }
    // While one member lives, the session's number belongs to no other.
    let mut members = vec![pidfd];
    members.extend(others(process.pid));
    let signal = |pidfd: &OwnedFd, signal| match rustix::process::pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(fault(error)),
    };
    if let Some(leader) = members.first() {
        signal(leader, Signal::TERM)?;
    }
    if wait_all(&members, Instant::now() + grace) {
        return Ok(());
    }
    members.extend(others(process.pid));
    for member in &members {
        signal(member, Signal::KILL)?;
    }
    if wait_all(&members, Instant::now() + KILL_WAIT) {
        return Ok(());
    }
    Err(DriverError::unavailable("the program does not end").for_operator(format!(
        "process {} or another of its session is still there {} s after SIGKILL",
        process.pid,
        KILL_WAIT.as_secs()
    )))
}

fn others(session: i32) -> Vec<OwnedFd> {
    let leader = Pid::from_raw(session);
    let members = session_members(session).into_iter().filter(|pid| Some(*pid) != leader);
    members.filter_map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()).collect()
}

/// Waits until all have ended; false when the time is over first.
fn wait_all(members: &[OwnedFd], deadline: Instant) -> bool {
    members.iter().all(|member| {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(time) = Timespec::try_from(left) else { return false };
            // A pidfd becomes readable when its process has ended (pidfd_open(2)).
            match rustix::event::poll(&mut [PollFd::new(member, PollFlags::IN)], Some(&time)) {
                Ok(0) if left.is_zero() => return false,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    })
}
