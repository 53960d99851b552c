//! Control groups (cgroups(7)): one group for a driver with all that it starts, whose limits bind root as well.
//!
//! The kernel has two arrangements of them. In version 2 there is one tree, and a group that has groups below it may hold no
//! processes, so the daemon moves into a leaf of its own group first. In version 1 each kind of limit has a tree of its own.

mod files;
mod group;
mod hierarchy;
mod version_2;

pub(crate) use group::Cgroup;
pub(super) use group::join;
#[cfg(test)]
pub(super) use version_2::hand_down;
