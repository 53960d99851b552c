//! What a lock file says of the entries, and what it should say.

use serde::Serialize;

use crate::{
    config::{DriverLock, DriverPolicy, LockedFile, Trust},
    drivers::{DriverEntry, DriverProgram, Kind, LoadError, Settings, error::Failure, file, manifest},
};

/// What a lock file should say of an entry now. Its file is taken through the stages that run no line of it, and held against
/// what the entry itself demands.
///
/// # Errors
/// The stage at which the file was refused.
pub fn fingerprint(settings: &Settings, entry: &DriverEntry) -> Result<LockedFile, LoadError> {
    let path = file::resolve(&settings.driver_directory, entry.file());
    let look = || -> Result<LockedFile, Failure> {
        let (checked, version) = match entry.program {
            DriverProgram::Library(_) => {
                let checked = file::open(&path, settings.trust_own_files)?;
                let version = manifest::read(&checked.bytes)?.1.version;
                (checked, Some(version))
            }
            DriverProgram::Command(_) => (file::open_program(&path, settings.trust_own_files)?, None),
        };
        // The line that is about to be written is what the policy may ask for.
        let own = Trust { policy: DriverPolicy::Any, locked: None, ..entry.trust.clone() };
        let sha256 = super::check(entry.sha256.as_deref(), &own, &checked)?.sha256;
        Ok(LockedFile { path: checked.path, sha256, version })
    };
    look().map_err(|failure| failure.of(entry.full_name(), &path))
}

/// One line in which a lock file and the files differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// `kind.name`.
    pub driver: String,
    /// `changed`: another content; `moved`: the same elsewhere; `new`: no line; `stale`: no entry.
    pub difference: &'static str,
    /// What the lock file says.
    pub locked: Option<LockedFile>,
    /// What there is.
    pub found: Option<LockedFile>,
}

/// What has to change in `locked` for it to say `found`, by kind and name.
pub fn differences(locked: &DriverLock, found: &DriverLock) -> Vec<Difference> {
    let difference = |kind: Kind, name: &str| {
        let (locked, found) = (locked.get(kind, name), found.get(kind, name));
        let difference = match (locked, found) {
            (None, _) => "new",
            (_, None) => "stale",
            (Some(a), Some(b)) if a.sha256 != b.sha256 => "changed",
            (Some(a), Some(b)) if a.path != b.path => "moved",
            _ => return None,
        };
        let driver = format!("{kind}.{name}");
        Some(Difference { driver, difference, locked: locked.cloned(), found: found.cloned() })
    };
    let mut names: Vec<(Kind, &str)> = locked.iter().chain(found.iter()).map(|(kind, name, _)| (kind, name)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|(kind, name)| difference(kind, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(lines: &[(Kind, &str, &str, &str)]) -> DriverLock {
        let mut lock = DriverLock::default();
        for (kind, name, path, sha256) in lines {
            let file = LockedFile { path: path.into(), sha256: (*sha256).to_owned(), version: None };
            lock.insert(*kind, name, file);
        }
        lock
    }

    #[test]
    fn each_difference_is_told_once() {
        use Kind::{Cloud, Mgm};
        let locked =
            lock(&[(Mgm, "a", "/a", "1"), (Cloud, "b", "/b", "2"), (Cloud, "c", "/c", "3"), (Mgm, "d", "/d", "4")]);
        let found =
            lock(&[(Mgm, "a", "/a", "1"), (Cloud, "b", "/b", "9"), (Cloud, "c", "/C", "3"), (Mgm, "e", "/e", "5")]);
        let told = differences(&locked, &found);
        let told: Vec<_> = told.iter().map(|one| (one.driver.as_str(), one.difference)).collect();
        assert_eq!(told, [("cloud.b", "changed"), ("cloud.c", "moved"), ("mgm.d", "stale"), ("mgm.e", "new")]);
        assert_eq!(differences(&found, &found), []);
    }
}
