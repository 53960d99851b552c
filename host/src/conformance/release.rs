//! Systems that a driver may be meant for, by the C library that they have.

use crate::drivers::LibcVersion;

/// A release of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// As `--for` takes it.
    pub name: &'static str,
    /// Its glibc.
    pub glibc: LibcVersion,
}

const fn release(name: &'static str, minor: u32) -> Release {
    Release { name, glibc: LibcVersion { major: 2, minor } }
}

/// Versions from the distributions' package indices.
const RELEASES: [Release; 10] = [
    release("debian10", 28),
    release("debian11", 31),
    release("debian12", 36),
    release("debian13", 41),
    release("ubuntu20.04", 31),
    release("ubuntu22.04", 35),
    release("ubuntu24.04", 39),
    release("rhel8", 28),
    release("rhel9", 34),
    release("rhel10", 39),
];

impl std::str::FromStr for Release {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = RELEASES.iter().find(|release| release.name == name).copied();
        known.ok_or_else(|| format!("known are {}", RELEASES.map(|release| release.name).join(", ")))
    }
}
