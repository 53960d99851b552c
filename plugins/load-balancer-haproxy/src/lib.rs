//! Drives HAProxy on this machine: renders its configuration from types, changes what runs over the runtime API where that
//! is possible and by one confirmed reload where it is not, and reads health and traffic from the stats socket.
//!
//! `docs/contract/haproxy.md` says line by line what is rendered; `docs/services/haproxy-driver.md` is the operator's page.

mod accounting;
mod archive;
pub mod config;
mod control;
mod device;
mod driver;
#[cfg(test)]
mod failpoint;
mod runtime;
mod settings;
pub mod spec;

pub use driver::HaProxy;
pub use settings::{ControlMode, Settings};
