//! `capstan job`: messages to workers, and the long work that the daemon has taken on.

mod send;
mod stored;

use clap::Subcommand;

use super::{
    exit::Outcome,
    place::{Place, runtime},
    wait::WaitOptions,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send JSON to a function and print the reply
    Send(send::Send),
    /// The daemon's jobs, newest first
    List(stored::Filter),
    /// One job: its state, progress, result or error
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        wait: WaitOptions,
    },
    /// End a job that waits; ask a running one to stop
    Cancel {
        /// Its id
        id: String,
        /// Why; kept with the job
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        wait: WaitOptions,
    },
    /// Queue a job again that failed or was cancelled
    Retry {
        /// Its id
        id: String,
        #[command(flatten)]
        wait: WaitOptions,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    runtime()?.block_on(async {
        match command {
            Command::Send(send) => send::send(place, send).await,
            Command::List(filter) => stored::list(place, &filter).await,
            Command::Show { id, wait } => stored::show(place, &id, wait).await,
            Command::Cancel { id, reason, wait } => stored::cancel(place, &id, reason.as_deref(), wait).await,
            Command::Retry { id, wait } => stored::retry(place, &id, wait).await,
        }
    })
}
