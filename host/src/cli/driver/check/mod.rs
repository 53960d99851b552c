//! `capstan driver check`: the load pipeline, and for a file the conformance kit after it.

mod kit;
mod stages;
mod trust;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde_json::{Value, json};

pub(super) use trust::Trust;

use super::{
    named::{file, known},
    scratch::Scratch,
};
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
        settings,
    },
    conformance::Release,
    drivers::{self, DriverEntry, DriverFile, DriverProgram, Kind, LoadError, Settings, Stage},
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// A file (a library, or a program that speaks the driver protocol), a folder of libraries, or a name of known_drivers
    /// (NAME or KIND.NAME)
    driver: String,
    /// JSON configuration to open a file with; what its schema demands is made up without it
    #[arg(long, value_name = "JSON", conflicts_with = "live")]
    driver_config: Option<String>,
    /// Also make the calls that change something, with the configuration in this TOML file: [config] is the driver's section,
    /// conformance.shared_backend = true says that two instances see the same things
    #[arg(long, value_name = "FILE")]
    live: Option<PathBuf>,
    /// Hold the file against the C library of another system, such as debian12
    #[arg(long = "for", value_name = "SYSTEM")]
    release: Option<Release>,
    /// Take a file through the load pipeline only
    #[arg(long)]
    load_only: bool,
    /// Write the checks as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Admit files of this user beside root's, as a daemon with drivers.trust_own_files = true does
    #[arg(long)]
    pub(super) trust_own_files: bool,
}

/// What came of one driver.
struct Checked {
    file: String,
    failure: Option<LoadError>,
    remark: Option<String>,
    kit: Option<kit::Ran>,
    /// The last stage that it passed where no failure says so.
    reached: Stage,
}

impl Checked {
    fn has_failed(&self) -> bool {
        self.failure.is_some() || self.kit.as_ref().is_some_and(|kit| kit.has_failed)
    }

    fn as_json(&self) -> Value {
        let Self { file, failure, remark, kit, reached } = self;
        let mut value = json!({
            "driver": file,
            "stages": stages::as_json(failure.as_ref(), *reached),
            "error": failure,
            "remark": remark,
        });
        if let (Some(table), Some(kit)) = (value.as_object_mut(), kit) {
            table.insert("checks".to_owned(), kit.checks.clone());
            table.insert("summary".to_owned(), json!(kit.summary));
        }
        value
    }
}

pub(super) async fn check(place: &Place, arguments: &Arguments, trust: &Trust) -> Outcome {
    let Some(path) = file(place, &arguments.driver) else {
        let checked = named(place, &arguments.driver, trust).await?;
        return report(place, arguments, &[checked], false);
    };
    if !path.is_dir() {
        let checked = one(place, arguments, &path, trust).await?;
        return report(place, arguments, &[checked], false);
    }
    let files = libraries(&path)?;
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        if place.output == Output::Table {
            output::line(&format!("== {}", file.display()));
        }
        all.push(one(place, arguments, &file, trust).await?);
    }
    report(place, arguments, &all, true)
}

fn libraries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| Failure::Usage(format!("{} cannot be read: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Failure::Usage(format!("no .so file lies in {}", folder.display())));
    }
    files.sort_unstable();
    Ok(files)
}

/// An entry of the table: the stages, with the configuration in force. No call is made to what may be a real backend.
async fn named(place: &Place, name: &str, trust: &Trust) -> Result<Checked, Failure> {
    let scratch = Scratch::new()?;
    let loaded = place.load_with_lock()?;
    let driver = known(&loaded.config.known_drivers, name)?;
    let mut settings = settings::driver_settings(&loaded.config, |entry| entry.key() == driver.key());
    // The daemon that may be running owns the state directory.
    settings.state_dir = scratch.path().to_owned();
    settings.trust_own_files = trust.admits_own();
    let path = settings::library(&loaded.config.drivers, driver);
    let failure = stages::load(settings).await;
    finished(place, name.to_owned(), failure, path.and_then(|path| trust.remark(&path)), None)
}

