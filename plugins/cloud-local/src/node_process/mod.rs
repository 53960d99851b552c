//! The program `capstan-local-node`: what runs on the machine for the cloud, apart from driver and daemon.
//!
//! `run FOLDER` stands over the processes of one node until it is told to end them; `end FOLDER` ends what a supervisor that was killed
//! has left; `forward FILE` carries a floating address. It is a program of its own, and small, as one stays for each node and the
//! daemon's next version is not to disturb it.

mod forwarder;
mod namespace;
mod output;
mod processes;
mod ready;
mod supervisor;

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

pub(crate) use forwarder::{Forward, Forwarded};

/// Exit code of a wrong command line, as with the daemon's own commands.
const USAGE: u8 = 64;

/// The program's whole work.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let done = match arguments.as_slice() {
        [word, path] if word == "run" => supervisor::run(PathBuf::from(path)),
        [word, path] if word == "end" => supervisor::end_what_is_left(PathBuf::from(path)),
        [word, path] if word == "forward" => forwarder::run(&PathBuf::from(path)),
        _ => {
            output::say("this is no command for people: capstan starts it for the nodes of the local cloud");
            return ExitCode::from(USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough for what waits most of the time.
fn wait_for<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
