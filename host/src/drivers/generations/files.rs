//! The files of an entry: what is looked at to see whether there is something new to load.

use std::{fs, path::PathBuf};

use crate::drivers::{DriverEntry, DriverProgram, Settings, file, manifest};

/// The library; or a command's program with those of its arguments that are absolute paths of files, as an interpreter's script is.
pub(super) fn of(settings: &Settings, entry: &DriverEntry) -> Vec<PathBuf> {
    let mut files = vec![file::resolve(&settings.driver_directory, entry.file())];
    if let DriverProgram::Command(command) = &entry.program {
        let arguments = command.iter().skip(1).map(PathBuf::from);
        files.extend(arguments.filter(|path| path.is_absolute() && path.is_file()));
    }
    files
}

/// A hash over their content; none when one of them cannot be read or is not trusted.
pub(super) fn hash(settings: &Settings, entry: &DriverEntry) -> Option<String> {
    let files = of(settings, entry);
    let (first, others) = files.split_first()?;
    let first = match entry.program {
        DriverProgram::Library(_) => file::open(first, settings.trust_own_files),
        DriverProgram::Command(_) => file::open_program(first, settings.trust_own_files),
    };
    let mut hashes = manifest::sha256(&first.ok()?.bytes);
    for other in others {
        hashes.push_str(&manifest::sha256(&fs::read(other).ok()?));
    }
    Some(manifest::sha256(hashes.as_bytes()))
}
