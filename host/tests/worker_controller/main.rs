//! The worker's controller against a recording appliance. The appliance is a fake on purpose: it fails on demand, in places
//! where no real load balancer can be made to. What a message does to real traffic is shown by the black-box suites.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation ends the test that has it")]

mod archive;
mod bad_messages;
mod bench;
mod changes;
mod diagnostics;
mod libra;
mod logging;
mod properties;
mod seed;
mod update;
