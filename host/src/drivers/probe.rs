//! The first load of a file happens in a throw-away child: what crashes there does not crash here.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, Resource, Rlimit, Signal},
};
use serde::{Deserialize, Serialize};

use super::{
    Settings, elf,
    error::{Failure, Stage, one_line},
    libc_version, loader,
    store::{self, Store},
};

/// Longest answer of a child.
const LONGEST_ANSWER: usize = 64 << 10;

/// What the child prints, on one line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Loaded,
    Refused { found: String, expected: String, remedy: String },
}

/// What a kept outcome depends on besides the file.
#[derive(PartialEq, Serialize, Deserialize)]
struct Record {
    host: String,
    libc: String,
}

impl Record {
    fn of_this_host() -> Self {
        Self {
            host: env!("CARGO_PKG_VERSION").to_owned(),
            libc: libc_version::of_host().map_or_else(|| "other".to_owned(), |version| version.to_string()),
        }
    }
}

/// Loads the copy in a child unless it has been done before with this host.
pub(super) fn probe(settings: &Settings, store: &Store, sha256: &str, copy: &Path) -> Result<(), Failure> {
    let record_path = store.probe_record(sha256);
    let record = Record::of_this_host();
    let kept = std::fs::read(&record_path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    if kept.as_ref() == Some(&record) {
        return Ok(());
    }
    run(&settings.probe_executable, copy, settings.probe_timeout)?;
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    if let Err(error) = store::replace(&record_path, &bytes, 0o600) {
        tracing::warn!(path = %record_path.display(), %error, "the probe's outcome cannot be kept; it will run again");
    }
    Ok(())
}

fn refuse(found: impl Into<String>, remedy: impl Into<String>) -> Failure {
    Failure::new(Stage::Probe, found, "a library that loads and shows its manifest", remedy)
}

fn run(executable: &Path, copy: &Path, timeout: Duration) -> Result<(), Failure> {
    let child = Command::new(executable)
        .arg("__probe-driver")
        .arg(copy)
        .arg(std::process::id().to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| {
            refuse(format!("that {} cannot be run ({error})", executable.display()), "check limits and the binary")
        })?;
    let mut child = Group(child);
    let answer = child.answer(Instant::now() + timeout);
    match answer {
        Ok(Some(Outcome::Loaded)) => Ok(()),
        Ok(Some(Outcome::Refused { found, expected, remedy })) => {
            Err(Failure::new(Stage::Probe, one_line(&found), one_line(&expected), one_line(&remedy)))
        }
        Ok(None) => {
            let end = child.0.wait().map_or_else(|error| error.to_string(), end_of);
            Err(refuse(format!("that it {end} while being probed"), "ask the driver's vendor; the file was not loaded"))
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(refuse(
            format!("that it did not load within {} s", timeout.as_secs_f32()),
            "ask the driver's vendor what its constructors wait for",
        )),
        Err(error) => {
            Err(refuse(format!("an answer of the child that cannot be read ({error})"), "see the daemon's log"))
        }
    }
}

fn end_of(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("died by {}", signal_name(signal)),
        (None, Some(code)) => format!("ended the process with code {code}"),
        (None, None) => status.to_string(),
    }
}

/// Name of a signal that ends a process by its own fault.
pub(super) fn signal_name(number: i32) -> String {
    let known = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ILL, "SIGILL"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::SYS, "SIGSYS"),
        (Signal::TERM, "SIGTERM"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::XCPU, "SIGXCPU"),
    ];
    known
        .iter()
        .find(|(signal, _)| signal.as_raw() == number)
        .map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

/// A child and all that it started; killed when dropped.
struct Group(Child);

impl Group {
    /// The line that the child prints; none when it ends without one.
    fn answer(&mut self, deadline: Instant) -> io::Result<Option<Outcome>> {
        let Some(mut output) = self.0.stdout.take() else { return Ok(None) };
        let mut line = Vec::new();
        let mut chunk = [0_u8; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let time = Timespec::try_from(left).map_err(io::Error::other)?;
            match rustix::event::poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&time)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let count = output.read(&mut chunk)?;
            line.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if count == 0 {
                return Ok(None);
            }
            if line.len() > LONGEST_ANSWER {
                return Err(io::Error::other("it does not end"));
            }
            if line.ends_with(b"\n") {
                return Ok(Some(serde_json::from_slice(&line)?));
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // The child leads the group and has not been reaped by us unless it ended by itself; its number is not reused
            // while a member of the group lives.
            let _gone_is_fine = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let _gone_is_fine = self.0.wait();
    }
}

/// The child's side: loads `path`, compares manifests and prints the outcome as one line of JSON. The binary runs this as
/// `capstan __probe-driver PATH DAEMON` and does nothing else in that process, whose standard output belongs to this function.
/// `daemon` is the process that wants to know; without it nothing is loaded.
pub fn probe_main(path: &Path, daemon: u32) -> ExitCode {
    // The library's constructors may write to standard output; the answer goes where they cannot reach it.
    let answer = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 64).map(File::from);
    let null = File::options().write(true).open("/dev/null");
    let (Ok(mut answer), Ok(null)) = (answer, null) else { return ExitCode::from(70) };
    if rustix::stdio::dup2_stdout(&null).is_err() || confine().is_err() {
        return ExitCode::from(70);
    }
    // It may have ended before its death would have been a signal to us.
    if rustix::process::getppid() != i32::try_from(daemon).ok().and_then(Pid::from_raw) {
        return ExitCode::from(70);
    }
    let outcome = match examine(path) {
        Ok(()) => Outcome::Loaded,
        Err(Failure { found, expected, remedy, .. }) => Outcome::Refused { found, expected, remedy },
    };
    let mut line = serde_json::to_vec(&outcome).unwrap_or_default();
    line.push(b'\n');
    match answer.write_all(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(70),
    }
}

fn confine() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, 256), (Resource::Cpu, 20)] {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn examine(path: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(path).map_err(|error| refuse(format!("no copy ({error})"), "see the daemon's log"))?;
    let facts = elf::read(&bytes).map_err(|fault| refuse(fault.to_string(), "copy the file again"))?;
    let loaded = loader::load(path)?;
    if facts.manifest.as_deref() != Some(&loaded.manifest) {
        return Err(Failure::new(
            Stage::Probe,
            "a manifest from `describe` that differs from the one in the file",
            "the same bytes in both",
            "ask the driver's vendor: the manifest lies",
        ));
    }
    Ok(())
}
