//! Limits bind.

use std::{
    fs::File,
    io,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::{Confinement, prepare, run};
use crate::config::Limits;
use std::os::unix::process::ExitStatusExt;

/// The user that limits of processes bind: not root.
pub(super) fn plain_user() -> Option<String> {
    rustix::process::geteuid().is_root().then(|| "nobody".to_owned())
}

pub(super) fn open_files(limit: &Json) {
    let limit = usize::try_from(limit.as_u64().unwrap()).unwrap();
    let mut open = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
        assert!(open.len() <= limit);
    };
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    assert!(open.len() > limit / 2, "{}", open.len());
}

#[test]
fn files_are_limited_for_good() {
    let limits = Limits { files: Some(40), ..Limits::default() };
    run(&prepare(&Confinement { limits, ..Confinement::default() }), "open_files", &json!(40)).assert_success();
}

/// Starts threads until one is refused; the number of all must not exceed the argument.
pub(super) fn start_threads(limit: &Json) {
    let mut waiting = Vec::new();
    let error = loop {
        let (stop, stopped) = mpsc::channel::<()>();
        match thread::Builder::new().stack_size(64 << 10).spawn(move || stopped.recv()) {
            Ok(_) => waiting.push(stop),
            Err(error) => break error,
        }
        assert!(waiting.len() < 200, "nothing refuses threads");
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(!waiting.is_empty());
    assert!(waiting.len() as u64 <= limit.as_u64().unwrap(), "{} threads", waiting.len());
}

#[test]
fn processes_of_a_plain_user_are_limited() {
    let limits = Limits { processes: Some(12), ..Limits::default() };
    let prepared = prepare(&Confinement { limits, user: plain_user(), ..Confinement::default() });
    assert_eq!(prepared.shortfalls(), [""; 0]);
    // Others of the same user may have come and gone meanwhile.
    run(&prepared, "start_threads", &json!(60)).assert_success();
}

#[test]
fn what_others_of_the_user_run_does_not_count() {
    // They hold more than the limit already.
    let mut others: Vec<_> = (0..20).map(|_| waiting_as_plain_user()).collect();
    let limits = Limits { processes: Some(12), ..Limits::default() };
    let prepared = prepare(&Confinement { limits, user: plain_user(), ..Confinement::default() });
    let ended = run(&prepared, "start_threads", &json!(60));
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    ended.assert_success();
}

fn waiting_as_plain_user() -> std::process::Child {
    let mut command = Command::new("/bin/sleep");
    command.arg("60").stdin(Stdio::null());
    if let Some(user) = plain_user() {
        let user = nix::unistd::User::from_name(&user).unwrap().unwrap();
        std::os::unix::process::CommandExt::uid(&mut command, user.uid.as_raw());
    }
    command.spawn().unwrap()
}

#[test]
fn root_is_told_that_processes_do_not_bind_it() {
    let limits = Limits { processes: Some(12), ..Limits::default() };
    let prepared = prepare(&Confinement { limits, user: None, ..Confinement::default() });
    let expected = "limits.processes does not bind root: set `user`, or let the daemon make control groups (Delegate= in its unit)";
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(prepared.shortfalls(), if is_root { vec![expected] } else { Vec::new() });
}

pub(super) fn take_memory(_: &Json) {
    let reserve = |bytes: usize| Vec::<u8>::new().try_reserve_exact(bytes);
    reserve(32 << 20).unwrap();
    reserve(128 << 20).unwrap_err();
}

#[test]
fn memory_of_a_process_is_limited() {
    let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    let prepared = prepare(&Confinement { limits, ..Confinement::default() });
    assert_eq!(prepared.shortfalls().len(), 1);
    assert!(
        prepared.shortfalls()[0].starts_with("limits.memory holds for each process"),
        "{:?}",
        prepared.shortfalls()
    );
    run(&prepared, "take_memory", &Json::Null).assert_success();
}

#[test]
fn more_files_than_the_daemon_may_have_itself_are_reported() {
    let limits = Limits { files: Some(1 << 40), ..Limits::default() };
    let prepared = prepare(&Confinement { limits, ..Confinement::default() });
    assert!(prepared.shortfalls()[0].starts_with("limits.files = 1099511627776 is more than the "));
}

#[test]
fn a_crash_leaves_no_image_behind() {
    let ended = run(&prepare(&Confinement::default()), "abort", &Json::Null);
    assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()), "{}", ended.text);
    assert!(!ended.status.core_dumped());
}
