//! Generations: from one version of a driver's file to the next without a call lost.
//!
//! A [`Driver`] stays; its generations come and go. The next one is loaded beside the one that serves, through all stages and
//! with every method that is in use; only then is it put in place, and the one before finishes what it has begun. Whatever
//! goes wrong on the way leaves the one that serves where it is.

mod apply;
mod change;
mod drain;
mod driver;
mod error;
mod files;
mod history;
mod lineage;
mod needs;
mod watch;

pub use apply::Applied;
pub use change::{Edition, Reloaded};
pub use error::{NotApplied, ReloadError};

pub(super) use change::{Loading, on_thread};
pub(super) use drain::{Drains, Times};
pub(super) use driver::{Driver, Phase, Use};
pub(super) use history::History;
pub(super) use lineage::Lineage;
pub(super) use needs::check as check_needs;
