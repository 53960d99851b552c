//! The driver through its public door, the exported table, against real HAProxy.

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
