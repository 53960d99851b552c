//! `capstan-local-node`: see [`capstan_cloud_local::node_process`].

use std::process::ExitCode;

fn main() -> ExitCode {
    capstan_cloud_local::node_process::main(std::env::args_os().skip(1))
}
