//! The group of one driver.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::{files, hierarchy::Hierarchy, version_2};
use crate::{
    config::Limits,
    drivers::{process_table::ProcessId, settings::systemd_is_init},
};

/// What the names of all groups of this program begin with.
const PREFIX: &str = "capstan-";

/// How long ending and removing a group is tried; only what the kernel cannot kill takes longer than a moment.
const CLEARING: Duration = Duration::from_secs(2);

/// A group for one child with all that it starts. Dropping it kills what is left in it and removes it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// One folder in version 2, one for each limit in version 1.
    folders: Vec<PathBuf>,
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
}

impl Cgroup {
    /// Makes a group with these limits, which `name` helps people to tell from others. None when neither memory nor processes
    /// are limited, so that no group is needed.
    ///
    /// # Errors
    /// Why this daemon can make none, in one line.
    pub(crate) fn create(name: &str, limits: &Limits) -> Result<Option<Self>, String> {
        if limits.memory.is_none() && limits.processes.is_none() {
            return Ok(None);
        }
        let own = Hierarchy::of_this_process()?;
        let group = if own.memory.is_some() || own.processes.is_some() {
            Self::version_1(&own, name, limits)
        } else if let Some(unified) = own.unified {
            Self::version_2(&version_2::parent(&unified, limits)?, name, limits)
        } else {
            Err("no control groups are mounted".to_owned())
        };
        group.map(Some)
    }

    fn version_1(own: &Hierarchy, name: &str, limits: &Limits) -> Result<Self, String> {
        if systemd_is_init() {
            return Err(
                "systemd keeps the control groups of version 1 to itself; boot with those of version 2".to_owned()
            );
        }
        let mut group = Self { folders: Vec::new(), memory: None, processes: None };
        if let (Some(own), Some(most)) = (&own.memory, limits.memory) {
            let folder = group.add_folder(own, name)?;
            files::set(&folder, "memory.limit_in_bytes", &most.to_string())?;
            // Memory and swap together, where the kernel counts swap.
            if folder.join("memory.memsw.limit_in_bytes").exists() {
                files::set(&folder, "memory.memsw.limit_in_bytes", &most.to_string())?;
            }
            group.memory = Some(folder);
        }
        if let (Some(own), Some(most)) = (&own.processes, limits.processes) {
            let folder = group.add_folder(own, name)?;
            files::set(&folder, "pids.max", &most.to_string())?;
            group.processes = Some(folder);
        }
        if group.folders.is_empty() {
            return Err("no control groups for what is limited are mounted".to_owned());
        }
        Ok(group)
    }

    pub(in crate::drivers::confinement) fn version_2(
        parent: &Path,
        name: &str,
        limits: &Limits,
    ) -> Result<Self, String> {
        let mut group = Self { folders: Vec::new(), memory: None, processes: None };
        let folder = group.add_folder(parent, name)?;
        group.limit_version_2(&folder, limits)?;
        Ok(group)
    }

    fn limit_version_2(&mut self, folder: &Path, limits: &Limits) -> Result<(), String> {
        if let Some(most) = limits.memory {
            files::set(folder, "memory.max", &most.to_string())?;
            if folder.join("memory.swap.max").exists() {
                files::set(folder, "memory.swap.max", "0")?;
            }
            self.memory = Some(folder.to_owned());
        }
        if let Some(most) = limits.processes {
            files::set(folder, "pids.max", &most.to_string())?;
            self.processes = Some(folder.to_owned());
        }
        Ok(())
    }

