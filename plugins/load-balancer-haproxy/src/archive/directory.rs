//! Into a directory of this machine, below the one that the operator set aside.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Component, Path},
};

use capstan_plugin_api::DriverError;

use super::log::Packed;
use crate::{
    device::{Fault, Staged},
    settings::Settings,
};

/// Copies the packed log. The request names the directory, so it may only name one below `archive_directory`.
pub fn put(settings: &Settings, basepath: &str, object: &str, packed: &Packed) -> Result<(), DriverError> {
    let root = &settings.archive_directory;
    let refuse = |found: String| {
        Err(DriverError::invalid_argument("The archive directory cannot be used.").for_operator(format!(
            "{basepath:?} {found}; a directory below archive_directory = {} was expected",
            root.display()
        )))
    };
    let path = root.join(basepath);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    if !path.starts_with(root) || !path.components().all(plain) {
        return refuse("lies elsewhere".to_owned());
    }
    let to = path.join(object);
    let place = to.parent().unwrap_or(&path);
    make(root)?;
    let real = |path: &Path| fs::canonicalize(path).map_err(Fault::file("look at", path));
    let inside = place.ancestors().find(|path| path.exists()).unwrap_or(root);
    if !real(inside)?.starts_with(real(root)?) {
        return refuse("leads elsewhere through a link".to_owned());
    }
    make(place)?;
    if to.exists() {
        return Err(DriverError::new(
            capstan_plugin_api::ErrorCode::ALREADY_EXISTS,
            "An archive of this second exists already; try again.",
        ));
    }
    let bytes = fs::read(&packed.path).map_err(Fault::file("read", &packed.path))?;
    Ok(Staged::commit(&[Staged::write(&to, &bytes)?])?)
}

fn make(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Fault::file("make the directory", path))
}
