//! The `capstan` binary.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [command, path] if command == "__probe-driver" => capstan::drivers::probe_main(path.as_ref()),
        _ => ExitCode::from(64),
    }
}
