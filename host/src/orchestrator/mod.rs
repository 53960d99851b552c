//! The orchestrator: one API over the clouds of the farm.

pub mod clouds;
