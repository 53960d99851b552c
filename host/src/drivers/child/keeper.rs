//! Two processes of one: the keeper watches the other and leaves nothing of it behind.
//!
//! The keeper adopts what the driver's own children leave (`PR_SET_CHILD_SUBREAPER`), so that even what made itself a session
//! is found. It ends everything when the driver has ended, and when the lifeline closes: the daemon lets go of it, or is
//! gone. Then it ends in the way in which the driver did, so that the daemon sees code or signal as if it had none.
#![allow(unsafe_code)]
#![allow(clippy::exit, reason = "the keeper's whole work is to end as the driver did; nothing of it is to be run down")]

use std::{
    io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd},
    process::exit,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    io::FdFlags,
    process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus},
};

/// How long the keeper tries to end what is left; only what the kernel cannot kill takes longer than a moment.
const CLEARING: Duration = Duration::from_secs(5);

/// Splits the process, which must have one thread. The keeper never returns; the other one alone has the frames from then on:
/// that it closes them is to be seen.
pub(super) fn split(lifeline: OwnedFd, frames: OwnedFd) -> io::Result<OwnedFd> {
    // A crash leaves no image behind that may hold secrets.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let keeper = rustix::process::getpid();
    // SAFETY: this process has one thread, so no lock is held by another that the copy would miss.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(lifeline);
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid() != Some(keeper) {
                return Err(io::Error::other("the keeper is gone"));
            }
            // A group of its own, which the keeper can end at one stroke and is not part of.
            rustix::process::setpgid(None, None)?;
            Ok(frames)
        }
        child => {
            drop(frames);
            match Pid::from_raw(child) {
                Some(driver) => keep(driver, &lifeline),
                None => exit(70),
            }
        }
    }
}

fn keep(driver: Pid, lifeline: &OwnedFd) -> ! {
    release_streams();
    let ended = watch(driver, lifeline);
    // Whoever outlives the driver is not to learn of it by our death signal only.
    let status = ended.or_else(|| clear(driver, true));
    clear(driver, false);
    match status {
        Some(status) => end_like(status),
        // The lifeline closed: nobody looks at how we end.
        None => exit(0),
    }
}

/// The keeper does not hold the log, which ends with the driver.
fn release_streams() {
    let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") else { exit(70) };
    let moved = rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null));
    if moved.is_err() {
        exit(70);
    }
}

/// Waits for the driver's end, which is answered, or for the lifeline's. What the driver leaves to us meanwhile is reaped as
/// it ends, or a driver that starts a program for each call would fill the process table.
fn watch(driver: Pid, lifeline: &OwnedFd) -> Option<WaitStatus> {
    // Without it there is no way to wait for both.
    let endings = endings().ok()?;
    loop {
        if let Some(status) = reap(driver) {
            return Some(status);
        }
        let mut files = [PollFd::new(&endings, PollFlags::IN), PollFd::new(lifeline, PollFlags::IN)];
        match rustix::event::poll(&mut files, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
            Ok(_) => {}
        }
        if !files[1].revents().is_empty() {
            return reap(driver);
        }
        let mut told = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let _signals_of_one_kind_are_one = rustix::io::read(&endings, &mut told);
    }
}

/// A file that can be read whenever a child has ended (signalfd(2)).
fn endings() -> io::Result<OwnedFd> {
    // SAFETY: the set is made before it is read, and the descriptor is ours alone.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        libc::sigaddset(&mut signals, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            number => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}

/// Reaps whoever has ended; answers how the driver did when it is among them.
fn reap(driver: Pid) -> Option<WaitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == driver => return Some(status),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Kills and reaps until nothing is left below us; answers how the driver ended when it is among them. With `with_driver`
/// its group is killed first, at one stroke: whoever forks meanwhile is hit too.
fn clear(driver: Pid, with_driver: bool) -> Option<WaitStatus> {
    let until = Instant::now() + CLEARING;
    let mut found = None;
    let _gone_is_fine = rustix::process::kill_process_group(driver, Signal::KILL);
    if with_driver {
        let _gone_is_fine = rustix::process::kill_process(driver, Signal::KILL);
    }
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if pid == driver {
                    found = Some(status);
                }
                continue;
            }
            // Nobody is left.
            Err(rustix::io::Errno::CHILD) => return found,
            Ok(None) | Err(_) => {}
        }
        if Instant::now() >= until {
            return found;
        }
        for child in children() {
            let _gone_is_fine = rustix::process::kill_process(child, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Processes whose parent is this one: field 4 of `/proc/PID/stat` (proc_pid_stat(5)).
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let parent_of = |pid: i32| -> Option<i32> {
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        line.get(line.rfind(')')? + 1..)?.split_whitespace().nth(1)?.parse().ok()
    };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| parent_of(*pid) == Some(own))
        .filter_map(Pid::from_raw)
        .collect()
}

/// Ends this process with the same code or by the same signal.
fn end_like(status: WaitStatus) -> ! {
    if let Some(number) = status.terminating_signal()
        && let Some(signal) = Signal::from_named_raw(number)
    {
        // SAFETY: puts the default action back; no handler of ours is lost, for there is none.
        unsafe { libc::signal(number, libc::SIG_DFL) };
        let _we_are_gone = rustix::process::kill_process(rustix::process::getpid(), signal);
        // A signal whose default action is not to end.
        exit(128 + number);
    }
    exit(status.exit_status().unwrap_or(70))
}

/// Makes `file` descriptor `number`, open across `exec`.
pub(super) fn place(file: BorrowedFd<'_>, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: only used as the target of dup2, which closes what is there: nothing of ours is below 64 but the standard streams.
    let mut target = unsafe { OwnedFd::from_raw_fd(number) };
    match rustix::io::dup2(file, &mut target) {
        Ok(()) => {
            rustix::io::fcntl_setfd(&target, FdFlags::empty())?;
            Ok(target)
        }
        Err(error) => {
            // It was never open.
            std::mem::forget(target);
            Err(error.into())
        }
    }
}
