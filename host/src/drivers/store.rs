//! Private copies of drivers' files, named by their content: what is loaded cannot be changed under us, and a new file is
//! always a new path, without which the dynamic linker hands out the old code.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::OFlags;

use super::{
    error::{Failure, Stage},
    file, manifest,
};

/// How names end behind a hash, and behind the name of a driver.
const COPY: &str = ".so";
const PROBE: &str = ".probe.json";
const HISTORY: &str = ".history.json";
const SIGNATURES: &str = ".sig";

/// The folder `state_dir/drivers`.
pub(super) struct Store {
    folder: PathBuf,
}

fn refuse(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Stage::Store,
        format!("no private copy at {} ({error})", path.display()),
        "a folder that only the daemon's user can enter, with room",
        "correct daemon.state_dir, its owner or its free space",
    )
}

impl Store {
    pub fn open(state_dir: &Path) -> Result<Self, Failure> {
        let folder = state_dir.join("drivers");
        private_folder(&folder).map_err(|error| refuse(&folder, error))?;
        // What is loaded is loaded by name from here, so the name must stay what it is.
        file::only_we_replace(&folder).map_err(|failure| Failure {
            stage: Stage::Store,
            remedy: "correct that folder, or set daemon.state_dir to one elsewhere".to_owned(),
            ..failure
        })?;
        Ok(Self { folder })
    }

    /// The copy of `bytes`. One that is there already is compared byte by byte and replaced when it differs.
    pub fn keep(&self, sha256: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.folder.join(format!("{sha256}{COPY}"));
        if is_copy(&path, bytes) {
            return Ok(path);
        }
        replace(&path, bytes, 0o555).map_err(|error| refuse(&path, error))?;
        Ok(path)
    }

    /// Where the copy of a file with this hash lies.
    pub fn copy_path(state_dir: &Path, sha256: &str) -> PathBuf {
        state_dir.join("drivers").join(format!("{sha256}{COPY}"))
    }

    /// The bytes of a copy, if they still have its hash.
    pub fn read(&self, sha256: &str) -> Result<Vec<u8>, Failure> {
        let path = self.folder.join(format!("{sha256}{COPY}"));
        let gone = |found: String| {
            Failure::new(
                Stage::Store,
                found,
                "the copy that was made when it served",
                "install the file again and reload the driver",
            )
        };
        let bytes = fs::read(&path).map_err(|error| gone(format!("a copy that cannot be read ({error})")))?;
        let found = manifest::sha256(&bytes);
        if found != sha256 {
            return Err(gone(format!("a copy with sha256 {found}, so it has been changed")));
        }
        Ok(bytes)
    }

    /// Keeps what vouched for a file with its copy.
    pub fn keep_signatures(&self, sha256: &str, signatures: &[u8]) -> Result<(), Failure> {
        if self.signatures(sha256).as_deref() == Some(signatures) {
            return Ok(());
        }
        let path = self.folder.join(format!("{sha256}{SIGNATURES}"));
        replace(&path, signatures, 0o600).map_err(|error| refuse(&path, error))
    }

    /// What vouched for a file when its copy was made, where a key asked for it.
    pub fn signatures(&self, sha256: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(format!("{sha256}{SIGNATURES}"))).ok()
    }

    /// Where it is kept which files of a driver served.
    pub fn history_path(state_dir: &Path, full_name: &str) -> PathBuf {
        state_dir.join("drivers").join(format!("{full_name}{HISTORY}"))
    }

    /// Removes the copies whose hash `is_needed` denies, with their signatures and the outcomes of their probes, and the histories of drivers that
    /// `is_known` denies. Nothing may be loading meanwhile.
    pub fn prune(state_dir: &Path, is_needed: impl Fn(&str) -> bool, is_known: impl Fn(&str) -> bool) {
        // Not there before the first copy.
        let Ok(entries) = fs::read_dir(state_dir.join("drivers")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let hash = [COPY, PROBE, SIGNATURES].iter().find_map(|ending| name.strip_suffix(ending));
            let hash = hash.filter(|hash| is_hash(hash));
            let keep = match (hash, name.strip_suffix(HISTORY)) {
                (Some(hash), _) => is_needed(hash),
                (None, Some(full_name)) => is_known(full_name),
                (None, None) => true,
            };
            if keep {
                continue;
            }
            match fs::remove_file(entry.path()) {
                Ok(()) => tracing::debug!(file = name, "no driver needs it any more; removed"),
                Err(error) => tracing::warn!(file = name, %error, "no driver needs it any more; it cannot be removed"),
            }
        }
    }

    /// Where the outcome of a probe is kept.
    pub fn probe_record(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}{PROBE}"))
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_copy(path: &Path, bytes: &[u8]) -> bool {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(copy) = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path) else { return false };
    let Ok(metadata) = copy.metadata() else { return false };
    metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o7777 == 0o555
        && metadata.len() == bytes.len() as u64
        && holds(copy, bytes).unwrap_or(false)
}

// In pieces: room for a second whole file costs more than the comparison (2 ms of 11 for a library of 4.6 MB).
fn holds(mut file: File, mut bytes: &[u8]) -> io::Result<bool> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(bytes.is_empty());
        }
        match bytes.strip_prefix(&piece[..read]) {
            Some(rest) => bytes = rest,
            None => return Ok(false),
        }
    }
}

/// Makes a folder (and its parents) that only we can enter, durably, or checks that it is one.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?.sync_all()?;
    }
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("{} is no folder of the daemon's user", path.display())));
    }
    if metadata.mode() & 0o7777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Puts a file in place at once and durably: after a crash there is the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = path.parent().ok_or_else(|| io::Error::other("a path without a folder"))?;
    // A name that no key and no hash has; one left by a crash is overwritten when its number comes again.
    let temporary = folder.join(format!(".new-{}-{number}", std::process::id()));
    let written = write_new(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _the_first_error_counts = fs::remove_file(&temporary);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a file durably; a missing one is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    let folder = path.parent().ok_or_else(|| io::Error::other("a path without a folder"))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needs_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (old, new) = ("a".repeat(64), "b".repeat(64));
        for name in [
            format!("{old}.so"),
            format!("{old}.probe.json"),
            format!("{new}.so"),
            format!("{new}.probe.json"),
            "cloud.a.history.json".to_owned(),
            "cloud.gone.history.json".to_owned(),
            "notes.so".to_owned(),
        ] {
            fs::write(folder.path().join("drivers").join(name), "x").unwrap();
        }
        Store::prune(folder.path(), |hash| hash == new, |driver| driver == "cloud.a");
        let mut left: Vec<_> =
            fs::read_dir(folder.path().join("drivers")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let expected =
            [format!("{new}.probe.json"), format!("{new}.so"), "cloud.a.history.json".into(), "notes.so".into()];
        assert_eq!(left, expected.map(std::ffi::OsString::from));
        assert!(store.read(&new).unwrap_err().found.contains("has been changed"));
        assert!(store.read(&old).unwrap_err().found.contains("cannot be read"));
    }

    #[test]
    fn a_copy_is_compared_to_its_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.so");
        let bytes = vec![7; (64 << 10) * 2 + 10];
        replace(&path, &bytes, 0o555).unwrap();
        assert!(is_copy(&path, &bytes));
        for place in [0, 64 << 10, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[place] ^= 1;
            replace(&path, &other, 0o555).unwrap();
            assert!(!is_copy(&path, &bytes), "byte {place} differs");
        }
        replace(&path, &bytes[..bytes.len() - 1], 0o555).unwrap();
        assert!(!is_copy(&path, &bytes));
    }
}
