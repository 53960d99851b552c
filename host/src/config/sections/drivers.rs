//! `[drivers]`: where drivers are and what holds for each of them unless its entry says otherwise.

use std::{path::PathBuf, time::Duration};

use super::{Limits, confinement, known_drivers::warn_if_open};
use crate::config::{
    read::{TableReader, choices},
    trust::{PublicKey, SignatureKey},
};

choices! {
    /// Where a driver's code runs.
    Isolation {
        /// In a child process of its own.
        Process = "process",
        /// In the daemon.
        InProcess = "in-process",
    }
}

choices! {
    /// What the file of every driver has to have.
    DriverPolicy {
        /// Nothing but what its own entry and the lock file demand.
        Any = "any",
        /// A `sha256` of its own, or a line in the lock file.
        Pinned = "pinned",
        /// A good signature of a trusted key.
        Signed = "signed",
    }
}

/// `[drivers]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Drivers {
    /// The folder of libraries named without one; `None` means `../lib/capstan/drivers` as seen from the binary, else the
    /// binary's own folder.
    pub directory: Option<PathBuf>,
    /// Whether the daemon's own user may own a driver's file, beside root.
    pub trust_own_files: bool,
    /// What the file of every driver has to have.
    pub policy: DriverPolicy,
    /// The default of `known_drivers.*.*.signature_key`; any of them will do.
    pub signature_keys: Vec<PublicKey>,
    /// The default of `known_drivers.*.*.isolation`.
    pub isolation: Isolation,
    /// The default of `known_drivers.*.*.max_concurrency`.
    pub max_concurrency: usize,
    /// The default of `known_drivers.*.*.max_queue`.
    pub max_queue: usize,
    /// The default of `known_drivers.*.*.call_timeout_seconds`.
    pub call_timeout: Duration,
    /// How often a driver is asked for its health; zero never.
    pub health_interval: Duration,
    /// How long calls that are out may go on in a generation of a driver that has been replaced.
    pub drain_timeout: Duration,
    /// The default of `known_drivers.*.*.user`.
    pub user: Option<String>,
    /// The defaults of `known_drivers.*.*.limits`.
    pub limits: Limits,
}

impl Drivers {
    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        let keys: Vec<SignatureKey> = table.get("signature_keys", Vec::new());
        let name = table.key("signature_keys");
        warn_if_open(&keys, &name, table);
        Self {
            directory: table.optional("directory"),
            trust_own_files: table.get("trust_own_files", false),
            policy: table.get("policy", DriverPolicy::Any),
            signature_keys: keys.iter().map(|key| key.key).collect(),
            isolation: table.get("isolation", Isolation::Process),
            max_concurrency: table.within("max_concurrency", 8, 1..=4096),
            max_queue: table.within("max_queue", 64, 0..=1_000_000),
            call_timeout: table.get("call_timeout_seconds", Duration::from_secs(30)),
            health_interval: table.get("health_interval_seconds", Duration::from_secs(30)),
            drain_timeout: table.get("drain_timeout_seconds", Duration::from_secs(60)),
            user: confinement::read_user(table, None),
            limits: table.table("limits", |table| Limits::read(table, &Limits::defaults())),
        }
    }
}
