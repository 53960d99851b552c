//! A driver's manifest, read without running a line of the driver.

use std::path::{Path, PathBuf};

use capstan_plugin_api::Manifest;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    LoadError,
    elf::{self, ElfFacts, ElfFault, LibcVersion},
    error::{Failure, Stage},
    file::{self, Checked},
};

/// A driver's file as `driver info` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct DriverFile {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// What it says of itself.
    pub manifest: Manifest,
    /// The newest version of glibc that it asks for.
    pub glibc: Option<LibcVersion>,
    /// Libraries that it is linked against.
    pub libraries: Vec<String>,
}

/// Reads what a file says of itself, whatever entry it may be for; stages file to manifest, without running a line of it.
///
/// # Errors
/// The stage at which the file was refused.
pub fn inspect(path: &Path, trust_own_files: bool) -> Result<DriverFile, LoadError> {
    let look = || {
        let checked = file::open(path, trust_own_files)?;
        let (facts, manifest) = read(&checked.bytes)?;
        Ok(describe(&checked, facts, manifest))
    };
    look().map_err(|failure: Failure| failure.of("", path))
}

/// A path names a library by its ending (`.so`, `.so.1`); anything else is a program.
#[must_use]
pub fn is_library(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".so") || name.contains(".so.")
    })
}

fn describe(checked: &Checked, facts: ElfFacts, manifest: Manifest) -> DriverFile {
    DriverFile {
        path: checked.path.clone(),
        sha256: sha256(&checked.bytes),
        size: checked.bytes.len() as u64,
        manifest,
        glibc: facts.glibc,
        libraries: facts.libraries,
    }
}

/// Stages elf and manifest.
pub(super) fn read(bytes: &[u8]) -> Result<(ElfFacts, Manifest), Failure> {
    let facts = elf::read(bytes).map_err(|fault| {
        let remedy = match fault {
            ElfFault::Foreign(_) => "build it for this host",
            ElfFault::Empty | ElfFault::Truncated { .. } => "copy the file again",
            ElfFault::Malformed(_) | ElfFault::NotElf(_) => "name the driver's .so file",
        };
        Failure::new(Stage::Elf, fault.to_string(), "a whole shared library for this host", remedy)
    })?;
    let Some(section) = &facts.manifest else {
        return Err(Failure::new(
            Stage::Manifest,
            "a library without a section .capstan_manifest",
            "a Capstan driver",
            "name a driver's file; a Rust driver gets its manifest from #[capstan_plugin_api::driver]",
        ));
    };
    let manifest = parse(section)?;
    Ok((facts, manifest))
}

fn parse(section: &[u8]) -> Result<Manifest, Failure> {
    let manifest: Manifest =
        serde_json::from_slice(section).map_err(|error| refuse(format!("a manifest that cannot be read ({error})")))?;
    check(&manifest)?;
    Ok(manifest)
}

fn refuse(found: String) -> Failure {
    Failure::new(Stage::Manifest, found, "a manifest as docs/abi-epoch-1.md describes it", "ask the driver's vendor")
}

/// Whether the words of a manifest are such as the host can show and pass on.
pub(super) fn check(manifest: &Manifest) -> Result<(), Failure> {
    if !is_name(&manifest.name) {
        return Err(refuse(format!("the name {:?} (a-z, 0-9, _ and -, a letter first, at most 64)", manifest.name)));
    }
    if manifest.version.is_empty() || manifest.version.len() > 64 {
        return Err(refuse(format!("the version {:?} (1 to 64 bytes)", manifest.version)));
    }
    if let Some(method) = manifest.methods.iter().find(|method| !is_method(method)) {
        return Err(refuse(format!("the method {method:?} (a-z, 0-9, _ and ., at most 64)")));
    }
    Ok(())
}

/// Whether a text may be the name of a driver: `[a-z][a-z0-9_-]{0,63}`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn is_method(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
}

/// SHA-256 as 64 hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _always_fits = write!(text, "{byte:02x}");
        text
    })
}

/// The folder and file that a person would open.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
