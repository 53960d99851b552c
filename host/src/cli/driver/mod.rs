//! `capstan driver`: one file for each command.

mod check;
mod info;
mod list;
mod named;

use clap::Subcommand;

use super::{
    exit::Outcome,
    place::{Place, runtime},
};

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
        Command::List => runtime()?.block_on(list::list(place)),
        Command::Info { driver } => info::info(place, &driver),
        Command::Check { driver, driver_config, trust_own_files } => {
            let trust = check::Trust::of(place, trust_own_files)?;
            runtime()?.block_on(check::check(place, &driver, &driver_config, &trust))
        }
    }
}
