//! `capstan config`: check, show, import.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{
    Place,
    driver::Schemas,
    exit::{Failure, Outcome},
    output::{self, Output},
};
use crate::config::{self, Loaded, Loader, ProcessEnvironment};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check everything, the drivers' own sections included, and list every fault at once; starts nothing
    Check,
    /// Print every value in force and the file it comes from; secrets are never printed
    Show,
    /// Translate an old libra.ini; what has no counterpart is named on standard error
    Import {
        /// The old file
        file: PathBuf,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    match command {
        Command::Check => check(place),
        Command::Show => show(place),
        Command::Import { file } => import(place, &file),
    }
}

/// Reads the configuration for a command that talks to a daemon; the drivers' own sections are that daemon's business.
pub fn load(place: &Place) -> Result<Loaded, Failure> {
    finish(&Loader::new(&ProcessEnvironment).file(&place.config))
}

/// Reads the configuration for a daemon, with what the command's options lay over it: `(key, value, option)`. The drivers'
/// own sections are held against their schemas.
pub fn load_all(place: &Place, options: &[(&str, &str, &str)]) -> Result<Loaded, Failure> {
    let mut loader = Loader::new(&ProcessEnvironment).file(&place.config).schemas(&Schemas);
    for (key, value, option) in options {
        loader = loader.set(key, value, option);
    }
    finish(&loader)
}

fn finish(loader: &Loader<'_>) -> Result<Loaded, Failure> {
    loader.load().map_err(|faults| Failure::Usage(format!("the configuration cannot be used\n{faults}")))
}

fn check(place: &Place) -> Outcome {
    let loaded = load_all(place, &[])?;
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    match place.output {
        Output::Json => output::json(&json!({ "valid": true, "files": files, "warnings": warnings })),
        Output::Table => {
            for warning in &warnings {
                output::line(&format!("warning: {warning}"));
            }
            output::line(&format!("valid: {}", files.join(", ")));
        }
    }
    Ok(())
}

fn show(place: &Place) -> Outcome {
    let loaded = load(place)?;
    match place.output {
        Output::Json => output::json(&config::show_json(&loaded)),
        Output::Table => output::line(config::show_text(&loaded).trim_end()),
    }
    Ok(())
}

fn import(place: &Place, file: &PathBuf) -> Outcome {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))?;
    let imported = config::import::libra_ini(&text);
    match place.output {
        Output::Json => output::json(&json!({ "toml": imported.toml, "notes": imported.notes })),
        Output::Table => {
            output::line(imported.toml.trim_end());
            for note in &imported.notes {
                output::note(note);
            }
        }
    }
    Ok(())
}
