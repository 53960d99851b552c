//! `capstan driver`: list, info, check.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    exit::{Failure, Outcome},
    output::{self, Output, seconds},
    place::{Place, runtime},
    settings,
};
use crate::{
    config::{Drivers, KnownDriver},
    drivers::{self, LoadError, Registry, Stage},
};

/// How long a checked driver may take to close.
const CLOSE: Duration = Duration::from_secs(5);

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
        /// Admit files of this user beside root's, as a daemon with drivers.trust_own_files = true does
        #[arg(long)]
        trust_own_files: bool,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    match command {
        Command::List => runtime()?.block_on(list(place)),
        Command::Info { driver } => info(place, &driver),
        Command::Check { driver, driver_config, trust_own_files } => {
            let trust = Trust::of(place, trust_own_files)?;
            runtime()?.block_on(check(place, &driver, &driver_config, &trust))
        }
    }
}

async fn list(place: &Place) -> Outcome {
    let answer = place.daemon()?.get("/drivers/v1").await?;
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
                seconds(driver["p50"].as_f64().unwrap_or(0.0)),
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
    let (path, trusted) = match file(name) {
        Some(path) => (path, true),
        None => {
            let config = place.load()?.config;
            let driver = known(&config.known_drivers, name)?;
            (library(&config.drivers, driver)?, config.drivers.trust_own_files)
        }
    };
    let facts = drivers::inspect(&path, trusted).map_err(|error| Failure::Failed(error.to_string()))?;
    if place.output == Output::Json {
        output::json(&serde_json::to_value(&facts).map_err(|error| Failure::Bug(error.to_string()))?);
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
        ("sha256", facts.sha256),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        output::line(&format!("{name:12}{value}"));
    }
    output::line("configuration schema");
    output::json(&manifest.config_schema);
    Ok(())
}

async fn check(place: &Place, name: &str, driver_config: &str, trust: &Trust) -> Outcome {
    let scratch = Scratch::new()?;
    let (path, mut settings) = match file(name) {
        Some(path) => match drivers::inspect(&path, trust.admits_own()) {
            Ok(facts) => (path, settings::one_file(facts, driver_config, scratch.path())?),
            Err(error) => return report(place, Some(error), trust.remark(&path)),
        },
        None => {
            let loaded = place.load()?;
            let driver = known(&loaded.config.known_drivers, name)?;
            let mut settings = settings::driver_settings(&loaded.config, |entry| entry.key() == driver.key())?;
            // The daemon that may be running owns the state directory.
            settings.state_dir = scratch.path().to_owned();
            (library(&loaded.config.drivers, driver)?, settings)
        }
    };
    settings.trust_own_files = trust.admits_own();
    let registry = Registry::open(settings).await;
    let failure = match &registry {
        Ok(registry) => registry.failures().into_iter().next(),
        Err(failed) => failed.0.first().cloned(),
    };
    if let Ok(registry) = registry {
        registry.close(CLOSE).await;
    }
    report(place, failure, trust.remark(&path))
}

/// Who admits driver files of this user: a file is judged as it would be when it is loaded.
struct Trust(Option<String>);

impl Trust {
    /// By the option, else by the configuration in force; without one, root's files alone are admitted.
    fn of(place: &Place, option: bool) -> Result<Self, Failure> {
        if option {
            return Ok(Self(Some("--trust-own-files".to_owned())));
        }
        if !place.config.exists() {
            return Ok(Self(None));
        }
        let loaded = place.load()?;
        let origin = loaded.origin("drivers.trust_own_files").map(ToString::to_string).unwrap_or_default();
        let admits = loaded.config.drivers.trust_own_files;
        Ok(Self(admits.then(|| format!("drivers.trust_own_files = true ({origin})"))))
    }

    fn admits_own(&self) -> bool {
        self.0.is_some()
    }

    /// What to know where the file passes one way and not the other.
    fn remark(&self, path: &Path) -> Option<String> {
        let refusal = |admits_own| drivers::inspect(path, admits_own).err().filter(|error| error.stage == Stage::File);
        let strict = refusal(false)?;
        match &self.0 {
            Some(who) => {
                let LoadError { found, expected, remedy, .. } = strict;
                Some(format!("only {who} admits this file: found {found}; expected {expected}; {remedy}"))
            }
            None if refusal(true).is_none() => {
                Some("for development, --trust-own-files checks it as drivers.trust_own_files = true would".to_owned())
            }
            None => None,
        }
    }
}

/// Each stage that was reached and how it went, and a remark beside.
fn report(place: &Place, failure: Option<LoadError>, remark: Option<String>) -> Outcome {
    let passed = |stage: &&Stage| failure.as_ref().is_none_or(|error| **stage < error.stage);
    let mut rows: Vec<(&str, &str)> = Stage::ALL.iter().filter(passed).map(|stage| (stage.as_str(), "ok")).collect();
    rows.extend(failure.as_ref().map(|error| (error.stage.as_str(), "failed")));
    match place.output {
        Output::Json => output::json(&json!({
            "stages": rows.iter().map(|(stage, result)| json!({ "stage": stage, "result": result })).collect::<Vec<_>>(),
            "error": failure,
            "remark": remark,
        })),
        Output::Table => {
            rows.iter().for_each(|(stage, result)| output::line(&format!("{stage:15}{result}")));
            if let Some(remark) = remark {
                output::note(&format!("note: {remark}"));
            }
        }
    }
    failure.map_or(Ok(()), |error| Err(Failure::Failed(error.to_string())))
}

/// A directory for the one load, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("capstan-check-{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::Unavailable(format!("{} cannot be created: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _what_is_left_is_in_the_temporary_folder = std::fs::remove_dir_all(&self.0);
    }
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
    settings::library(drivers, driver).ok_or_else(|| {
        Failure::Usage(format!("{} names a command; only a library has a manifest in its file", driver.key()))
    })
}
