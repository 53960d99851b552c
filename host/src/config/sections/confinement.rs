//! `limits`, `sandbox` and `user` of a driver: what its process may use, reach and be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Isolation;
use crate::config::{
    Origin,
    read::{Bound, Port, Size, TableReader},
};

/// What a driver's process may use; none stands for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Open files, sockets included.
    pub files: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

/// What a driver's process may reach; everything else is refused to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Files, and folders with all below them, to read and to execute.
    pub read: Vec<PathBuf>,
    /// Files and folders to read and to change.
    pub write: Vec<PathBuf>,
    /// TCP ports to connect to, on any host.
    pub connect: Vec<u16>,
}

/// Files of a driver: the customary soft limit of a process, and as many as `select` can name. A driver with that many leaks.
const FILES: u64 = 1024;

/// Processes of a driver: several times what the threads of any sane `max_concurrency` come to, and a fork bomb that size
/// is a nuisance, not an outage.
const PROCESSES: u64 = 256;

/// What a driver's process needs besides the threads for its calls.
const OWN_THREADS: u64 = 16;

/// A driver's program, its libraries and the stacks of its threads already take this much.
const LEAST_MEMORY: u64 = 16 << 20;

impl Limits {
    /// The defaults. Memory has none: how much a driver needs is known to its vendor only.
    pub(super) fn defaults() -> Self {
        Self { memory: None, files: Some(FILES), processes: Some(PROCESSES) }
    }

    pub(super) fn read(table: &mut TableReader<'_, '_>, defaults: &Self) -> Self {
        let memory = Bound(defaults.memory.map(Size));
        let memory = table.checked("memory", memory, |size| {
            within(size.0.as_ref().map(|size| size.0), LEAST_MEMORY..=u64::MAX >> 1, "a size from \"16MiB\" upwards")
        });
        let files = table.checked("files", Bound(defaults.files), |files| {
            within(files.0, 32..=1 << 20, "a number from 32 to 1048576")
        });
        let processes = table.checked("processes", Bound(defaults.processes), |processes| {
            within(processes.0, OWN_THREADS + 1..=1 << 22, "a number from 17 to 4194304")
        });
        Self { memory: memory.0.map(|size| size.0), files: files.0, processes: processes.0 }
    }

    /// Each call that is out has a thread: a limit below that would show as calls that fail when it is busy.
    pub(super) fn check_threads(&self, calls: usize, table: &mut TableReader<'_, '_>) {
        let needed = OWN_THREADS + calls as u64;
        // What is lower still has been refused already.
        let Some(processes) = self.processes.filter(|processes| (OWN_THREADS + 1..needed).contains(processes)) else {
            return;
        };
        let key = format!("{}.processes", table.key("limits"));
        let calls_key = table.key("max_concurrency");
        let origin = [&key, &calls_key, "drivers.limits.processes", "drivers.max_concurrency"]
            .into_iter()
            .find(|key| table.session.is_stated(key))
            .map(|key| table.session.origin(key));
        table.session.fault(
            origin.unwrap_or(Origin::Default),
            &key,
            &processes.to_string(),
            &format!("at least {needed}, as {calls} calls at one time have a thread each"),
            "raise limits.processes or lower max_concurrency",
        );
    }
}

fn within(value: Option<u64>, range: std::ops::RangeInclusive<u64>, expected: &str) -> Result<(), (String, String)> {
    match value {
        Some(value) if !range.contains(&value) => {
            Err((format!("{expected}, or \"unlimited\""), "correct the limit".to_owned()))
        }
        _ => Ok(()),
    }
}

impl Sandbox {
    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        Self {
            read: table.get("read", Vec::new()),
            write: table.get("write", Vec::new()),
            connect: table.get("connect", Vec::<Port>::new()).into_iter().map(|port| port.0).collect(),
        }
    }
}

/// The user of a driver's process, if not the daemon's own.
pub(super) fn read_user(table: &mut TableReader<'_, '_>, default: Option<String>) -> Option<String> {
    let user = table.get("user", default)?;
    let key = table.key("user");
    // An inherited one is at fault once, where it stands.
    if table.session.is_stated(&key) && !table.session.environment.has_user(&user) {
        table.session.fault_at(
            &key,
            &format!("the unknown user {user:?}"),
            "a user of this machine",
            "create it, as with `useradd --system`, or name another",
        );
    }
    Some(user)
}

/// What cannot be enforced in the daemon's own process is refused there: ignoring it would look as if it held.
pub(super) fn refuse_in_process(isolation: Isolation, stated: &[(&str, bool)], table: &mut TableReader<'_, '_>) {
    if isolation == Isolation::Process {
        return;
    }
    for (name, _) in stated.iter().filter(|(_, is_stated)| *is_stated) {
        let key = table.key(name);
        let origin = table
            .session
            .effective
            .iter()
            .find(|value| value.is_stated() && (value.key == key || value.key.starts_with(&format!("{key}."))));
        let origin = origin.map_or_else(|| table.origin.clone(), |value| value.origin.clone());
        table.session.fault(
            origin,
            &key,
            &format!("{name} of a driver that runs in the daemon, where nothing can enforce it"),
            "isolation = \"process\"",
            &format!("set isolation = \"process\" or remove {name}"),
        );
    }
}