    /// Makes the folder of a group. Those that daemons which are gone have left empty beside it are removed.
    fn add_folder(&mut self, parent: &Path, name: &str) -> Result<PathBuf, String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let own = ProcessId::of(rustix::process::getpid().as_raw_nonzero().get());
        let own = own.ok_or("this process does not find itself in /proc")?;
        remove_left(parent);
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
        let folder = parent.join(format!("{PREFIX}{}-{}-{number}-{name}", own.pid, own.start_time));
        fs::create_dir(&folder)
            .map_err(|error| format!("no control group can be made in {} ({error})", parent.display()))?;
        self.folders.push(folder.clone());
        Ok(folder)
    }

    /// It limits memory.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// It limits processes.
    pub(crate) fn limits_processes(&self) -> bool {
        self.processes.is_some()
    }

    /// Where a process writes its number to become a member.
    pub(in crate::drivers::confinement) fn membership_files(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// Makes a process a member. What it has started before stays outside; a child that applies a
    /// [`super::super::Prepared::within`] joins by itself and leaves no such gap.
    #[cfg(test)]
    pub(crate) fn add(&self, pid: i32) -> Result<(), String> {
        self.folders.iter().try_for_each(|folder| files::set(folder, "cgroup.procs", &pid.to_string()))
    }

    /// How many members the kernel has killed since because the group was out of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let count = |folder: &PathBuf| {
            files::figure(folder, "memory.events", "oom_kill")
                .or_else(|| files::figure(folder, "memory.oom_control", "oom_kill"))
        };
        self.memory.as_ref().and_then(count).unwrap_or(0)
    }

    /// How many times a member was refused a process or a thread because the group had its fill.
    pub(crate) fn refused_processes(&self) -> u64 {
        self.processes.as_ref().and_then(|folder| files::figure(folder, "pids.events", "max")).unwrap_or(0)
    }

    /// Kills every member, whatever session or process group it is in.
    pub(crate) fn kill(&self) {
        for folder in &self.folders {
            // Linux 5.14 brought this for version 2; it hits what is being forked, too.
            if files::write(folder, "cgroup.kill", "1").is_err() {
                kill_one_by_one(folder);
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let until = Instant::now() + CLEARING;
        for folder in &self.folders {
            // A group goes when the last of its members is gone, which takes the kernel a moment after their death.
            while let Err(error) = fs::remove_dir(folder) {
                if error.kind() == io::ErrorKind::NotFound {
                    break;
                }
                if Instant::now() >= until {
                    tracing::warn!(path = %folder.display(), %error, "a driver's control group cannot be removed");
                    break;
                }
                self.kill();
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Makes this process a member of the groups that these `cgroup.procs` files belong to.
pub(in crate::drivers::confinement) fn join(membership_files: &[PathBuf]) -> Result<(), String> {
    for path in membership_files {
        // 0 stands for whoever writes it.
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| io::Write::write_all(&mut file, b"0"))
            .map_err(|error| format!("this process cannot join the control group of {} ({error})", path.display()))?;
    }
    Ok(())
}

/// Members that fork faster than they are killed are kept from forking first, where that can be limited.
fn kill_one_by_one(folder: &Path) {
    let _not_in_this_tree = files::write(folder, "pids.max", "0");
    let until = Instant::now() + CLEARING;
    while Instant::now() < until {
        let members = files::processes(folder).unwrap_or_default();
        if members.is_empty() {
            return;
        }
        let held: Vec<_> = members
            .into_iter()
            .filter_map(|pid| Some((pid, rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            .collect();
        // Whoever is listed still is the one whom the descriptor holds: a number is not given anew while it is in use.
        let listed = files::processes(folder).unwrap_or_default();
        for (_, pidfd) in held.iter().filter(|(pid, _)| listed.contains(pid)) {
            let _gone_is_fine = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Removes the groups of daemons that were killed, whose children have ended since.
fn remove_left(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_left =
            entry.file_name().to_str().and_then(maker).is_some_and(|(pid, start_time)| {
                ProcessId::of(pid).is_none_or(|process| process.start_time != start_time)
            });
        if is_left {
            let _still_in_use_or_gone = fs::remove_dir(entry.path());
        }
    }
}

/// Number and start time of the daemon that made the group of this name.
fn maker(name: &str) -> Option<(i32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in `version_2`: a folder stands for a group.
    #[test]
    fn limits_of_version_2() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["memory.max", "memory.swap.max", "pids.max"] {
            fs::write(file(name), "").unwrap();
        }
        fs::write(file("memory.events"), "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        fs::write(file("pids.events"), "max 7\n").unwrap();
        let mut group = Cgroup { folders: Vec::new(), memory: None, processes: None };
        let limits = Limits { memory: Some(1 << 20), files: None, processes: Some(5) };
        group.limit_version_2(folder.path(), &limits).unwrap();
        let read = |name: &str| fs::read_to_string(file(name)).unwrap();
        assert_eq!([read("memory.max"), read("memory.swap.max"), read("pids.max")], ["1048576", "0", "5"]);
        assert!(group.limits_memory() && group.limits_processes());
        assert_eq!((group.oom_kills(), group.refused_processes()), (2, 7));
    }

    #[test]
    fn names_tell_their_maker() {
        assert_eq!(maker("capstan-12-345-0-cloud.acme-2"), Some((12, 345)));
        for other in ["capstan-daemon", "capstan-", "capstan-1", "capstan-1-x-0-a", "other-1-2-3-a"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
