//! The load pipeline, stage by stage.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    cli::output,
    drivers::{LoadError, Registry, Settings, Stage},
};

/// How long a checked driver may take to close.
const CLOSE: Duration = Duration::from_secs(5);

/// Takes the one driver of `settings` through all stages and closes it again; answers why it did not pass.
pub(super) async fn load(settings: Settings) -> Option<LoadError> {
    let registry = Registry::open(settings).await;
    let failure = match &registry {
        Ok(registry) => registry.failures().into_iter().next(),
        Err(failed) => failed.0.first().cloned(),
    };
    if let Ok(registry) = registry {
        registry.close(CLOSE).await;
    }
    failure
}

/// Each stage that was reached, and how it went; `reached` is the last one where none failed.
fn rows(failure: Option<&LoadError>, reached: Stage) -> Vec<(&'static str, &'static str)> {
    let passed = |stage: &&Stage| failure.map_or(**stage <= reached, |error| **stage < error.stage);
    let mut rows: Vec<_> = Stage::ALL.iter().filter(passed).map(|stage| (stage.as_str(), "ok")).collect();
    rows.extend(failure.map(|error| (error.stage.as_str(), "failed")));
    rows
}

pub(super) fn as_json(failure: Option<&LoadError>, reached: Stage) -> Value {
    rows(failure, reached).iter().map(|(stage, result)| json!({ "stage": stage, "result": result })).collect()
}

pub(super) fn print(failure: Option<&LoadError>, reached: Stage) {
    rows(failure, reached).iter().for_each(|(stage, result)| output::line(&format!("{stage:15}{result}")));
}
