//! What makes a driver's file trusted: its entry's pin, keys for signatures, its line in the lock file, and the policy.
//!
//! The drivers' room holds files against this; here it is only read, so that every fault of it shows with the others.

mod hash;
mod key;
mod lock;

pub(crate) use key::pem_section;
pub use key::{KeyFault, PublicKey};
pub use lock::{DriverLock, LockedFile, lock_file};

pub(super) use hash::Sha256;
pub(super) use key::SignatureKey;
pub(super) use lock::apply;

use super::DriverPolicy;

/// What an entry demands of its file besides the `sha256` pin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trust {
    /// What every entry has to have.
    pub policy: DriverPolicy,
    /// The file must carry a good signature of one of these; none means that no signature is looked for.
    pub signature_keys: Vec<PublicKey>,
    /// The entry's line in the lock file.
    pub locked: Option<LockedFile>,
}

impl Default for Trust {
    /// Anything is trusted.
    fn default() -> Self {
        Self { policy: DriverPolicy::Any, signature_keys: Vec::new(), locked: None }
    }
}
