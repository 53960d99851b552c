//! The commands of the one binary.

mod client;
mod cloud;
mod config;
mod driver;
mod exit;
mod explain;
mod hold;
mod identity;
mod job;
mod node;
mod output;
mod place;
mod pool;
mod rooms;
mod serve;
mod settings;
mod store;
mod token;
mod wait;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use client::Credentials;
use exit::{Failure, Outcome};
use output::Output;
use place::Place;

/// Capstan hosts drivers: shared libraries behind load balancers, clouds, API servers and databases.
#[derive(Debug, Parser)]
#[command(name = "capstan", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 the operation failed, 64 usage or configuration, \
69 daemon or driver not available, 70 a bug.\n\nA first look: `capstan config check`, `capstan serve`, `capstan driver list`.")]
struct Arguments {
    /// Configuration file; the files of conf.d beside it are read as well
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/capstan/capstan.toml")]
    config: PathBuf,
    /// Form of the result
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    /// The daemon's Unix socket, if it is not the one of the configuration
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// Talk to a daemon over http://HOST:PORT or https://HOST:PORT instead of its socket
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with the token to show to the daemon; else the variable CAPSTAN_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authority of the certificate that an https:// daemon shows, in PEM
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the roles that daemon.roles switches on
    Serve {
        /// Reload a driver by itself when its file changes, as daemon.watch_drivers = true
        #[arg(long)]
        watch: bool,
    },
    /// Run the worker alone: take Gearman messages and drive the appliance on this node
    Worker {
        /// Name under known_drivers.load_balancer, instead of worker.driver
        #[arg(long, value_name = "NAME")]
        driver: Option<String>,
        /// Reload a driver by itself when its file changes, as daemon.watch_drivers = true
        #[arg(long)]
        watch: bool,
    },
    /// What is loaded, what a driver file says of itself, whether it would load
    #[command(subcommand)]
    Driver(driver::Command),
    /// Check, show or translate a configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Send a message to a worker; list, show, cancel and retry the daemon's own long work
    #[command(subcommand)]
    Job(job::Command),
    /// Run the API server alone: the devices and, later, the tenants' load balancers
    Lbaas {
        /// Reload a driver by itself when its file changes, as daemon.watch_drivers = true
        #[arg(long)]
        watch: bool,
    },
    /// Run the pool manager alone: keep load-balancer nodes in stock
    PoolManager {
        /// Name under known_drivers.mgm, instead of pool.driver
        #[arg(long, value_name = "NAME")]
        driver: Option<String>,
        /// Reload a driver by itself when its file changes, as daemon.watch_drivers = true
        #[arg(long)]
        watch: bool,
    },
    /// The stock of load-balancer nodes: how it stands, its nodes, what is done with them
    #[command(subcommand)]
    Pool(pool::Command),
    /// Run the orchestrator alone: one API over the clouds of the farm
    Orchestrator {
        /// Reload a driver by itself when its file changes, as daemon.watch_drivers = true
        #[arg(long)]
        watch: bool,
    },
    /// The clouds of the farm: what they can do, their images and sizes
    #[command(subcommand)]
    Cloud(cloud::Command),
    /// Nodes of any cloud of the farm
    #[command(subcommand)]
    Node(node::Command),
    /// Everything about one node, stock or job: wanted, seen just now, at work, last error, what happens next by itself
    Explain {
        /// Its id or its name, of a node also the cloud's id
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Stop all automatic repair, replacement, retirement and deletion, of everything or of one thing, until it is lifted
    Hold(hold::Arguments),
    /// Make, list and revoke the tokens by which callers are known
    #[command(subcommand)]
    Token(token::Command),
    /// The certificates of nodes: list and revoke them, the authority, tokens for nodes that no pool builds
    #[command(subcommand)]
    Identity(identity::Command),
    /// Look at the store, check it, take a backup or bring one back
    #[command(subcommand)]
    Store(store::Command),
    /// Print a completion script: `capstan completions bash > /etc/bash_completion.d/capstan`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Load one driver file and report on it; run by the daemon in a child of its own
    #[command(name = "__probe-driver", hide = true)]
    ProbeDriver {
        /// The file
        path: PathBuf,
        /// The daemon's process id
        daemon: u32,
    },
    /// Be the process of an isolated driver; run by the daemon
    #[command(name = "__driver", hide = true)]
    DriverProcess {
        /// What to run, as JSON
        specification: String,
    },
}

/// Runs the command line and says how the process shall end.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked =
                matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
            if !asked {
                let _stream_may_be_closed = error.print();
                return Failure::Usage(String::new()).code();
            }
            output::keep(error.print());
            return end(output::check().map(|()| ExitCode::SUCCESS));
        }
    };
    end(run(arguments).and_then(|code| output::check().map(|()| code)))
}

fn end(outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        output::note(&format!("capstan: {failure}"));
        failure.code()
    })
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { config, output, socket, url, token_file, ca, command } = arguments;
    let place = Place { config, socket, url, output, credentials: Credentials { token_file, ca }, own_token: None };
    let outcome: Outcome = match command {
        Command::Serve { watch } => serve::serve(&place, watch),
        Command::Worker { driver, watch } => serve::worker(&place, driver, watch),
        Command::Driver(command) => driver::run(&place, command),
        Command::Config(command) => config::run(&place, command),
        Command::Job(command) => job::run(&place, command),
        Command::Lbaas { watch } => serve::lbaas(&place, watch),
        Command::PoolManager { driver, watch } => serve::pool_manager(&place, driver, watch),
        Command::Pool(command) => pool::run(&place, command),
        Command::Orchestrator { watch } => serve::orchestrator(&place, watch),
        Command::Cloud(command) => cloud::run(&place, command),
        Command::Node(command) => node::run(&place, command),
        Command::Explain { id } => explain::run(&place, &id),
        Command::Hold(arguments) => hold::run(&place, arguments),
        Command::Token(command) => token::run(&place, command),
        Command::Identity(command) => identity::run(&place, command),
        Command::Store(command) => store::run(&place, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "capstan", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
        Command::ProbeDriver { path, daemon } => return Ok(crate::drivers::probe_main(&path, daemon)),
        Command::DriverProcess { specification } => return Ok(crate::drivers::driver_main(&specification)),
    };
    outcome.map(|()| ExitCode::SUCCESS)
}
