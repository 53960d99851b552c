//! The driver through its public door, the exported table, against real HAProxy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod archive;
mod change;
mod injection;
mod lifecycle;
mod reload;
mod serve;
mod support;
mod systemd;
mod traffic;

// Links the crate; its table is found by name.
use capstan_load_balancer_haproxy as _;
