//! What the operator asks for.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Prepared, account::Account, rules::Rules};
use crate::config::{Limits, Sandbox};

/// What a driver's process may do. The default confines nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// What it may use.
    pub limits: Limits,
    /// What it may reach; none stands for all that its user may.
    pub sandbox: Option<Sandbox>,
    /// The user that it runs as; none stands for the daemon's own.
    pub user: Option<String>,
}

impl Confinement {
    /// Makes the folders of `sandbox.write` that lie below `state_dir` and are missing, for the kernel's rules admit what is there
    /// alone. Outside of it, and where the driver has a user of its own, whose such a folder is to be is the operator's to say.
    pub(crate) fn make_folders(&self, state_dir: &Path) {
        let Some(sandbox) = self.sandbox.as_ref().filter(|_| self.user.is_none()) else { return };
        let is_below = |path: &&PathBuf| {
            path.starts_with(state_dir) && !path.components().any(|part| part == Component::ParentDir)
        };
        for path in sandbox.write.iter().filter(is_below).filter(|path| !path.exists()) {
            let _told_with_what_is_not_enforced = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        }
    }

    /// Looks up the user and finds out what this kernel and this account can enforce. For the daemon, before it starts the
    /// child.
    ///
    /// # Errors
    /// One line, when the user does not exist or the daemon may not become it.
    pub(crate) fn prepare(&self) -> Result<Prepared, String> {
        let account = self.user.as_deref().map(Account::of).transpose()?;
        let rules = self.sandbox.clone().map(Rules::of);
        Ok(Prepared::new(self.limits.clone(), account, rules))
    }
}
