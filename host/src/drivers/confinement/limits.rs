//! Limits of a single process (getrlimit(2)). Memory and processes are better limited by a control group.

use std::fs;

use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, Uid},
    thread::CapabilitySet,
};

use super::account::{self, Account};
use crate::config::Limits;

/// What these limits will not do for a process of `account`, or of this process's own.
pub(super) fn shortfalls(limits: &Limits, account: Option<&Account>) -> Vec<String> {
    let mut found = Vec::new();
    if limits.memory.is_some() {
        found.push(
            "limits.memory holds for each process of the driver by itself and leaves out memory that it shares: \
             without a control group the kernel can do no more"
                .to_owned(),
        );
    }
    if let Some(wanted) = limits.files
        && let Some(most) = rustix::process::getrlimit(Resource::Nofile).maximum
        && most < wanted
    {
        found.push(format!(
            "limits.files = {wanted} is more than the {most} that the daemon may have itself: the driver gets {most}; \
             raise LimitNOFILE in the daemon's unit"
        ));
    }
    if limits.processes.is_some() && !processes_bind(account) {
        found.push(
            "limits.processes does not bind root: set `user`, or let the daemon make control groups (Delegate= in its unit)"
                .to_owned(),
        );
    }
    found
}

/// The kernel exempts root and these capabilities from RLIMIT_NPROC; a change of user drops them.
fn processes_bind(account: Option<&Account>) -> bool {
    let uid = account.map_or_else(rustix::process::getuid, Account::uid);
    let exempt = || account::has(CapabilitySet::SYS_RESOURCE) || account::has(CapabilitySet::SYS_ADMIN);
    !uid.is_root() && (account.is_some() || !exempt())
}

/// No image of the process is written when it crashes: it may hold secrets. The limit is not asked where the kernel pipes
/// images to a program, so the process is marked as well; that also keeps others of its user from reading its memory.
pub(super) fn forbid_core_dumps() -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)
        .and_then(|()| rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(|error| format!("core dumps cannot be switched off ({error})"))
}

/// Sets the limits for this process, which is about to become `account`'s.
pub(super) fn apply(limits: &Limits, account: Option<&Account>) -> Result<(), String> {
    if let Some(memory) = limits.memory {
        // Private writable memory. RLIMIT_AS would count what is reserved as well, and allocators and run-time systems reserve
        // many times what they use: glibc 64 MiB for a thread.
        lower(Resource::Data, "limits.memory", memory)?;
    }
    if let Some(processes) = limits.processes.filter(|_| processes_bind(account)) {
        // The kernel counts all that the user has, this driver's or not.
        let others = tasks_of(account.map_or_else(rustix::process::getuid, Account::uid));
        lower(Resource::Nproc, "limits.processes", others.saturating_add(processes))?;
    }
    if let Some(files) = limits.files {
        lower(Resource::Nofile, "limits.files", files)?;
    }
    Ok(())
}

/// Lowers soft and hard limit to `wanted`; a hard limit that is lower already stays.
fn lower(resource: Resource, key: &str, wanted: u64) -> Result<(), String> {
    let hard = rustix::process::getrlimit(resource).maximum;
    let limit = Some(hard.map_or(wanted, |hard| hard.min(wanted)));
    rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })
        .map_err(|error| format!("{key} = {wanted} cannot be set ({error})"))
}

/// How many processes and threads this user has besides this process: fields `Uid` and `Threads` of `/proc/PID/status`.
fn tasks_of(uid: Uid) -> u64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let own = rustix::process::getpid().as_raw_nonzero().get().to_string();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
        .filter_map(|pid| threads_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, uid))
        .sum()
}

fn threads_of(status: &str, uid: Uid) -> Option<u64> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line?.split_whitespace().next()?.parse::<u64>().ok()
    };
    (field("Uid")? == u64::from(uid.as_raw())).then(|| field("Threads")).flatten()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn threads_count_for_the_real_user() {
        let status = "Name:\tUid:\nPid:\t7\nUid:\t1000\t0\t0\t0\nGid:\t0\nThreads:\t12\n";
        assert_eq!(threads_of(status, Uid::from_raw(1000)), Some(12));
        assert_eq!(threads_of(status, Uid::ROOT), None);
        assert_eq!(threads_of("Uid:\t1000\n", Uid::from_raw(1000)), None, "it is ending");
    }
}
