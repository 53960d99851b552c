//! A driver in a process of its own: its calls, its start, its memory, and how long a hung one holds its caller.

use std::{
    fs,
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, DriverEntry, DriverHandle, Isolation, Kind, Registry};
use capstan_plugin_api::cloud::{CreateNode, Node};
use rustix::{process::Pid, thread::CpuSet};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::{
    hosted,
    measure::{Contender, Round, alternate, median, nanoseconds},
    report::{Report, Row, quantiles, time},
    scratch,
};

const ROUNDS: usize = 6;
const WARM_UP: usize = 300;
const CALLS: usize = 3_000;
const SIZES: [usize; 3] = [16, 1 << 10, 64 << 10];

fn isolated() -> DriverEntry {
    DriverEntry { isolation: Isolation::Process, ..hosted::entry(Kind::Cloud, "dummy", json!({})) }
}

/// `create_node` with a token that was used answers the node that it made: its tags come back, the driver does next to nothing.
fn request(size: usize) -> CreateNode {
    let tags = [("x".to_owned(), "v".repeat(size))].into();
    CreateNode {
        name: "bench".into(),
        image: "image-1".into(),
        size: "size-1".into(),
        client_token: format!("bench-{size}"),
        tags,
        ..CreateNode::default()
    }
}

async fn call(handle: &DriverHandle, request: &CreateNode) -> Node {
    handle.call("create_node", request, CallOptions::default()).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A task that calls, as the services do.
fn calls(runtime: &Runtime, handle: &DriverHandle, size: usize) -> Round {
    let (handle, request) = (handle.clone(), request(size));
    let count = if size > 4096 { CALLS / 4 } else { CALLS };
    let task = async move {
        let mut round = Round::with_capacity(count);
        for number in 0..count + WARM_UP {
            let start = Instant::now();
            std::hint::black_box(call(&handle, &request).await);
            if number >= WARM_UP {
                round.push(nanoseconds(start.elapsed()));
            }
        }
        round
    };
    runtime.block_on(runtime.spawn(task)).expect("the calls end well")
}

/// Keeps this thread, and all threads and processes that it starts, on one core while `run` runs.
fn pinned<T>(run: impl FnOnce() -> T) -> T {
    let before = rustix::thread::sched_getaffinity(None).expect("the cores of this thread");
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)).expect("a core"));
    rustix::thread::sched_setaffinity(None::<Pid>, &one).expect("one core");
    let outcome = run();
    rustix::thread::sched_setaffinity(None::<Pid>, &before).expect("the cores as before");
    outcome
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// PSS in KiB of a process and of those below it.
fn memory(keeper: u32) -> f64 {
    let below = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let pids = below.split_whitespace().map(str::to_owned).chain([keeper.to_string()]);
    pids.map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the memory of a process");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a figure of smaps_rollup");
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("kB")
    })
    .sum()
}

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "A driver in a process of its own",
        &format!("Calls: `create_node` of cloud-dummy, {ROUNDS} alternating rounds of {CALLS} calls (a quarter of it for 64 KiB) after {WARM_UP} to warm up."),
    );
    for (how, is_pinned) in [("all cores", false), ("one core", true)] {
        let body = || {
            let runtime = runtime();
            let state = scratch::folder();
            let (registry, handle) = hosted::open(&runtime, state.path(), isolated());
            let series = alternate(
                ROUNDS,
                SIZES.map(|size| {
                    let (runtime, handle) = (&runtime, &handle);
                    Contender::new(format!("isolated call, {size} B each way, {how}"), move || {
                        calls(runtime, handle, size)
                    })
                }),
            );
            runtime.block_on(registry.close(Duration::from_secs(5)));
            series
        };
        let series = if is_pinned { pinned(body) } else { body() };
        report.series(&series.each_ref());
        for (series, size) in series.iter().zip(SIZES) {
            report.row(Row {
                what: format!("isolated call, {size} B each way, {how}"),
                ours: quantiles(series),
                beside: String::new(),
                relation: String::new(),
                aim: String::new(),
                kept: None,
            });
        }
    }
    start_and_memory(report);
}

fn start_and_memory(report: &mut Report) {
    let runtime = runtime();
    let state = scratch::folder();
    let once = |count: usize| {
        let entries = (0..count).map(|number| DriverEntry { name: format!("dummy-{number}"), ..isolated() }).collect();
        let settings = hosted::settings(state.path(), entries);
        let start = Instant::now();
        let registry = runtime.block_on(Registry::open(settings)).expect("a registry");
        let took = nanoseconds(start.elapsed());
        assert_eq!(registry.failures(), []);
        (registry, took)
    };
    let close = |registry: Registry| runtime.block_on(registry.close(Duration::from_secs(5)));
    close(once(1).0);
    let mut sizes = Vec::new();
    let [one, twenty] = alternate(
        5,
        [
            Contender::new("one isolated driver, from its file to ready", || {
                (0..20)
                    .map(|_| {
                        let (registry, took) = once(1);
                        close(registry);
                        took
                    })
                    .collect()
            }),
            Contender::new("20 isolated drivers, from their file to ready", || {
                let (registry, took) = once(20);
                sizes.extend(registry.list().iter().map(|driver| memory(driver.pid.expect("a process"))));
                close(registry);
                vec![took]
            }),
        ],
    );
    report.series(&[&one, &twenty]);
    report.row(Row {
        what: "isolated driver, from its file to ready".into(),
        ours: quantiles(&one),
        beside: String::new(),
        relation: String::new(),
        aim: "2 ms".into(),
        kept: Some(one.p50() <= 2e6),
    });
    report.row(Row {
        what: "20 isolated drivers, from their files to ready".into(),
        ours: time(twenty.p50()),
        beside: String::new(),
        relation: String::new(),
        aim: String::new(),
        kept: None,
    });
    let memory = median(&sizes) / 1024.0;
    report.row(Row {
        what: "memory of an isolated driver, its keeper included (PSS, 20 of them)".into(),
        ours: format!("{memory:.2} MiB"),
        beside: String::new(),
        relation: String::new(),
        aim: "2 MB".into(),
        kept: Some(memory * 1.048_576 <= 2.0),
    });
}
