//! Which driver an argument names: an entry of `known_drivers`, or a file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    cli::{exit::Failure, settings},
    config::{Drivers, KnownDriver},
};

/// The argument names a file when it looks like a path.
pub(super) fn file(name: &str) -> Option<PathBuf> {
    (name.contains('/') || name == "." || Path::new(name).extension().is_some_and(|extension| extension == "so"))
        .then(|| PathBuf::from(name))
}

pub(super) fn known<'a>(drivers: &'a crate::config::KnownDrivers, name: &str) -> Result<&'a KnownDriver, Failure> {
    let wanted = |driver: &&KnownDriver| {
        driver.name == name || driver.key().strip_prefix("known_drivers.").is_some_and(|key| key == name)
    };
    let names: Vec<String> =
        drivers.iter().map(|driver| driver.key().trim_start_matches("known_drivers.").to_owned()).collect();
    one(drivers.iter().filter(wanted), name, &names)
}

/// Kind and name of a driver in the daemon's list.
pub(super) fn loaded<'a>(list: &'a Value, name: &str) -> Result<(&'a str, &'a str), Failure> {
    let drivers = list["drivers"].as_array().into_iter().flatten();
    let all: Vec<(&str, &str)> =
        drivers.filter_map(|driver| Some((driver["kind"].as_str()?, driver["name"].as_str()?))).collect();
    let full_name = |(kind, name): &(&str, &str)| format!("{kind}.{name}");
    let names: Vec<String> = all.iter().map(full_name).collect();
    one(all.into_iter().filter(|driver| driver.1 == name || full_name(driver) == name), name, &names)
}

/// The only one of those that a name means.
fn one<T>(mut found: impl Iterator<Item = T>, name: &str, names: &[String]) -> Result<T, Failure> {
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
