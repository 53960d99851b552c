//! `capstan config`: check, show, import.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde_json::json;

use super::{
    exit::{Failure, Outcome},
    output::{self, Output},
    place::Place,
};
use crate::config;

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

/// What only a start can tell.
const UNSEEN: &str = "not looked at: what drivers check when they are opened, and whatever is reached over a network";

fn check(place: &Place) -> Outcome {
    let loaded = place.load_to_check()?;
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    match place.output {
        Output::Json => {
            output::json(&json!({ "valid": true, "files": files, "warnings": warnings, "not_checked": UNSEEN }))
        }
        Output::Table => {
            for warning in &warnings {
                output::line(&format!("warning: {warning}"));
            }
            output::line(&format!("valid: {}; {UNSEEN}", files.join(", ")));
        }
    }
    Ok(())
}

fn show(place: &Place) -> Outcome {
    let loaded = place.load()?;
    match place.output {
        Output::Json => output::json(&config::show_json(&loaded)),
        Output::Table => output::line(config::show_text(&loaded).trim_end()),
    }
    Ok(())
}

fn import(place: &Place, file: &Path) -> Outcome {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))?;
    let imported = config::import::libra_ini(file, &text);
    match place.output {
        Output::Json => output::json(&json!({
            "toml": imported.toml,
            "notes": imported.notes,
            "not_understood": imported.not_understood,
        })),
        Output::Table => {
            output::line(imported.toml.trim_end());
            for note in &imported.notes {
                output::note(note);
            }
        }
    }
    match imported.not_understood {
        0 => Ok(()),
        count => Err(Failure::Failed(format!(
            "what could be read was translated; {count} of the notes on {} name something that was not understood",
            file.display()
        ))),
    }
}
