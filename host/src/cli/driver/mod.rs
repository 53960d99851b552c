//! `capstan driver`: one file for each command.

mod call;
mod change;
mod check;
mod info;
mod keygen;
mod list;
mod lock;
mod named;
mod new;
mod running;
mod scratch;
mod sign;
mod verify;

use change::Change;
use clap::Subcommand;

use super::{
    exit::Outcome,
    place::{Place, runtime},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What the daemon has loaded, in which state, and how it does
    List,
    /// Manifest, configuration schema, methods and hash of a driver, and what the daemon says of it. No line of a library is run;
    /// a program is started, confined, as far as its hello, which holds its manifest
    Info {
        /// A name of known_drivers (NAME or KIND.NAME), or a file
        driver: String,
        /// Admit programs of this user beside root's
        #[arg(long)]
        trust_own_files: bool,
    },
    /// Take a driver through the load pipeline and, a file or a folder of them, through the conformance kit
    Check(check::Arguments),
    /// Open an instance of a driver's own and call one method of it
    Call(call::Arguments),
    /// Make a project for a new driver, which builds and passes `driver check` as it is
    New(new::Arguments),
    /// Make a pair of keys to sign drivers with
    Keygen(keygen::Arguments),
    /// Write beside FILE the signature that a host holds it against
    Sign(sign::Arguments),
    /// Hold FILE against its signature
    Verify(verify::Arguments),
    /// Write down what every driver's file is now, so that no other is loaded
    Lock(lock::Arguments),
    /// Load a driver's file anew: the next version serves once it has passed every check, calls that are out finish with the old one
    Reload {
        /// A name of known_drivers (NAME or KIND.NAME)
        driver: String,
    },
    /// Bring back the file that served before, from the daemon's own copy, until the next reload or restart of the daemon
    Rollback {
        /// A name of known_drivers (NAME or KIND.NAME)
        driver: String,
    },
    /// Start a driver's process again, or open a driver in the daemon anew; ends a quarantine and closes an open circuit
    Restart {
        /// A name of known_drivers (NAME or KIND.NAME)
        driver: String,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    match command {
        Command::List => runtime()?.block_on(list::list(place)),
        Command::Info { driver, trust_own_files } => runtime()?.block_on(info::info(place, &driver, trust_own_files)),
        Command::Check(arguments) => {
            let trust = check::Trust::of(place, arguments.trust_own_files)?;
            runtime()?.block_on(check::check(place, &arguments, &trust))
        }
        Command::New(arguments) => new::new(&arguments),
        Command::Call(arguments) => {
            let trust = check::Trust::of(place, arguments.trust_own_files)?;
            runtime()?.block_on(call::call(place, &arguments, &trust))
        }
        Command::Keygen(arguments) => keygen::keygen(place, &arguments),
        Command::Sign(arguments) => sign::sign(place, &arguments),
        Command::Verify(arguments) => verify::verify(place, &arguments),
        Command::Lock(arguments) => lock::lock(place, &arguments),
        Command::Reload { driver } => runtime()?.block_on(change::change(place, &driver, Change::Reload)),
        Command::Rollback { driver } => runtime()?.block_on(change::change(place, &driver, Change::Rollback)),
        Command::Restart { driver } => runtime()?.block_on(change::change(place, &driver, Change::Restart)),
    }
}
