//! What the operator asks for.

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
