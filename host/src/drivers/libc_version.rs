//! The C library of this host.

use std::sync::OnceLock;

use super::{LibcVersion, loader};

/// Version of the glibc that runs; none where another C library does.
pub(super) fn of_host() -> Option<LibcVersion> {
    static VERSION: OnceLock<Option<LibcVersion>> = OnceLock::new();
    *VERSION.get_or_init(|| loader::glibc_version().and_then(|text| LibcVersion::parse(&text)))
}
