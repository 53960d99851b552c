//! `capstan driver`: list, info, check.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Place,
    client::Daemon,
    config,
    exit::{Failure, Outcome},
    output::{self, Output, seconds},
    serve,
};
use crate::{
    config::{DriverSchemas, Drivers, InstanceConfig, KnownDriver, SchemaFault},
    drivers,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What the daemon has loaded, in which state, and how it does
    List,
    /// Manifest, configuration schema, methods and hash of a driver, without running a line of it
    Info {
        /// A name of known_drivers (NAME or KIND.NAME), or a file
        driver: String,
    },
    /// Take a driver through the load pipeline up to its first health check, in this process, and report each stage
    Check {
        /// A name of known_drivers (NAME or KIND.NAME), or a file
        driver: String,
        /// JSON configuration to open a file with
        #[arg(long, value_name = "JSON", default_value = "{}")]
        driver_config: String,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    match command {
        Command::List => serve::runtime()?.block_on(list(place)),
        Command::Info { driver } => info(place, &driver),
        Command::Check { driver, driver_config } => serve::runtime()?.block_on(check(place, &driver, &driver_config)),
    }
}

/// The running daemon, by the options or by the configuration.
fn daemon(place: &Place) -> Result<Daemon, Failure> {
    match (&place.url, &place.socket) {
        (Some(url), _) => Daemon::from_url(url),
        (None, Some(socket)) => Ok(Daemon::Socket(socket.clone())),
        (None, None) => Ok(Daemon::Socket(config::load(place, &[])?.config.http.socket)),
    }
}

async fn list(place: &Place) -> Outcome {
    let answer = daemon(place)?.get("/drivers/v1").await?;
    if place.output == Output::Json {
        output::json(&answer);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows: Vec<Vec<String>> = answer["drivers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|driver| {
            let errors: u64 =
                driver["errors"].as_object().map_or(0, |codes| codes.values().filter_map(Value::as_u64).sum());
            vec![
                text(&driver["name"]),
                text(&driver["kind"]),
                text(&driver["state"]),
                text(&driver["version"]),
                text(&driver["isolation"]),
                driver["calls"].to_string(),
                errors.to_string(),
                seconds(driver["p50_seconds"].as_f64().unwrap_or(0.0)),
            ]
        })
        .collect();
    output::table(&["NAME", "KIND", "STATE", "VERSION", "ISOLATION", "CALLS", "ERRORS", "P50"], rows);
    for driver in answer["drivers"].as_array().into_iter().flatten() {
        if let Some(error) = driver["last_error"].as_str() {
            output::note(&format!("{}: {error}", text(&driver["name"])));
        }
    }
    Ok(())
}

fn info(place: &Place, name: &str) -> Outcome {
    let path = match file(name) {
        Some(path) => path,
        None => {
            let loaded = config::load(place, &[])?;
            let driver = known(&loaded.config.known_drivers, name)?;
            library(&loaded.config.drivers, driver)?
        }
    };
    let facts = drivers::inspect(&path).map_err(|error| Failure::Failed(error.to_string()))?;
    let manifest = &facts.manifest;
    if place.output == Output::Json {
        output::json(&json!({
            "path": path, "sha256": facts.sha256, "bytes": facts.bytes, "needs": facts.needs, "manifest": manifest,
        }));
        return Ok(());
    }
    let rows = [
        ("name", manifest.name.clone()),
        ("version", manifest.version.clone()),
        ("vendor", manifest.vendor.clone()),
        ("description", manifest.description.clone()),
        ("kind", manifest.kind.clone()),
        ("interface", manifest.interface.clone()),
        ("epoch", manifest.epoch.to_string()),
        ("target", manifest.target.clone()),
        ("panic", manifest.panic.clone()),
        ("serial by", format!("{:?}", manifest.serial_by).to_lowercase()),
        ("methods", manifest.methods.join(" ")),
        ("calls", manifest.calls.join(" ")),
        ("secrets", manifest.secrets.join(" ")),
        ("needs", facts.needs.join(" ")),
        ("file", path.display().to_string()),
        ("sha256", facts.sha256.clone()),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        output::line(&format!("{name:12}{value}"));
    }
    output::line("configuration schema");
    output::json(&manifest.config_schema);
    Ok(())
}

async fn check(place: &Place, name: &str, driver_config: &str) -> Outcome {
    let settings = match file(name) {
        Some(path) => serve::one_file(&path, driver_config)?,
        None => {
            let loaded = config::load(place, &[])?;
            let driver = known(&loaded.config.known_drivers, name)?;
            serve::driver_settings(&loaded.config, |entry| entry.key() == driver.key())?
        }
    };
    let report = drivers::check(settings).await;
    for line in &report.stages {
        output::line(line);
    }
    report.result.map_err(|error| Failure::Failed(error.to_string()))
}

/// The argument names a file when it looks like a path.
fn file(name: &str) -> Option<PathBuf> {
    (name.contains('/') || Path::new(name).extension().is_some_and(|extension| extension == "so"))
        .then(|| PathBuf::from(name))
}

fn known<'a>(drivers: &'a crate::config::KnownDrivers, name: &str) -> Result<&'a KnownDriver, Failure> {
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

fn library(drivers: &Drivers, driver: &KnownDriver) -> Result<PathBuf, Failure> {
    serve::library(drivers, driver).ok_or_else(|| {
        Failure::Usage(format!("{} names a command; only a library has a manifest in its file", driver.key()))
    })
}

/// The configuration room's way to the drivers' schemas: the manifest is read, the driver is not run.
pub struct Schemas;

impl DriverSchemas for Schemas {
    fn faults(&self, drivers: &Drivers, driver: &KnownDriver, config: &InstanceConfig) -> Vec<SchemaFault> {
        // A file that cannot be read is told of when the driver is loaded.
        let Some(facts) = serve::library(drivers, driver).and_then(|path| drivers::inspect(&path).ok()) else {
            return Vec::new();
        };
        drivers::schema_faults(&facts.manifest, &config.resolved())
            .into_iter()
            .map(|(pointer, expected)| SchemaFault { pointer, expected })
            .collect()
    }
}
