//! `/clouds/v1`: the clouds of the farm and their nodes, images and sizes, whichever driver is behind them. Making and removing a node
//! is a job; a repeated request, or one whose daemon was killed, makes no second node.
//!
//! It lives here because the orchestrator's own API stands on it; a daemon that runs the pool manager serves it as well. It knows
//! nothing of pools, but for one thing: a node that carries a pool's tags is not removed behind its back.

mod create;
mod delete;
mod farm;
mod routes;

pub use farm::{CloudView, Clouds};
pub use routes::routes;

use crate::store::{Migration, runner::Runner};

/// Tables of this room.
pub const MIGRATIONS: &[Migration] =
    &[Migration { room: "orchestrator", version: 1, sql: include_str!("migrations.sql") }];

/// Kind of the jobs that make nodes.
const CREATE: &str = "cloud.create_node";
/// Kind of the jobs that remove nodes.
const DELETE: &str = "cloud.delete_node";
/// Jobs of each kind at one time.
const AT_ONCE: usize = 16;

/// Handlers of the jobs.
pub fn handlers(clouds: &Clouds, runner: Runner) -> Runner {
    runner.with(CREATE, AT_ONCE, create::Creator(clouds.clone())).with(DELETE, AT_ONCE, delete::Deleter(clouds.clone()))
}
