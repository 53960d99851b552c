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
    drivers::{self, LoadError, Registry, Stage},
};

/// How long a checked driver may take to close.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) async fn check(place: &Place, name: &str, driver_config: &str, trust: &Trust) -> Outcome {
    let scratch = Scratch::new()?;
    let (path, mut settings) = match file(name) {
        Some(path) => match drivers::inspect(&path, trust.admits_own()) {
            Ok(facts) => (Some(path), settings::one_file(facts, driver_config, scratch.path())?),
            Err(error) => return report(place, Some(error), trust.remark(&path)),
        },
        None => {
            let loaded = place.load()?;
            let driver = known(&loaded.config.known_drivers, name)?;
            let mut settings = settings::driver_settings(&loaded.config, |entry| entry.key() == driver.key());
            // The daemon that may be running owns the state directory.
            settings.state_dir = scratch.path().to_owned();
            (settings::library(&loaded.config.drivers, driver), settings)
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
    report(place, failure, path.and_then(|path| trust.remark(&path)))
}

/// Who admits driver files of this user: a file is judged as it would be when it is loaded.
pub(super) struct Trust(Option<String>);

impl Trust {
    /// By the option, else by the configuration in force; without one, root's files alone are admitted.
    pub(super) fn of(place: &Place, option: bool) -> Result<Self, Failure> {
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
