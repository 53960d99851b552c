//! `capstan driver info`.

use serde_json::Value;

use super::{
    named::{file, known, library},
    running,
};
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
    },
    drivers,
};

pub(super) async fn info(place: &Place, name: &str) -> Outcome {
    let (path, trusted, running) = match file(name) {
        Some(path) => (path, true, None),
        None => {
            let config = place.load()?.config;
            let driver = known(&config.known_drivers, name)?;
            let path = library(&config.drivers, driver)?;
            (path, config.drivers.trust_own_files, running::ask(place, driver).await)
        }
    };
    let facts = drivers::inspect(&path, trusted).map_err(|error| Failure::Failed(error.to_string()))?;
    if place.output == Output::Json {
        let mut shown = serde_json::to_value(&facts).map_err(|error| Failure::Bug(error.to_string()))?;
        shown["running"] = running.unwrap_or(Value::Null);
        output::json(&shown);
        return Ok(());
    }
    let manifest = facts.manifest;
    let glibc = facts.glibc.map(|version| format!("glibc {version} "));
    let rows = [
        ("name", manifest.name),
        ("version", manifest.version),
        ("vendor", manifest.vendor),
        ("description", manifest.description),
        ("kind", manifest.kind),
        ("interface", manifest.interface),
        ("epoch", manifest.epoch.to_string()),
        ("target", manifest.target),
        ("panic", manifest.panic),
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
    if let Some(running) = running {
        running::print(&running, &facts.sha256);
    }
    Ok(())
}
