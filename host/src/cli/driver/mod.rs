//! `capstan driver`: one file for each command.

mod check;
mod info;
mod keygen;
mod list;
mod lock;
mod named;
mod sign;
mod verify;

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
    },
    /// Make a pair of keys to sign drivers with
    Keygen(keygen::Arguments),
    /// Write beside FILE the signature that a host holds it against
    Sign(sign::Arguments),
    /// Hold FILE against its signature
    Verify(verify::Arguments),
    /// Write down what every driver's file is now, so that no other is loaded
    Lock(lock::Arguments),
}

pub fn run(place: &Place, command: Command) -> Outcome {
    match command {
        Command::List => runtime()?.block_on(list::list(place)),
        Command::Info { driver } => info::info(place, &driver),
        Command::Check { driver, driver_config } => runtime()?.block_on(check::check(place, &driver, &driver_config)),
        Command::Keygen(arguments) => keygen::keygen(place, &arguments),
        Command::Sign(arguments) => sign::sign(place, &arguments),
        Command::Verify(arguments) => verify::verify(place, &arguments),
        Command::Lock(arguments) => lock::lock(place, &arguments),
    }
}