async fn one(place: &Place, arguments: &Arguments, path: &Path, trust: &Trust) -> Result<Checked, Failure> {
    let scratch = Scratch::new()?;
    let shown = path.display().to_string();
    let config = kit::Config::of(arguments)?;
    let entry = match entry(path, trust, scratch.path()).await {
        Ok(entry) => DriverEntry { config: config.given(), ..entry? },
        Err(error) => return finished(place, shown, Some(error), trust.remark(path), None),
    };
    let remark = trust.remark(path);
    if arguments.load_only || arguments.driver_config.is_some() {
        let mut settings = Settings::new(scratch.path().join("load"), "/");
        settings.trust_own_files = trust.admits_own();
        settings.drivers.push(entry.clone());
        let failure = stages::load(settings).await;
        if failure.is_some() || arguments.load_only {
            return finished(place, shown, failure, remark, None);
        }
    }
    // The kit loads it itself; without a configuration of its own it has been looked at only.
    let reached = if arguments.driver_config.is_some() { Stage::Health } else { Stage::Manifest };
    if place.output == Output::Table {
        stages::print(None, reached);
    }
    let ran = kit::run(place, entry, &config, arguments.release, trust, scratch.path()).await?;
    Ok(Checked { file: shown, failure: None, remark, kit: Some(ran), reached })
}

/// The entry that a file would have.
pub(super) async fn entry(
    path: &Path,
    trust: &Trust,
    scratch: &Path,
) -> Result<Result<DriverEntry, Failure>, LoadError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if drivers::is_library(&absolute) {
        let file = drivers::inspect(&absolute, trust.admits_own())?;
        return Ok(settings::entry_of(&file.manifest, DriverProgram::Library(absolute)));
    }
    let greeted = greet(&absolute, trust, scratch).await?;
    Ok(settings::entry_of(&greeted.manifest, command(&absolute)))
}

/// What a program that no configuration names says of itself.
pub(super) async fn greet(path: &Path, trust: &Trust, scratch: &Path) -> Result<DriverFile, LoadError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut entry = DriverEntry::new(Kind::Cloud, "hello", "");
    entry.program = command(&absolute);
    let mut settings = Settings::new(scratch.join("hello"), "/");
    settings.trust_own_files = trust.admits_own();
    // What it prints before its hello tells why there is none.
    settings.on_log = Some(Arc::new(|line: &str| output::note(line.trim())));
    drivers::greet(settings, entry).await
}

fn command(program: &Path) -> DriverProgram {
    DriverProgram::Command(vec![program.display().to_string()])
}

fn finished(
    place: &Place,
    file: String,
    failure: Option<LoadError>,
    remark: Option<String>,
    kit: Option<kit::Ran>,
) -> Result<Checked, Failure> {
    if place.output == Output::Table {
        stages::print(failure.as_ref(), Stage::Health);
    }
    Ok(Checked { file, failure, remark, kit, reached: Stage::Health })
}

fn report(place: &Place, arguments: &Arguments, all: &[Checked], are_several: bool) -> Outcome {
    if let Some(path) = &arguments.junit {
        kit::write_junit(path, all.iter().filter_map(|checked| checked.kit.as_ref()))?;
    }
    match place.output {
        Output::Json if are_several => output::json(&all.iter().map(Checked::as_json).collect()),
        Output::Json => all.iter().for_each(|checked| output::json(&checked.as_json())),
        Output::Table => {
            // Of a file that is not there no more is to be said.
            let is_missing =
                |checked: &&Checked| checked.failure.as_ref().is_some_and(|error| error.stage == Stage::Resolve);
            for remark in
                all.iter().filter(|checked| !is_missing(checked)).filter_map(|checked| checked.remark.as_ref())
            {
                output::note(&format!("note: {remark}"));
            }
        }
    }
    let failed: Vec<&Checked> = all.iter().filter(|checked| checked.has_failed()).collect();
    match failed.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::Failed(match (&one.failure, &one.kit) {
            (Some(error), _) => error.to_string(),
            (None, Some(kit)) => kit.summary.clone(),
            (None, None) => one.file.clone(),
        })),
        several => Err(Failure::Failed(format!("{} of {} drivers did not pass", several.len(), all.len()))),
    }
}
