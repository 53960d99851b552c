//! Whether this host and that file fit together.

use capstan_plugin_api::{Manifest, abi, manifest::TARGET};

use super::{
    DriverEntry, Isolation, Kind,
    elf::ElfFacts,
    error::{Failure, Stage},
    kind::interfaces,
    libc_version,
};

/// What the table asks for.
pub(super) struct Wanted {
    pub kind: Kind,
    pub isolation: Isolation,
}

impl Wanted {
    pub fn of(entry: &DriverEntry) -> Self {
        Self { kind: entry.kind, isolation: entry.isolation }
    }
}

fn refuse(found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) -> Result<(), Failure> {
    Err(Failure::new(Stage::Compatibility, found, expected, remedy))
}

/// Holds what a command says of itself against the host and the entry.
pub(super) fn check_interface(manifest: &Manifest, wanted: Kind) -> Result<(), Failure> {
    let Manifest { kind, interface, .. } = manifest;
    if kind != wanted.as_str() {
        return refuse(
            format!("a driver of kind {kind:?}"),
            format!("kind {:?}", wanted.as_str()),
            format!("list it under known_drivers.{kind} or name another file"),
        );
    }
    if !interfaces(wanted).contains(&interface.as_str()) {
        return refuse(
            format!("interface {interface:?}"),
            interfaces(wanted).join(" or "),
            "install the driver's build for this major, or a newer Capstan",
        );
    }
    Ok(())
}

/// Holds file and manifest against the host and the entry.
pub(super) fn check(facts: &ElfFacts, manifest: &Manifest, wanted: &Wanted) -> Result<(), Failure> {
    let Manifest { target, panic, epoch, .. } = manifest;
    if *epoch != abi::EPOCH {
        return refuse(
            format!("a driver of epoch {epoch}"),
            format!("epoch {}", abi::EPOCH),
            "install a build of the driver for this Capstan, or a Capstan for that driver",
        );
    }
    if !facts.epochs.contains(&abi::EPOCH) {
        return refuse(
            format!("no symbol {}", abi::ENTRY_SYMBOL),
            format!("a manifest of epoch {epoch} and its symbol in one file"),
            "export the symbol (a linker script or -fvisibility may hide it)",
        );
    }
    if target != TARGET {
        return refuse(format!("a driver for {target}"), TARGET, format!("build it for {TARGET}"));
    }
    check_interface(manifest, wanted.kind)?;
    if panic == "abort" && wanted.isolation == Isolation::InProcess {
        return refuse(
            "a driver built with panic = \"abort\", whose first panic would end the daemon",
            "panic = \"unwind\"",
            "rebuild it with panic = \"unwind\"",
        );
    }
    if !matches!(panic.as_str(), "abort" | "none" | "unwind") {
        return refuse(format!("panic strategy {panic:?}"), "unwind, abort or none", "ask the driver's vendor");
    }
    libc(facts)
}

fn libc(facts: &ElfFacts) -> Result<(), Failure> {
    let Some(needed) = facts.glibc else { return Ok(()) };
    match libc_version::of_host() {
        Some(host) if host >= needed => Ok(()),
        Some(host) => refuse(
            format!("a driver that needs glibc {needed}"),
            format!("at most {host}, which this host has"),
            format!("build it on a system with glibc {host} or older{}", debian(host.minor)),
        ),
        None => refuse(
            format!("a driver that needs glibc {needed}"),
            "none, as this host has another C library",
            "build the driver against this host's C library",
        ),
    }
}

/// Releases of Debian by their glibc (packages.debian.org/libc6).
fn debian(minor: u32) -> &'static str {
    match minor {
        36..=40 => " (Debian 12)",
        31..=35 => " (Debian 11)",
        28..=30 => " (Debian 10)",
        41.. => " (Debian 13)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::LibcVersion;

    #[test]
    fn a_newer_glibc_is_named_with_a_release_to_build_on() {
        let facts = ElfFacts { glibc: Some(LibcVersion { major: 9, minor: 38 }), ..ElfFacts::default() };
        let failure = libc(&facts).unwrap_err();
        let host = libc_version::of_host().unwrap();
        assert_eq!(failure.found, "a driver that needs glibc 9.38");
        assert_eq!(failure.expected, format!("at most {host}, which this host has"));
        assert!(failure.remedy.starts_with(&format!("build it on a system with glibc {host} or older")));
    }
}
