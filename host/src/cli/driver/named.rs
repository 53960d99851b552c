//! Which driver an argument names: an entry of `known_drivers`, one of the instances that clouds of the farm have of it, or a file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    cli::{exit::Failure, place::Place},
    config::KnownDriver,
    drivers::{Kind, is_name},
};

/// The argument names a file when it cannot be the name of an entry, or when there is such a file and no configuration.
pub(super) fn file(place: &Place, name: &str) -> Option<PathBuf> {
    let may_be_entry = match entry_of(name).split_once('.') {
        Some((kind, name)) => Kind::from_name(kind).is_some() && is_name(name),
        None => is_name(entry_of(name)),
    };
    let is_file = !may_be_entry || !place.config.exists() && Path::new(name).exists();
    is_file.then(|| PathBuf::from(name))
}

/// The entry in `ENTRY@CLOUD`, which is what the instance for a cloud of the farm is called.
fn entry_of(name: &str) -> &str {
    name.split_once('@').map_or(name, |(entry, _)| entry)
}

/// Whether `wanted` (NAME or KIND.NAME, with or without @CLOUD) names the driver `name` of this kind.
pub(super) fn names(wanted: &str, kind: &str, name: &str) -> bool {
    let name = if wanted.contains('@') { name } else { entry_of(name) };
    wanted == name || wanted.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) == Some(name)
}

/// An entry of the configuration.
pub(super) fn known<'a>(drivers: &'a crate::config::KnownDrivers, name: &str) -> Result<&'a KnownDriver, Failure> {
    let full_name = |driver: &&KnownDriver| format!("{}.{}", driver.kind, driver.name);
    let wanted = entry_of(name);
    one(drivers.iter(), name, full_name, |driver| names(wanted, driver.kind.as_str(), &driver.name))
}

/// Kind and name of a driver in the daemon's list.
pub(super) fn loaded<'a>(list: &'a Value, name: &str) -> Result<(&'a str, &'a str), Failure> {
    let drivers = list["drivers"].as_array().into_iter().flatten();
    let all = drivers.filter_map(|driver| Some((driver["kind"].as_str()?, driver["name"].as_str()?)));
    one(all, name, |(kind, name)| format!("{kind}.{name}"), |(kind, found)| names(name, kind, found))
}

/// The only one of those that a name means.
pub(super) fn one<T>(
    all: impl Iterator<Item = T>,
    name: &str,
    full_name: impl Fn(&T) -> String,
    is_meant: impl Fn(&T) -> bool,
) -> Result<T, Failure> {
    let all: Vec<T> = all.collect();
    let known: Vec<String> = all.iter().map(&full_name).collect();
    let mut found: Vec<T> = all.into_iter().filter(is_meant).collect();
    let names: Vec<String> = found.iter().map(&full_name).collect();
    match (found.pop(), found.pop()) {
        (Some(driver), None) => Ok(driver),
        (Some(_), Some(_)) => {
            Err(Failure::Usage(format!("{name:?} names several drivers; write one of {}", names.join(", "))))
        }
        (None, _) => {
            let is_file = Path::new(name).exists();
            let file = if is_file { format!("; the file of that name is ./{name}") } else { String::new() };
            Err(Failure::Usage(format!("there is no driver {name:?}; known are: {}{file}", known.join(", "))))
        }
    }
}
