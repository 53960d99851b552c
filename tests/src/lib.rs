//! What the black-box suites, the demo and the benchmarks share: the built daemon, its real peers, web servers to balance,
//! and a client that sees what a user sees. Whatever is started here is ended by its process id.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

pub mod authority;
pub mod c_driver;
pub mod daemon;
pub mod elf;
pub mod gearman;
pub mod gearmand;
pub mod http;
pub mod load;
pub mod message;
pub mod paths;
pub mod process;
pub mod random;
pub mod swift;
pub mod syslog;
pub mod web;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

/// A TCP port on loopback that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Waits until `done` gives a value, looking again every few milliseconds; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
