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
pub mod pool;
pub mod process;
pub mod random;
pub mod swift;
pub mod syslog;
pub mod web;

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

/// The first port that a suite may take, and how many there are from it on.
const PORTS: (u32, u32) = (12_000, 20_000);

/// A TCP port on loopback that was free a moment ago.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Below those that outgoing connections take (32768 on by default), and elsewhere in each process.
    let first = u16::try_from(std::process::id().wrapping_mul(97) % PORTS.1).unwrap_or_default();
    loop {
        let port = PORTS.0 + (u32::from(first) + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % PORTS.1;
        let port = u16::try_from(port).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
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
