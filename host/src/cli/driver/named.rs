//! Which driver an argument names: an entry of `known_drivers`, or a file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    cli::{exit::Failure, place::Place},
    config::KnownDriver,
    drivers::{Kind, is_name},
};

/// The argument names a file when it cannot be the name of an entry, or when there is such a file and no configuration.
pub(super) fn file(place: &Place, name: &str) -> Option<PathBuf> {
    let may_be_entry = match name.split_once('.') {
        Some((kind, name)) => Kind::from_name(kind).is_some() && is_name(name),
        None => is_name(name),
    };
    let is_file = !may_be_entry || !place.config.exists() && Path::new(name).exists();
    is_file.then(|| PathBuf::from(name))
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
        (None, _) => {
            let is_file = Path::new(name).exists();
            let file = if is_file { format!("; the file of that name is ./{name}") } else { String::new() };
            Err(Failure::Usage(format!("there is no driver {name:?}; known are: {}{file}", names.join(", "))))
        }
    }
}
