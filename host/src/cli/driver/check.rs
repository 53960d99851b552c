//! `capstan driver check`.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::named::{file, known};
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
        settings,
    },
    drivers::{LoadError, Registry, Stage},
};

/// How long a checked driver may take to close.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) async fn check(place: &Place, name: &str, driver_config: &str) -> Outcome {
    let scratch = Scratch::new()?;
    let settings = match file(name) {
        Some(path) => settings::one_file(&path, driver_config, scratch.path())?,
        None => {
            let loaded = place.load()?;
            let driver = known(&loaded.config.known_drivers, name)?;
            let mut settings = settings::driver_settings(&loaded.config, |entry| entry.key() == driver.key());
            // The daemon that may be running owns the state directory.
            settings.state_dir = scratch.path().to_owned();
            settings
        }
    };
    let registry = Registry::open(settings).await;
    let failure = match &registry {
        Ok(registry) => registry.failures().into_iter().next(),
        Err(failed) => failed.0.first().cloned(),
    };
    if let Ok(registry) = registry {
        registry.close(CLOSE).await;
    }
    report(place, failure.as_ref());
    failure.map_or(Ok(()), |error| Err(Failure::Failed(error.to_string())))
}

/// Each stage that was reached, and how it went.
fn report(place: &Place, failure: Option<&LoadError>) {
    let passed = |stage: &&Stage| failure.is_none_or(|error| **stage < error.stage);
    let mut rows: Vec<(&str, &str)> = Stage::ALL.iter().filter(passed).map(|stage| (stage.as_str(), "ok")).collect();
    rows.extend(failure.map(|error| (error.stage.as_str(), "failed")));
    match place.output {
        Output::Json => output::json(&json!({
            "stages": rows.iter().map(|(stage, result)| json!({ "stage": stage, "result": result })).collect::<Vec<_>>(),
            "error": failure,
        })),
        Output::Table => rows.iter().for_each(|(stage, result)| output::line(&format!("{stage:15}{result}"))),
    }
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
