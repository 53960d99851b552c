//! Runs the conformance kit and shows it.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Arguments, trust::Trust};
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output},
        place::Place,
    },
    conformance::{self, Outcome, Release, Subject},
    drivers::DriverEntry,
};

/// What a run came to.
pub(super) struct Ran {
    pub has_failed: bool,
    pub summary: String,
    pub checks: Value,
    junit: String,
}

/// The configuration to open a driver with, and what may be done with it.
pub(super) struct Config {
    value: Value,
    is_live: bool,
    is_backend_shared: bool,
}

/// The file of `--live`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Live {
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    conformance: Conformance,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conformance {
    #[serde(default)]
    shared_backend: bool,
}

impl Config {
    pub fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let empty = json!({});
        if let Some(path) = &arguments.live {
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("--live {}: it cannot be read: {error}", path.display())))?;
            let live: Live = toml::from_str(&text)
                .map_err(|error| Failure::Usage(format!("--live {}: {}", path.display(), error.to_string().trim())))?;
            return Ok(Self {
                value: live.config.unwrap_or(empty),
                is_live: true,
                is_backend_shared: live.conformance.shared_backend,
            });
        }
        let value = match &arguments.driver_config {
            None => empty,
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Failure::Usage(format!("--driver-config is no JSON: {error}")))?,
        };
        Ok(Self { value, is_live: false, is_backend_shared: false })
    }

    pub fn given(&self) -> Value {
        self.value.clone()
    }
}

pub(super) async fn run(
    place: &Place,
    entry: DriverEntry,
    config: &Config,
    release: Option<Release>,
    trust: &Trust,
    scratch: &Path,
) -> Result<Ran, Failure> {
    let executable = std::env::current_exe()
        .map_err(|error| Failure::Unavailable(format!("this binary is not to be found: {error}")))?;
    let subject = Subject {
        entry,
        scratch: scratch.to_owned(),
        executable,
        trust_own_files: trust.admits_own(),
        is_live: config.is_live,
        is_backend_shared: config.is_backend_shared,
        release,
    };
    let is_shown = place.output == Output::Table;
    let mut tell = |outcome: &Outcome| {
        if is_shown {
            show(outcome);
        }
    };
    let report = conformance::run(&subject, &mut tell).await;
    if is_shown {
        output::line(&report.summary());
    }
    Ok(Ran {
        has_failed: report.has_failed(),
        summary: report.summary(),
        checks: json!(report.outcomes()),
        junit: report.junit(),
    })
}

fn show(outcome: &Outcome) {
    let mode = outcome.isolation.map_or("file", |isolation| isolation.as_str());
    let Outcome { check, verdict, detail, .. } = outcome;
    output::line(&format!("{:9}{mode:12}{check:18}{detail}", verdict.as_str()));
}

pub(super) fn write_junit<'a>(path: &Path, all: impl Iterator<Item = &'a Ran>) -> Result<(), Failure> {
    let suites: String = all.map(|ran| ran.junit.as_str()).collect();
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n{suites}</testsuites>\n");
    fs::write(path, xml).map_err(|error| Failure::Failed(format!("--junit {}: {error}", path.display())))
}
