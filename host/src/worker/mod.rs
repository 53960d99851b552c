//! The worker service: takes Gearman messages and drives the appliance on this node.
//!
//! [`Controller::run`] turns one message into driver calls and one reply, as `docs/contract/worker-messages.md` says. The
//! driver stands behind the [`Appliance`] trait: only `driver` knows how drivers are called, only `server` how messages come.

mod appliance;
mod archive;
mod change;
mod controller;
mod diagnostics;
mod driver;
mod fields;
mod flat;
mod listeners;
mod members;
mod message;
mod outcome;
mod reply;
mod server;
mod settings;
mod update;

pub use appliance::{Answer, Appliance, Call};
pub use controller::{Controller, Job, Verdict};
pub use driver::DriverAppliance;
pub use server::Server;
pub use settings::{MessageForm, Settings};
