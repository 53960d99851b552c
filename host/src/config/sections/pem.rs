//! PEM files that the configuration names.

use std::{fs::File, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::config::{Warning, read::TableReader, secret};

/// A PEM file that may be absent.
pub(super) fn pem_file(table: &mut TableReader<'_, '_>, name: &'static str) -> Option<PathBuf> {
    let path = table.optional::<PathBuf>(name)?;
    readable(table, name, path)
}

/// A file that cannot be read is a fault before anything starts, as it was with libra; a key that everybody may read, a warning.
pub(super) fn readable(table: &mut TableReader<'_, '_>, name: &str, path: PathBuf) -> Option<PathBuf> {
    let key = table.key(name);
    match File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => {
            if name.ends_with("key") {
                let exposed = secret::exposed(&path, metadata.permissions().mode());
                let origin = table.session.origin(&key);
                table.session.warnings.extend(exposed.map(|text| Warning { origin, key, text }));
            }
            return Some(path);
        }
        Ok(_) => {
            let found = format!("{}, which is no file", path.display());
            table.session.fault_at(&key, &found, "a PEM file", "name the file itself");
        }
        Err(error) => {
            let found = format!("{}, which cannot be read ({error})", path.display());
            table.session.fault_at(
                &key,
                &found,
                "a PEM file that the daemon's user can read",
                "create it or correct its permissions",
            );
        }
    }
    None
}
