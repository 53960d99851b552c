//! The processes of a node, wherever they have gone.
//!
//! A node's worker has its daemon start HAProxy in a session of its own, with an environment of its own, and such a process stays when
//! the worker ends. So neither parent, group, session nor environment tells whose it is. A resource limit does: it is handed
//! down to every child through fork(2) and execve(2), nobody resets it, and others can read it (getrlimit(2), proc_pid_limits(5)).
//! `RLIMIT_RTTIME` is of use to real-time programs only and counts microseconds, so a number that means 140,000 years changes nothing,
//! and has room for the node's id.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Resource, Rlimit, Signal},
};

/// Above any real limit.
const BASE: u64 = 1 << 62;
/// From one look at what still runs to the next.
const PAUSE: Duration = Duration::from_millis(5);

/// What the processes of one node have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// Of the node with this number, which has 40 bits.
    pub fn of(number: u64) -> Self {
        Self(BASE | number)
    }

    /// Marks this process and all that it will start.
    pub fn take(self) -> io::Result<()> {
        let mark = Rlimit { current: Some(self.0), maximum: Some(self.0) };
        rustix::process::setrlimit(Resource::Rttime, mark).map_err(|error| {
            io::Error::other(format!("the node's processes cannot be marked (RLIMIT_RTTIME): {error}"))
        })
    }

    /// The marked processes that run, this one aside.
    pub fn processes(self) -> Vec<OwnedFd> {
        let own = rustix::process::getpid();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers
            .filter_map(Pid::from_raw)
            .filter(|pid| *pid != own && self.is_on(*pid))
            // Once the descriptor holds the process, is it still the one that was looked at?
            .filter_map(|pid| Some((pid, rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?)))
            .filter(|(pid, _)| self.is_on(*pid))
            .map(|(_, pidfd)| pidfd)
            .collect()
    }

    /// A zombie has ended and is its parent's affair.
    fn is_on(self, pid: Pid) -> bool {
        let number = pid.as_raw_nonzero();
        let Ok(limits) = fs::read_to_string(format!("/proc/{number}/limits")) else { return false };
        if mark_in(&limits) != Some(self.0) {
            return false;
        }
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
    }

    /// Asks all of them to end, kills those that do not within `grace`, and returns once there is none. This process aside.
    pub fn end_all(self, grace: Duration) -> io::Result<()> {
        let until = Instant::now() + grace;
        let mut asked = Vec::new();
        while Instant::now() < until {
            let running = self.processes();
            if running.is_empty() {
                return Ok(());
            }
            if running.len() != asked.len() {
                send(&running, Signal::TERM);
                asked = running;
            }
            reap();
            thread::sleep(PAUSE);
        }
        self.kill_all()
    }

    /// Kills all of them and returns once there is none: what forks meanwhile is found the next time.
    pub fn kill_all(self) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let running = self.processes();
            if running.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("{} processes do not end after SIGKILL", running.len())));
            }
            send(&running, Signal::KILL);
            reap();
            thread::sleep(PAUSE);
        }
    }
}

fn send(processes: &[OwnedFd], signal: Signal) {
    for process in processes {
        let _gone_is_fine = rustix::process::pidfd_send_signal(process, signal);
    }
}

fn mark_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Takes note of all that has ended below this process.
pub(super) fn reap() -> Vec<(Pid, rustix::process::WaitStatus)> {
    let mut ended = Vec::new();
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(one)) => ended.push(one),
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return ended,
        }
    }
}

/// How many processes there are below this one, which adopts what its children leave.
pub(super) fn count_below(pid: i32) -> u64 {
    // The kernel lists a child at the thread that made it.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<i32> =
        lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    children.into_iter().map(|child| 1 + count_below(child)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_from_the_kernels_table() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max realtime priority     0                    0                    \n\
                      Max realtime timeout      4611686018427387905  4611686018427387905  us        \n";
        assert_eq!(mark_in(limits), Some(Mark::of(1).0));
        assert_eq!(mark_in("Max realtime timeout      unlimited            unlimited            us"), None);
    }
}
