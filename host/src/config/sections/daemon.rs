//! `[daemon]`: what runs and where its files are.

use std::path::PathBuf;

use crate::config::read::{TableReader, choices};

choices! {
    /// A service that `capstan serve` can run.
    Role {
        /// Keeps load-balancer nodes in stock.
        PoolManager = "pool-manager",
        /// Takes Gearman messages and drives the appliance on this node.
        Worker = "worker",
        /// The API server between pool managers, nodes and tenants.
        Lbaas = "lbaas",
        /// One API over the clouds of the farm.
        Orchestrator = "orchestrator",
    }
}

/// `[daemon]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Daemon {
    /// The services that `capstan serve` runs.
    pub roles: Vec<Role>,
    /// What survives a restart: the store, copies of drivers, their state.
    pub state_dir: PathBuf,
    /// Sockets and what else lasts as long as the machine is up.
    pub run_dir: PathBuf,
    /// Whether a driver whose file changes is reloaded by itself.
    pub watch_drivers: bool,
}

impl Daemon {
    /// Where the daemon writes the token by which the drivers it hosts call its device API.
    #[must_use]
    pub fn device_token_file(&self) -> PathBuf {
        self.run_dir.join("device.token")
    }

    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        Self {
            roles: table.get("roles", Vec::new()),
            state_dir: table.get("state_dir", PathBuf::from("/var/lib/capstan")),
            run_dir: table.get("run_dir", PathBuf::from("/run/capstan")),
            watch_drivers: table.get("watch_drivers", false),
        }
    }
}
