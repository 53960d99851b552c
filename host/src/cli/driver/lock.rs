//! `capstan driver lock`.

use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
        settings,
    },
    config::{Config, DriverLock, LockedFile, lock_file},
    drivers::{self, Difference, LoadError},
};

/// The lock file is drivers.lock beside the configuration: path, SHA-256 and version of each entry's file. While it is there, a
/// driver whose file differs is not loaded. A running daemon reads it anew with its configuration (SIGHUP).
#[derive(Debug, Args)]
#[command(
    after_help = "After an update: `capstan driver lock --check` tells what changed, `capstan driver lock` accepts it."
)]
pub struct Arguments {
    /// Write nothing; tell each difference, and end with 1 if there is one
    #[arg(long)]
    check: bool,
}

pub(super) fn lock(place: &Place, Arguments { check }: &Arguments) -> Outcome {
    let config = place.load()?.config;
    let path = lock_file(&place.config);
    let present = DriverLock::read(&path).map(Option::unwrap_or_default).or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        // What is about to be written replaces it.
        if *check { Err(Failure::Usage(faults.join("\n"))) } else { Ok(DriverLock::default()) }
    })?;
    let (found, refused) = found(&config);
    let unreadable = |one: &Difference| refused.iter().any(|error| *error.driver == *one.driver);
    let differences: Vec<Difference> =
        drivers::differences(&present, &found).into_iter().filter(|difference| !unreadable(difference)).collect();
    if !check && refused.is_empty() {
        drivers::write_public(&path, &found.to_toml())
            .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", path.display())))?;
    }
    report(place, &path, &differences, &refused);
    match (check, refused.len(), differences.len()) {
        (_, 0, 0) | (false, 0, _) => Ok(()),
        (false, count, _) => Err(Failure::Failed(format!(
            "{count} of the files cannot be locked and nothing was written; mend them, or remove their entries"
        ))),
        (true, ..) => Err(Failure::Failed(format!(
            "{} and the drivers' files differ; if that is meant, run capstan driver lock",
            path.display()
        ))),
    }
}

/// What there is, and the files that are refused.
fn found(config: &Config) -> (DriverLock, Vec<LoadError>) {
    let (mut lock, mut refused) = (DriverLock::default(), Vec::new());
    let settings = settings::driver_settings(config, |_| true);
    for entry in &settings.drivers {
        match drivers::fingerprint(&settings, entry) {
            Ok(file) => lock.insert(entry.kind, &entry.name, file),
            Err(error) => refused.push(error),
        }
    }
    (lock, refused)
}

fn report(place: &Place, path: &Path, differences: &[Difference], refused: &[LoadError]) {
    if place.output == Output::Json {
        return output::json(&json!({
            "lock_file": path.display().to_string(), "differences": differences, "refused": refused,
        }));
    }
    for Difference { driver, difference, locked, found } in differences {
        let told = match (*difference, locked, found) {
            ("moved", Some(locked), Some(found)) => {
                format!("{} -> {}", locked.path.display(), found.path.display())
            }
            (_, locked, found) => {
                [locked, found].map(|file| file.as_ref().map_or_else(|| "none".to_owned(), described)).join(" -> ")
            }
        };
        output::line(&format!("{driver}: {difference}: {told}"));
    }
    refused.iter().for_each(|error| output::note(&error.to_string()));
    if differences.is_empty() && refused.is_empty() {
        output::line(&format!("{} is up to date", path.display()));
    }
}

/// Version and hash, as much of it as tells files apart.
fn described(file: &LockedFile) -> String {
    let version = file.version.as_ref().map(|version| format!("{version} ")).unwrap_or_default();
    format!("{version}sha256 {}", file.sha256.get(..16).unwrap_or_default())
}
