//! A cloud of one machine: each node is a tree of real processes with a loopback address, a folder and limits of its own.
//!
//! `docs/drivers/cloud-local.md` says every key. The driver writes down what shall be and reads what is; whatever touches processes
//! is done by `capstan-local-node`, which the daemon starts (`program.start`) and which outlives driver and daemon.

mod address;
mod cloud;
mod config;
mod driver;
mod durable;
mod image;
mod node_folder;
pub mod node_process;
mod record;
mod status;

pub use config::Config;
pub use driver::Local;
