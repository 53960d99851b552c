//! `capstan driver info`.

use serde_json::Value;

use super::{
    check::{self, Trust},
    named::{file, known},
    running,
    scratch::Scratch,
};
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
        settings,
    },
    drivers::{self, DriverFile, LoadError},
};

pub(super) async fn info(place: &Place, name: &str, trust_own_files: bool) -> Outcome {
    let trust = || Trust::of(place, trust_own_files);
    let (facts, running) = match file(place, name) {
        // A library is only read, whoever owns it; a program is run.
        Some(path) if drivers::is_library(&path) => (drivers::inspect(&path, true), None),
        Some(path) => {
            let (trust, scratch) = (trust()?, Scratch::new()?);
            let greeted = check::greet(&path, &trust, scratch.path()).await;
            (Ok(greeted.map_err(|error| trust.refused(&error, &path))?), None)
        }
        None => named(place, name, &trust()?).await?,
    };
    let facts = facts.map_err(|error| Failure::Failed(error.to_string()))?;
    if place.output == Output::Json {
        let mut shown = serde_json::to_value(&facts).map_err(|error| Failure::Bug(error.to_string()))?;
        shown["running"] = running.unwrap_or(Value::Null);
        output::json(&shown);
        return Ok(());
    }
    print(&facts);
    if let Some(running) = running {
        running::print(&running, &facts.sha256);
    }
    Ok(())
}

/// What an entry's library says in its file, or its command in its hello; and what the daemon says of it.
async fn named(
    place: &Place,
    name: &str,
    trust: &Trust,
) -> Result<(Result<DriverFile, LoadError>, Option<Value>), Failure> {
    let loaded = place.load_with_lock()?;
    let driver = known(&loaded.config.known_drivers, name)?;
    let facts = match settings::library(&loaded.config.drivers, driver) {
        Some(path) => drivers::inspect(&path, trust.admits_own()),
        None => {
            let scratch = Scratch::new()?;
            let mut settings = settings::driver_settings(&loaded.config, |entry| entry.key() == driver.key());
            // The daemon that may be running owns the state directory.
            settings.state_dir = scratch.path().to_owned();
            settings.trust_own_files = trust.admits_own();
            let entry = settings.drivers.pop().ok_or_else(|| Failure::Bug(format!("{} is gone", driver.key())))?;
            drivers::greet(settings, entry).await
        }
    };
    Ok((facts, running::ask(place, driver).await))
}

fn print(facts: &DriverFile) {
    let manifest = &facts.manifest;
    let glibc = facts.glibc.map(|version| format!("glibc {version} "));
    let rows = [
        ("name", manifest.name.clone()),
        ("version", manifest.version.clone()),
        ("vendor", manifest.vendor.clone()),
        ("description", manifest.description.clone()),
        ("kind", manifest.kind.clone()),
        ("interface", manifest.interface.clone()),
        // A command speaks the protocol and has no epoch.
        ("epoch", Some(manifest.epoch).filter(|epoch| *epoch > 0).map_or_else(String::new, |epoch| epoch.to_string())),
        ("target", manifest.target.clone()),
        ("panic", manifest.panic.clone()),
        ("serial by", manifest.serial_by.as_str().to_owned()),
        ("methods", manifest.methods.join(" ")),
        ("calls", manifest.calls.join(" ")),
        ("secrets", manifest.secrets.join(" ")),
        ("needs", format!("{}{}", glibc.unwrap_or_default(), facts.libraries.join(" "))),
        ("file", facts.path.display().to_string()),
        ("bytes", facts.size.to_string()),
        ("sha256", facts.sha256.clone()),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        output::line(&format!("{name:12}{value}"));
    }
    output::line("configuration schema");
    output::json(&manifest.config_schema);
}
