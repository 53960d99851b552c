//! A node's own files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::{Manifest, Values, template::is_private};

/// Makes `disk` of an image anew, on disk when it returns. `Err` says what is wrong and where.
pub(crate) fn install(
    image: &Path,
    manifest: &Manifest,
    values: &Values,
    user_data: &str,
    disk: &Path,
) -> Result<(), String> {
    let fault = |path: &Path, error: io::Error| format!("{} cannot be made: {error}", path.display());
    if disk.exists() {
        fs::remove_dir_all(disk).map_err(|error| fault(disk, error))?;
    }
    fs::create_dir(disk).map_err(|error| fault(disk, error))?;
    for folder in &manifest.folders {
        let folder = disk.join(folder);
        fs::create_dir_all(&folder).map_err(|error| fault(&folder, error))?;
    }
    if !user_data.is_empty() {
        let path = disk.join("user-data");
        write(&path, user_data.as_bytes(), 0o600).map_err(|error| fault(&path, error))?;
    }
    for file in &manifest.files {
        let to = disk.join(file.to.as_ref().unwrap_or(&file.from));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| fault(parent, error))?;
        }
        copy(&image.join(&file.from), &to, file.template.then_some(values))?;
    }
    Ok(())
}

/// Links are not followed: an image holds what it gives.
fn copy(from: &Path, to: &Path, values: Option<&Values>) -> Result<(), String> {
    let fault = |error: io::Error| format!("{} cannot be copied to {}: {error}", from.display(), to.display());
    let about = fs::symlink_metadata(from).map_err(fault)?;
    if about.is_dir() {
        fs::create_dir_all(to).map_err(fault)?;
        for entry in fs::read_dir(from).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            copy(&entry.path(), &to.join(entry.file_name()), values)?;
        }
        return Ok(());
    }
    if !about.is_file() {
        return Err(format!("{} is neither a file nor a folder; an image has nothing else", from.display()));
    }
    let mut bytes = fs::read(from).map_err(fault)?;
    let mut mode = about.permissions().mode() & 0o755;
    if let Some(values) = values {
        let text = String::from_utf8(bytes)
            .map_err(|_| format!("{} is no text in UTF-8, so nothing can be filled in", from.display()))?;
        if is_private(&text) {
            mode &= 0o700;
        }
        bytes = values.fill(&text).map_err(|wrong| format!("{}: {wrong}", from.display()))?.into_bytes();
    }
    write(to, &bytes, mode | 0o600).map_err(fault)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
