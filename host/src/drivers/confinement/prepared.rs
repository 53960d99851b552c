//! What was made of a [`super::Confinement`] on this machine, and how a process submits to it.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Cgroup, account::Account, cgroup, limits, rules::Rules};
use crate::config::Limits;

/// A confinement that can be applied. Travels from the daemon to the child as JSON; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    limits: Limits,
    account: Option<Account>,
    rules: Option<Rules>,
    /// The `cgroup.procs` files by which the process joins its control group.
    group: Vec<PathBuf>,
    shortfalls: Vec<String>,
}

impl Prepared {
    pub(super) fn new(limits: Limits, account: Option<Account>, rules: Option<Rules>) -> Self {
        let mut prepared = Self { limits, account, rules, group: Vec::new(), shortfalls: Vec::new() };
        prepared.shortfalls = prepared.find_shortfalls();
        prepared
    }

    /// Has the process join `cgroup` when it applies this. What the group limits needs no other limit, and counts as bound.
    pub(crate) fn within(mut self, cgroup: &Cgroup) -> Self {
        self.group = cgroup.membership_files();
        self.limits.memory = self.limits.memory.filter(|_| !cgroup.limits_memory());
        self.limits.processes = self.limits.processes.filter(|_| !cgroup.limits_processes());
        self.shortfalls = self.find_shortfalls();
        self
    }

    /// What was asked for and is not enforced here, or only in part; each a line for the log.
    pub(crate) fn shortfalls(&self) -> &[String] {
        &self.shortfalls
    }

    fn find_shortfalls(&self) -> Vec<String> {
        let mut found = limits::shortfalls(&self.limits, self.account.as_ref());
        found.extend(self.rules.iter().flat_map(Rules::shortfalls));
        found
    }

    /// Submits this process to the confinement, for good: no core dumps, the control group, the limits, no new privileges,
    /// the user, the sandbox. For the child, while it has one thread and before any of the driver's code runs.
    ///
    /// # Errors
    /// One line. The process may then be confined in part and must end.
    pub(crate) fn apply(&self) -> Result<(), String> {
        // User and sandbox are the thread's, not the process's.
        require_one_thread()?;
        limits::forbid_core_dumps()?;
        cgroup::join(&self.group)?;
        // Opened while the process may still open all that the rules name.
        let ruleset = self.rules.as_ref().map(Rules::open).transpose()?.flatten();
        limits::apply(&self.limits, self.account.as_ref())?;
        rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs cannot be set ({error})"))?;
        if let Some(account) = &self.account {
            account.become_it()?;
            // The kernel forgets it when the user changes.
            limits::forbid_core_dumps()?;
        }
        Rules::enforce(ruleset)
    }
}

fn require_one_thread() -> Result<(), String> {
    let threads = fs::read_dir("/proc/self/task").map_err(|error| format!("/proc/self/task: {error}"))?.count();
    if threads == 1 {
        return Ok(());
    }
    Err(format!("a process with {threads} threads cannot be confined: only the calling one would be"))
}
