//! The pool manager through its own doors: a daemon with the dummy cloud in a file, the device API, and messages over Gearman.
//!
//! `CAPSTAN_LONG=1` runs the whole crash matrix; without it a sample, which `CAPSTAN_SEED` chooses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a suite stops where something is wrong, and a matrix tells its size"
)]

#[allow(dead_code, reason = "the store's own suites use the rest")]
#[path = "../../../host/tests/store_support/postgres.rs"]
mod postgres;

mod clouds;
mod crash;
mod daemons;
mod devices;
mod explain;
mod failing;
mod figures;
mod forget;
mod health;
mod hold;
mod holes;
mod messages;
mod operator;
mod reload;
mod restore;
mod rotate;
mod status;
mod world;
