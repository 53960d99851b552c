//! A cloud without machines: its contents are in memory or in a file, its latencies, limits and faults are settable. It is the
//! bench at which every service is tested.
//!
//! `docs/drivers/cloud-dummy.md` says every key and every fault. In memory, the nodes exist as long as the instance does and two
//! instances know nothing of each other; in a file they outlive it, and instances that name one file share one cloud.

mod call_log;
mod catalog;
mod config;
mod driver;
mod faults;
mod gate;
mod journal;
mod latency;
mod methods;
mod random;
mod service;
mod world;

pub use config::Config;
pub use driver::Dummy;
