//! Confined processes for real: the test's executable is run again, forks while it has one thread to spare, and the forked
//! process applies what it was given before it tries what it should not be able to do.
#![allow(unsafe_code)]

mod account;
mod descriptors;
mod groups;
mod limits;
mod sandbox;

use std::{
    os::unix::process::ExitStatusExt,
    panic::{self, AssertUnwindSafe},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use rustix::process::{Resource, Rlimit, Signal};
use serde_json::Value as Json;

use super::{Confinement, Prepared};

/// What a confined process tries; a panic is its failure. Takes whatever the test hands it.
type Attempt = fn(&Json);

/// By name, as it goes through the environment.
const ATTEMPTS: &[(&str, Attempt)] = &[
    ("abort", |_| std::process::abort()),
    ("be_nobody", account::be_nobody),
    ("become_root", account::become_root),
    ("close_descriptors", descriptors::close_descriptors),
    ("connect", sandbox::connect),
    ("execute", sandbox::execute),
    ("hand_down_own_group", groups::hand_down_own_group),
    ("hold_grandchild", groups::hold_grandchild),
    ("open_files", limits::open_files),
    ("reach_files", sandbox::reach_files),
    ("signal_parent", sandbox::signal_parent),
    ("start_threads", limits::start_threads),
    ("take_memory", limits::take_memory),
    ("touch_memory", groups::touch_memory),
];

/// Ends a process that hangs; no attempt takes a second.
const SECONDS: u32 = 30;

const REFUSED: i32 = 99;
const FAILED: i32 = 101;

/// How a confined process ended, and what it printed.
struct Ended {
    status: ExitStatus,
    text: String,
}

impl Ended {
    fn assert_success(&self) {
        assert!(self.status.success(), "{}: {}", self.status, self.text);
    }

    /// `apply` refused with this.
    fn assert_refused(&self, with: &str) {
        assert_eq!(self.status.code(), Some(REFUSED), "{}", self.text);
        assert!(self.text.contains(with), "{}", self.text);
    }
}

fn prepare(confinement: &Confinement) -> Prepared {
    confinement.prepare().unwrap()
}

/// The command that runs `attempt` in a process confined by `prepared`.
fn command(prepared: &Prepared, attempt: &str, argument: &Json, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg("drivers::confinement::tests::confined_process")
        .env("CAPSTAN_TEST_PREPARED", serde_json::to_string(prepared).unwrap())
        .env("CAPSTAN_TEST_ATTEMPT", attempt)
        .env("CAPSTAN_TEST_ARGUMENT", argument.to_string())
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

fn run(prepared: &Prepared, attempt: &str, argument: &Json) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let output = command(prepared, attempt, argument, folder.path()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The confined process's own status, which the one between passes on as a line.
    let line = text.lines().find_map(|line| line.strip_prefix("confined process ended with "));
    let status = line.and_then(|status| status.parse().ok()).map(ExitStatus::from_raw);
    Ended { status: status.unwrap_or_else(|| panic!("{}: {text}", output.status)), text }
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn confined_process() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let prepared: Prepared = serde_json::from_str(&variable("CAPSTAN_TEST_PREPARED")).unwrap();
    let name = variable("CAPSTAN_TEST_ATTEMPT");
    let attempt = ATTEMPTS.iter().find(|(known, _)| *known == name).unwrap().1;
    let argument = serde_json::from_str(&variable("CAPSTAN_TEST_ARGUMENT")).unwrap();
    // What would be written if nothing forbade it.
    let most = rustix::process::getrlimit(Resource::Core).maximum;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).unwrap();
    // SAFETY: the other thread of this process waits for this one and holds no lock.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: sets a timer whose signal ends the process.
            unsafe { libc::alarm(SECONDS) };
            let code = panic::catch_unwind(AssertUnwindSafe(|| confined(&prepared, attempt, &argument)));
            // SAFETY: ends this process without running what its parent has registered.
            unsafe { libc::_exit(code.unwrap_or(FAILED)) };
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is ours and outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            println!("\nconfined process ended with {status}");
        }
    }
}

fn confined(prepared: &Prepared, attempt: Attempt, argument: &Json) -> i32 {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    if let Err(error) = prepared.apply() {
        eprintln!("refused: {error}");
        return REFUSED;
    }
    attempt(argument);
    0
}

#[test]
fn a_process_with_several_threads_is_not_confined_in_part() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || stopped.recv());
    let error = prepare(&Confinement::default()).apply().unwrap_err();
    assert!(error.starts_with("a process with "), "{error}");
    drop(stop);
    other.join().unwrap().unwrap_err();
}
