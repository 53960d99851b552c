//! What the cloud holds. An operation looks, and answers with the changes it wants; they are written down first where there is a
//! file, and then applied, so that a change is whole or was never made. Time is an argument: what a node is at some moment follows from
//! what was decided when it was made.

mod access;
mod addresses;
mod change;
mod console;
mod create;
mod fate;
mod node;
mod nodes;
mod paging;
mod power;
mod shelf;
mod state;
mod storage;
mod tags;
#[cfg(test)]
mod tests;

pub(crate) use change::{Change, Plan, Turn};
pub(crate) use paging::{few, numbered};
pub(crate) use state::World;
