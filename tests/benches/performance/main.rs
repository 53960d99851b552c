//! Our figures beside the rivals', measured in the same run: `make bench`, or `cargo bench -p capstan-tests -- SUBJECT…`
//! after `cargo build --release --workspace`. Whatever is started here is ended by its process id.
#![allow(
    clippy::exit,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark stops where something is wrong"
)]

mod balancer;
mod driver_call;
mod driver_load;
mod durable;
mod gearman_round_trip;
mod haproxy;
mod hosted;
mod isolated;
mod job_server;
mod machine;
mod measure;
mod member_change;
mod memory;
mod overrun;
mod pool;
#[allow(dead_code, reason = "the store's own suites use the rest")]
#[path = "../../../host/tests/store_support/postgres.rs"]
mod postgres;
mod postgres_jobs;
mod recovery;
mod reload;
mod rendered_haproxy;
mod report;
mod rivals;
mod scratch;
mod start;
mod wrk;

use std::{process::ExitCode, time::Instant};

use report::Report;
use rivals::Rivals;

type Subject = fn(&mut Report, &Rivals);

const SUBJECTS: [(&str, Subject); 17] = [
    ("driver_call", driver_call::run),
    ("driver_load", driver_load::run),
    ("gearman_round_trip", gearman_round_trip::run),
    ("isolated_call", isolated::calls),
    ("isolated_start", isolated::start),
    ("isolated_twenty", isolated::twenty),
    ("deadline_overrun", overrun::run),
    ("reload", |report, _| reload::run(report)),
    ("job_server", job_server::run),
    ("member_change", |report, _| member_change::run(report)),
    ("start", |report, _| start::run(report)),
    ("rendered_haproxy", |report, _| rendered_haproxy::run(report)),
    ("durable_accept", durable::run),
    ("postgres_jobs", |report, _| postgres_jobs::run(report)),
    ("pool_build", |report, _| pool::build::run(report)),
    ("pool_sweep", |report, _| pool::sweep::run(report)),
    ("recovery", |report, _| recovery::run(report)),
];

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's output is its report")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "--load-once"
    {
        return driver_load::load_once(rest);
    }
    if let Some((first, rest)) = arguments.split_first()
        && first == durable::ACCEPT
    {
        return durable::accept(rest);
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` comes by as well.
        println!("nothing is measured; run `make bench`");
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) {
        eprintln!("these figures are of a build without optimisation; run `make bench`");
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| !SUBJECTS.iter().any(|(known, _)| known == *name)) {
        eprintln!("there is no subject {unknown:?}; there are {}", SUBJECTS.map(|(name, _)| name).join(", "));
        return ExitCode::from(64);
    }
    scratch::watch_for_interrupt();
    let begun = Instant::now();
    println!("# Performance\n");
    for (name, fact) in machine::facts() {
        println!("- {name}: {fact}");
    }
    let rivals = Rivals::build();
    let mut report = Report::default();
    for (name, run) in SUBJECTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            run(&mut report, &rivals);
        }
    }
    let all_reached = report.summary();
    println!(
        "\n{} s. {}",
        begun.elapsed().as_secs(),
        if all_reached { "Every aim was reached." } else { "An aim was missed." }
    );
    ExitCode::SUCCESS
}
