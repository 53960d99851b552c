//! Whether a file is the one that the operator means: its hash against pin and lock file, and the signature beside it.
//!
//! Only bytes that were read already are looked at, and nothing of what is in them: a program is held to the same as a library.

mod key;
mod lock;
mod pin;
mod signature;

use std::{io, path::Path};

pub use key::PrivateKey;
pub use lock::{Difference, differences, fingerprint};
pub use signature::{SignatureFault, verify};

use super::{error::Failure, file::Checked, manifest::sha256, store};
use crate::config::Trust;

/// A file that passed.
pub(super) struct Vouched {
    pub sha256: String,
    /// What lay beside it, where a key asked for it: kept with the private copy, which has to pass again when it comes back.
    pub signatures: Option<Vec<u8>>,
}

/// Stages checksum and signature.
pub(super) fn check(pin: Option<&str>, trust: &Trust, checked: &Checked) -> Result<Vouched, Failure> {
    let sha256 = sha256(&checked.bytes);
    pin::check(pin, trust, &sha256)?;
    let signatures = signature::check(trust, checked, &sha256)?;
    Ok(Vouched { sha256, signatures })
}

/// The same for a private copy that has served before, with the signatures that were kept with it.
pub(super) fn check_kept(
    pin: Option<&str>,
    trust: &Trust,
    bytes: &[u8],
    signatures: Option<Vec<u8>>,
) -> Result<Vouched, Failure> {
    let sha256 = sha256(bytes);
    pin::check(pin, trust, &sha256)?;
    let signatures = signature::check_kept(trust, &sha256, signatures)?;
    Ok(Vouched { sha256, signatures })
}

/// Puts a file that everybody may read in place at once and durably: after a crash there is the old one or the new one.
///
/// # Errors
/// What the system said.
pub fn write_public(path: &Path, text: &str) -> io::Result<()> {
    store::replace(&std::path::absolute(path)?, text.as_bytes(), 0o644)
}
