//! `capstan store`: one file for each command. They go to the database themselves, so that they work while no daemon does.

mod backup;
mod check;
mod info;
mod restore;

use std::path::PathBuf;

use clap::Subcommand;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    exit::{Failure, Outcome},
    place::Place,
};
use crate::store::{Error, Settings};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What is in the store: deployment, versions and rows of its tables, size; a daemon may use it meanwhile
    Info,
    /// Read all of the store and say what is wrong with it; a daemon may use it meanwhile
    Check,
    /// Write all that the store holds at this moment to a new file; a daemon may use it meanwhile
    Backup {
        /// The file; for either database, whichever it comes from
        file: PathBuf,
    },
    /// Fill an empty store from a backup, also one of the other database; no daemon may use it meanwhile
    #[command(
        after_help = "The services find in the store that it came out of a backup: they compare it with the clouds before they \
act, and delete no node that is younger than the backup."
    )]
    Restore {
        /// The file that `capstan store backup` wrote
        file: PathBuf,
        /// Put the backup in the place of what is there; a SQLite file is kept beside the new one, tables of PostgreSQL are removed
        #[arg(long)]
        force: bool,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    let config = place.load()?.config;
    let settings = Settings::of(&config.store, &config.daemon.state_dir);
    match command {
        Command::Info => info::info(place, &settings),
        Command::Check => check::check(place, &settings),
        Command::Backup { file } => backup::backup(place, &settings, &file),
        Command::Restore { file, force } => restore::restore(place, &settings, &file, force),
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Full(_) | Error::Locked(_) | Error::NotFound(_) | Error::ReadOnly(_) | Error::Unavailable(_) => {
            Failure::Unavailable(error.to_string())
        }
        Error::Panicked(_) | Error::Statement(_) => Failure::Bug(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}

/// Milliseconds since 1970 as people read them.
fn time(milliseconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(milliseconds.div_euclid(1000))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| milliseconds.to_string())
}
