//! The driver through its public door, the exported table, against real HAProxy.

mod change;
mod serve;
mod support;

// Links the crate; its table is found by name.
use capstan_load_balancer_haproxy as _;
