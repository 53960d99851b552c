//! Long work over HTTP: a job of the store is what callers see as an operation. `/jobs/v1` shows them all; any other API that takes
//! work on answers with [`Operations::accepted`].

mod events;
mod operation;
mod retries;
mod routes;
mod view;
mod wait;

pub use operation::Operations;
pub use retries::Retries;
pub use view::JobView;
pub use wait::Wait;

pub(super) use routes::routes;
