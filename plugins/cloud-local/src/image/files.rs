//! A node's own files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
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
        let from = within(image, &file.from)?;
        copy(&from, &to, file.template.then_some(values))?;
    }
    Ok(())
}

/// A path of the image, on which no folder is a link either.
fn within(image: &Path, path: &Path) -> Result<PathBuf, String> {
    let mut whole = image.to_owned();
    for part in path {
        whole.push(part);
        if whole.is_symlink() {
            return Err(format!("{} is a link; an image holds what it gives", whole.display()));
        }
    }
    Ok(whole)
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

/// A later file takes the place of an earlier one, and does not keep its mode: it may be for its owner only.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (image, disk) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir_all(image.join("folder")).unwrap();
        fs::write(folder.path().join("outside"), "not the image's").unwrap();
        std::os::unix::fs::symlink("../..", image.join("folder/up")).unwrap();
        for from in ["folder", "folder/up", "folder/up/outside"] {
            fs::write(image.join("image.toml"), format!("command = ['/x']\nfiles = [{{ from = '{from}', to = 'a' }}]"))
                .unwrap();
            let manifest = Manifest::read(&image).unwrap().unwrap();
            let wrong = install(&image, &manifest, &Values::new([]), "", &disk).unwrap_err();
            assert!(wrong.contains("folder/up") && wrong.contains("an image"), "{wrong}");
        }
    }

    #[test]
    fn user_data_is_for_its_owner_also_where_another_file_was() {
        let folder = tempfile::tempdir().unwrap();
        let (image, disk) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&image).unwrap();
        let manifest =
            "command = ['/x']\nfiles = [{ from = 'open', to = 'a' }, { from = 'own', to = 'a', template = true }]";
        for (name, content) in [("image.toml", manifest), ("open", "for all"), ("own", "@USER_DATA@")] {
            fs::write(image.join(name), content).unwrap();
        }
        let manifest = Manifest::read(&image).unwrap().unwrap();
        install(&image, &manifest, &Values::new([("USER_DATA", "secret")]), "secret", &disk).unwrap();
        assert_eq!(fs::read_to_string(disk.join("a")).unwrap(), "secret");
        for name in ["a", "user-data"] {
            assert_eq!(fs::metadata(disk.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
}
