//! Calls of three sizes, on all cores and with caller and driver on one.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use capstan::drivers::{DriverHandle, Isolation};
use rustix::{process::Pid, thread::CpuSet};
use tokio::runtime::Runtime;

use super::{call, dummy, request, runtime};
use crate::{
    hosted,
    measure::{Contender, Round, Series, alternate, nanoseconds},
    report::{Report, Row, quantiles},
    rivals::Rivals,
    scratch,
};

const ROUNDS: usize = 6;
const WARM_UP: usize = 300;
const CALLS: usize = 3_000;
const SIZES: [usize; 3] = [16, 1 << 10, 64 << 10];
/// The aims: go-plugin's gRPC takes so many times as long.
const AIM_ALL_CORES: f64 = 1.6;
const AIM_ONE_CORE: f64 = 4.0;

fn count(size: usize) -> usize {
    if size > 4096 { CALLS / 4 } else { CALLS }
}

/// A task that calls, as the services do.
fn calls(runtime: &Runtime, handle: &DriverHandle, size: usize) -> Round {
    let (handle, request, count) = (handle.clone(), request(size), count(size));
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

/// What was measured with one size.
struct Measured {
    size: usize,
    ours: Series,
    grpc: Series,
    rpc: Series,
}

fn measure(rivals: &Rivals, how: &str) -> [Measured; 3] {
    let runtime = runtime();
    let state = scratch::folder();
    let (registry, handle) = hosted::open(&runtime, state.path(), dummy(Isolation::Process));
    let go_plugin = RefCell::new(rivals.go_plugin(1));
    let measured = SIZES.map(|size| {
        let theirs = |protocol| {
            let go_plugin = &go_plugin;
            Contender::new(format!("go-plugin {protocol}, {size} B each way, {how}"), move || {
                go_plugin.borrow_mut().calls(protocol, size, WARM_UP, count(size))
            })
        };
        let ours =
            Contender::new(format!("isolated call, {size} B each way, {how}"), || calls(&runtime, &handle, size));
        let [ours, grpc, rpc] = alternate(ROUNDS, [ours, theirs("grpc"), theirs("rpc")]);
        Measured { size, ours, grpc, rpc }
    });
    runtime.block_on(registry.close(Duration::from_secs(5)));
    measured
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "Calls to a driver in a process of its own",
        &format!(
            "`create_node` of cloud-dummy, typed and with all that the host does around a call; {ROUNDS} alternating rounds of {CALLS} calls (a \
             quarter of it for 64 KiB) after {WARM_UP} to warm up. go-plugin's plugin echoes as many bytes without looking at them, over gRPC \
             (protobuf's BytesValue) and over net/rpc, on its Unix socket."
        ),
    );
    for (how, is_pinned, aim) in [("all cores", false, AIM_ALL_CORES), ("one core", true, AIM_ONE_CORE)] {
        let body = || measure(rivals, how);
        let measured = if is_pinned { pinned(body) } else { body() };
        for Measured { size, ours, grpc, rpc } in &measured {
            report.series(&[ours, grpc, rpc]);
            let times = grpc.p50() / ours.p50();
            report.row(Row {
                what: format!("isolated call, {size} B each way, {how}"),
                ours: quantiles(ours),
                beside: format!("go-plugin gRPC {}; net/rpc {}", quantiles(grpc), quantiles(rpc)),
                relation: format!("gRPC takes {times:.1} x as long, net/rpc {:.1} x", rpc.p50() / ours.p50()),
                aim: format!("gRPC {aim} x"),
                kept: Some(times >= aim),
            });
        }
    }
}
