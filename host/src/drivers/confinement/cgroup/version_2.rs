//! Where groups can be made in the tree of version 2.

use std::{fs, io, path::Path, path::PathBuf};

use super::files;
use crate::{
    config::Limits,
    drivers::settings::{systemd_is_init, systemd_run},
};

/// The leaf that the daemon itself lives in. The unit names it as well (`DelegateSubgroup=`).
const OWN_LEAF: &str = "capstan-daemon";

/// The group below which drivers' groups are made, with the controllers for `limits` handed down. `own` is the group that this
/// process is in; it is moved into a leaf if need be.
pub(super) fn parent(own: &Path, limits: &Limits) -> Result<PathBuf, String> {
    let parent = match own.parent() {
        Some(parent) if own.ends_with(OWN_LEAF) => parent,
        _ => own,
    };
    if systemd_is_init() {
        may_use(parent)?;
    }
    let wanted = [("memory", limits.memory.is_some()), ("pids", limits.processes.is_some())];
    let wanted: Vec<&str> = wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
    hand_down(parent, &wanted)?;
    Ok(parent.to_owned())
}

/// systemd alone arranges the tree but for what it has delegated.
fn may_use(parent: &Path) -> Result<(), String> {
    // user. is readable by all, and written by systemd since 251; trusted. is older.
    let is_delegated = ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(parent, name, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
    });
    if !is_delegated {
        return Err(format!(
            "systemd has not delegated the control group {}; write Delegate=memory pids into the daemon's unit",
            parent.display()
        ));
    }
    if systemd_run().is_none() {
        // systemd cannot start a unit again in whose group controllers are handed down and processes are left (status 219).
        return Err(
            "programs that drivers start would stay in the daemon's control group and keep systemd from starting it \
                    again after a crash; run the daemon as root, with systemd-run installed"
                .to_owned(),
        );
    }
    Ok(())
}

/// Has the groups below `parent` get these controllers.
pub(in crate::drivers::confinement) fn hand_down(parent: &Path, wanted: &[&str]) -> Result<(), String> {
    let there = files::words(parent, "cgroup.controllers");
    if let Some(lacking) = wanted.iter().find(|wanted| !there.iter().any(|name| name == *wanted)) {
        return Err(format!("the control group {} has no controller for {lacking}", parent.display()));
    }
    let handed_down = files::words(parent, "cgroup.subtree_control");
    let missing: Vec<String> = wanted
        .iter()
        .filter(|wanted| !handed_down.iter().any(|name| name == *wanted))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    match files::write(parent, "cgroup.subtree_control", &missing) {
        // A group that has members hands nothing down.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            move_into_leaf(parent)?;
            files::set(parent, "cgroup.subtree_control", &missing)
        }
        Err(error) => Err(format!("the control group {} hands no controllers down ({error})", parent.display())),
        Ok(()) => Ok(()),
    }
}

/// Moves this process into a leaf, and under systemd what else is in the group: it is all the unit's own.
fn move_into_leaf(parent: &Path) -> Result<(), String> {
    let leaf = parent.join(OWN_LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(format!("no control group can be made in {} ({error})", parent.display()));
        }
        _ => {}
    }
    let members = if systemd_is_init() { files::processes(parent).unwrap_or_default() } else { vec![0] };
    for member in members {
        match files::write(&leaf, "cgroup.procs", &member.to_string()) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            moved => moved.map_err(|error| format!("{} takes no members ({error})", leaf.display()))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder stands for a group: this is about what is written, and not every machine that runs tests has version 2.
    #[test]
    fn only_what_is_missing_is_handed_down() {
        let group = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
        let handed_down = || fs::read_to_string(group.path().join("cgroup.subtree_control")).unwrap();
        file("cgroup.controllers", "cpu io memory pids\n");
        file("cgroup.subtree_control", "");
        hand_down(group.path(), &["memory", "pids"]).unwrap();
        assert_eq!(handed_down(), "+memory +pids");
        file("cgroup.subtree_control", "pids cpu\n");
        hand_down(group.path(), &["pids"]).unwrap();
        assert_eq!(handed_down(), "pids cpu\n");
        file("cgroup.controllers", "cpu pids\n");
        let error = hand_down(group.path(), &["memory", "pids"]).unwrap_err();
        assert!(error.ends_with(" has no controller for memory"), "{error}");
    }
}
