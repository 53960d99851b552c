//! What a typed call to a driver in the daemon costs: 1 KiB of JSON each way through handle, gate, pool and table.
//!
//! `cargo bench -p capstan --bench driver_call [LIBRARY]`; without a library the C driver of the tests answers, so that the
//! driver's own half is a copy. A library must be of kind `cloud` and answer `echo`.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a benchmark prints what it measured")]

#[path = "../tests/drivers_support/mod.rs"]
mod drivers_support;

use std::{
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, DriverHandle};
use drivers_support::{entry, folder, good, open_one};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Member {
    id: String,
    address: String,
    port: u16,
    weight: u32,
    is_backup: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Device {
    device: String,
    generation: u64,
    members: Vec<Member>,
}

fn device() -> Device {
    let member = |number: u16| Member {
        id: format!("member-{number:04}"),
        address: format!("10.0.0.{number}"),
        port: 8080 + number,
        weight: 1,
        is_backup: false,
    };
    Device { device: "lb-0001".into(), generation: 7, members: (0..12).map(member).collect() }
}

async fn measure(what: &str, handle: &DriverHandle, pause: Duration, rounds: usize) {
    let given = device();
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds + rounds / 10 {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let start = Instant::now();
        let answer: Device = handle.call("echo", &given, CallOptions::default()).await.expect("an echo");
        let took = start.elapsed();
        if round >= rounds / 10 {
            times.push(took);
        }
        black_box(answer);
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    println!("{what:<44} p50 {:>8.2} us   p90 {:>8.2} us   p99 {:>8.2} us", at(50), at(90), at(99));
}

fn json_alone(rounds: usize) {
    let given = device();
    let bytes = serde_json::to_vec(&given).expect("JSON");
    let start = Instant::now();
    for _ in 0..rounds {
        let text = serde_json::to_vec(black_box(&given)).expect("JSON");
        black_box(serde_json::from_slice::<Device>(&text).expect("a device"));
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / rounds as f64;
    println!("{:<44} mean {each:>7.2} us   ({} bytes)", "the host's JSON alone, written and read", bytes.len());
}

fn main() {
    let folder = folder();
    let library = std::env::args().skip(1).find(|argument| argument.ends_with(".so")).map(PathBuf::from);
    let library = library.unwrap_or_else(|| good(folder.path()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    json_alone(100_000);
    let (registry, handle) = runtime.block_on(async {
        let start = Instant::now();
        let opened = open_one(folder.path(), entry("echo", &library)).await;
        println!("{:<44} {:>13.2} ms", "load with probe", start.elapsed().as_secs_f64() * 1e3);
        opened
    });
    runtime.block_on(async {
        let start = Instant::now();
        let _again = open_one(folder.path(), entry("again", &library)).await;
        println!("{:<44} {:>13.2} ms", "load, probed before", start.elapsed().as_secs_f64() * 1e3);
        measure("one each 2 ms (both sides asleep)", &handle, Duration::from_millis(2), 500).await;
        measure("one after the other", &handle, Duration::ZERO, 100_000).await;
        let start = Instant::now();
        let callers = (0..8).map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move {
                let given = device();
                for _ in 0..10_000 {
                    let answer: Device = handle.call("echo", &given, CallOptions::default()).await.expect("an echo");
                    black_box(answer);
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.expect("a caller");
        }
        println!("{:<44} {:>13.0} calls/s", "8 callers", 80_000.0 / start.elapsed().as_secs_f64());
        registry.close(Duration::from_secs(1)).await;
    });
}
