//! Where this process stands in the trees of control groups.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// This process's own groups, as folders.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// In the tree of version 1 that limits memory.
    pub memory: Option<PathBuf>,
    /// In the tree of version 1 that limits processes.
    pub processes: Option<PathBuf>,
    /// In the tree of version 2.
    pub unified: Option<PathBuf>,
}

impl Hierarchy {
    pub fn of_this_process() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path} cannot be read ({error})"));
        Ok(Self::parse(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?))
    }

    /// From lines `NUMBER:CONTROLLERS:PATH`, and the table of mounts (proc_pid_mountinfo(5)).
    fn parse(groups: &str, mounts: &str) -> Self {
        let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
        let mut found = Self::default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let folder = |wanted: &dyn Fn(&Mount<'_>) -> bool| {
                mounts.iter().filter(|mount| wanted(mount)).find_map(|mount| mount.folder(path))
            };
            if controllers.is_empty() {
                found.unified = folder(&|mount| mount.kind == "cgroup2");
            }
            for controller in controllers.split(',') {
                let tree = |mount: &Mount<'_>| mount.kind == "cgroup" && mount.has_option(controller);
                match controller {
                    "memory" => found.memory = folder(&tree),
                    "pids" => found.processes = folder(&tree),
                    _ => {}
                }
            }
        }
        found
    }
}

/// A line of the table of mounts.
struct Mount<'a> {
    /// What of the tree is mounted; in a container often a part of it.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        Some(Self { root: left.next()?, point: left.next()?, kind: right.next()?, options: right.nth(1)? })
    }

    fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }

    /// The folder of a group, if this mount shows it.
    fn folder(&self, group: &str) -> Option<PathBuf> {
        let below = Path::new(group).strip_prefix(self.root).ok()?;
        Some(Path::new(self.point).join(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_alone() {
        let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
                      30 23 0:27 / /proc rw - proc proc rw\n";
        let found = Hierarchy::parse("0::/system.slice/capstan.service\n", mounts);
        let unified = Some("/sys/fs/cgroup/system.slice/capstan.service".into());
        assert_eq!(found, Hierarchy { unified, ..Hierarchy::default() });
    }

    #[test]
    fn version_1_with_joint_controllers_beside_an_empty_version_2() {
        let groups = "9:name=systemd:/\n8:pids:/\n5:cpu,memory:/box/7\n0::/\n";
        let mounts = "35 31 0:32 / /sys/fs/cgroup/cpu,memory rw,relatime - cgroup cgroup rw,cpu,memory\n\
                      39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = Hierarchy::parse(groups, mounts);
        assert_eq!(found.memory, Some("/sys/fs/cgroup/cpu,memory/box/7".into()));
        assert_eq!(found.processes, Some("/sys/fs/cgroup/pids/".into()));
        assert_eq!(found.unified, Some("/sys/fs/cgroup/unified/".into()));
    }

    #[test]
    fn a_container_sees_the_part_that_is_mounted() {
        let mounts = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let memory = |path: &str| Hierarchy::parse(&format!("4:memory:{path}\n"), mounts).memory;
        assert_eq!(memory("/docker/abc/x"), Some("/sys/fs/cgroup/memory/x".into()));
        assert_eq!(memory("/docker/abcd"), None);
        assert_eq!(memory("/elsewhere"), None);
    }

    #[test]
    fn what_is_not_understood_is_no_group() {
        for groups in ["", "0", "0:", "4:memory", "x:y:z"] {
            assert_eq!(Hierarchy::parse(groups, "1 2 3\n - - \n"), Hierarchy::default());
        }
    }
}
