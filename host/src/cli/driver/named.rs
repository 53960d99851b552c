//! Which driver an argument names: an entry of `known_drivers`, or a file.

use std::path::{Path, PathBuf};

use crate::{
    cli::{exit::Failure, settings},
    config::{Drivers, KnownDriver},
};

/// The argument names a file when it looks like a path.
pub(super) fn file(name: &str) -> Option<PathBuf> {
    (name.contains('/') || Path::new(name).extension().is_some_and(|extension| extension == "so"))
        .then(|| PathBuf::from(name))
}

pub(super) fn known<'a>(drivers: &'a crate::config::KnownDrivers, name: &str) -> Result<&'a KnownDriver, Failure> {
    let wanted = |driver: &&KnownDriver| {
        driver.name == name || driver.key().strip_prefix("known_drivers.").is_some_and(|key| key == name)
    };
    let mut found = drivers.iter().filter(wanted);
    let names: Vec<String> =
        drivers.iter().map(|driver| driver.key().trim_start_matches("known_drivers.").to_owned()).collect();
    match (found.next(), found.next()) {
        (Some(driver), None) => Ok(driver),
        (Some(_), Some(_)) => {
            Err(Failure::Usage(format!("{name:?} names several drivers; write KIND.NAME: {}", names.join(", "))))
        }
        (None, _) => Err(Failure::Usage(format!("there is no driver {name:?}; known are: {}", names.join(", ")))),
    }
}

pub(super) fn library(drivers: &Drivers, driver: &KnownDriver) -> Result<PathBuf, Failure> {
    settings::library(drivers, driver).ok_or_else(|| {
        Failure::Usage(format!("{} names a command; only a library has a manifest in its file", driver.key()))
    })
}
