//! What the process of a driver may use and reach, put into force by the kernel before a line of the driver's code runs.
//!
//! [`Confinement`] is what the operator asks for. The daemon turns it into a [`Prepared`], which knows what of it binds on
//! this machine and says what does not; the child takes that over and applies it. A [`Cgroup`] limits the driver with all its
//! children as one, where the daemon may make one. `docs/isolation.md` tells the operator what each part is worth.

mod account;
mod base;
mod cgroup;
mod descriptors;
mod limits;
mod plan;
mod prepared;
mod rules;
#[cfg(test)]
mod tests;

pub use plan::Confinement;

pub(crate) use cgroup::Cgroup;
pub(crate) use descriptors::close_inherited;
pub(crate) use prepared::Prepared;
