//! `capstan driver call`: for trying things.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    check::{self, Trust},
    named::{file, known, names, one},
    scratch::Scratch,
};
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
        settings,
    },
    drivers::{CallOptions, DriverEntry, Registry, Settings},
};

/// How long the driver may take to close.
const CLOSE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Arguments {
    /// A name of known_drivers (NAME or KIND.NAME), or a file
    driver: String,
    /// The method
    method: String,
    /// Its parameters
    #[arg(value_name = "JSON", default_value = "{}")]
    params: String,
    /// JSON configuration to open a file with
    #[arg(long, value_name = "JSON", default_value = "{}")]
    driver_config: String,
    /// Seconds until nobody waits any longer
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    deadline: f64,
    /// Folder for what the driver keeps with the host; without it nothing is kept
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Admit files of this user beside root's
    #[arg(long)]
    pub(super) trust_own_files: bool,
}

pub(super) async fn call(place: &Place, arguments: &Arguments, trust: &Trust) -> Outcome {
    let params: Value = json_of(&arguments.params, "the parameters are")?;
    let deadline = Duration::try_from_secs_f64(arguments.deadline)
        .map_err(|error| Failure::Usage(format!("--deadline {}: {error}", arguments.deadline)))?;
    let scratch = Scratch::new()?;
    let mut settings = settings(place, arguments, trust, &scratch).await?;
    settings.trust_own_files = trust.admits_own();
    settings.on_log = Some(Arc::new(|line: &str| output::note(line.trim())));
    let (kind, name) = settings
        .drivers
        .first()
        .map(|entry| (entry.kind, entry.name.clone()))
        .ok_or_else(|| Failure::Usage(format!("there is no driver {:?}", arguments.driver)))?;
    let registry = Registry::open(settings).await.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let handle = registry.handle(kind, &name).map_err(|error| Failure::Unavailable(error.to_string()))?;
    let options = CallOptions { deadline: Some(deadline), request_id: "call".to_owned(), ..CallOptions::default() };
    let answer = handle.call::<_, Value>(&arguments.method, &params, options).await;
    registry.close(CLOSE).await;
    match answer {
        Ok(answer) => {
            output::json(&answer);
            Ok(())
        }
        Err(error) => {
            if place.output == Output::Json {
                output::json(&json!({ "error": error }));
            }
            let listed = handle.manifest().methods.join(" ");
            let unknown = if handle.has(&arguments.method) { String::new() } else { format!("; it has {listed}") };
            Err(Failure::Failed(format!("{}: {error}{unknown}", error.code)))
        }
    }
}

fn json_of(text: &str, what: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::Usage(format!("{what} no JSON: {error}; write it in single quotes, as '{{\"device\": \"a\"}}'"))
    })
}

async fn settings(place: &Place, arguments: &Arguments, trust: &Trust, scratch: &Scratch) -> Result<Settings, Failure> {
    let state = arguments.state.clone().unwrap_or_else(|| scratch.path().join("state"));
    let state = std::path::absolute(&state).unwrap_or(state);
    let Some(path) = file(place, &arguments.driver) else {
        let loaded = place.load_with_lock()?;
        let driver = known(&loaded.config.known_drivers, &arguments.driver)?;
        let mut settings = settings::driver_settings(&loaded.config, |entry| entry.key() == driver.key());
        let instances = settings.drivers.drain(..);
        let instance = one(instances, &arguments.driver, DriverEntry::full_name, |entry| {
            names(&arguments.driver, entry.kind.as_str(), &entry.name)
        })?;
        settings.drivers = vec![instance];
        // The daemon that may be running owns its own.
        settings.state_dir = state;
        return Ok(settings);
    };
    let config = json_of(&arguments.driver_config, "--driver-config is")?;
    let entry = check::entry(&path, trust, scratch.path()).await.map_err(|error| trust.refused(&error, &path))??;
    let mut settings = Settings::new(state, "/");
    settings.drivers.push(DriverEntry { config, ..entry });
    Ok(settings)
}
