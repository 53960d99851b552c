//! A reload under load: how long until the next generation serves, and what it costs the calls meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use capstan::drivers::{DriverHandle, Isolation, Kind};
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::{
    hosted,
    isolated::{call, dummy, request, runtime},
    measure::{Contender, Round, Series, alternate, nanoseconds},
    report::{Report, Row, median_and_longest},
    scratch,
};

const ROUNDS: usize = 5;
const RELOADS: usize = 8;
const SIZE: usize = 1 << 10;

/// One caller that calls without a pause.
struct Traffic {
    shared: Arc<Shared>,
    caller: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    calls: AtomicU64,
    /// Of the calls since it was last taken, in nanoseconds.
    longest: AtomicU64,
}

impl Traffic {
    fn start(runtime: &Runtime, handle: DriverHandle) -> Self {
        let shared = Arc::<Shared>::default();
        let noted = Arc::clone(&shared);
        let caller = runtime.spawn(async move {
            let request = request(SIZE);
            while !noted.stop.load(Ordering::Acquire) {
                let begun = Instant::now();
                call(&handle, &request).await;
                noted.longest.fetch_max(nanoseconds(begun.elapsed()), Ordering::AcqRel);
                noted.calls.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { shared, caller }
    }

    /// The longest of the calls that were out since the last time, the one that is out now included.
    async fn take_longest(&self) -> u64 {
        let calls = || self.shared.calls.load(Ordering::Acquire);
        let before = calls();
        while calls() == before {
            assert!(!self.caller.is_finished(), "a call failed");
            tokio::task::yield_now().await;
        }
        self.shared.longest.swap(0, Ordering::AcqRel)
    }

    async fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        self.caller.await.expect("no call failed");
    }
}

/// Reloads a driver that is called all the time; the three series are the reload, the longest call meanwhile, and the longest
/// call in as long a time without a reload.
fn measure(isolation: Isolation) -> [Series; 3] {
    let runtime = runtime();
    let state = scratch::folder();
    let (registry, handle) = hosted::open(&runtime, state.path(), dummy(isolation));
    let traffic = Traffic::start(&runtime, handle);
    let mode = isolation.as_str();
    let mut meanwhile = Series::new(format!("{mode}: longest call during a reload"));
    let mut otherwise = Series::new(format!("{mode}: longest call in as long a time without"));
    let once = async || {
        traffic.take_longest().await;
        let begun = Instant::now();
        let reloaded = registry.reload(Kind::Cloud, "dummy").await;
        let took = begun.elapsed();
        reloaded.unwrap_or_else(|error| panic!("{error}"));
        let meanwhile = traffic.take_longest().await;
        tokio::time::sleep(took).await;
        (nanoseconds(took), meanwhile, traffic.take_longest().await)
    };
    let [reload] = alternate(
        ROUNDS,
        [Contender::new(format!("{mode}: reload, from its start until the next generation serves"), || {
            let all: Vec<_> = (0..RELOADS).map(|_| runtime.block_on(once())).collect();
            meanwhile.add(all.iter().map(|(_, meanwhile, _)| *meanwhile).collect());
            otherwise.add(all.iter().map(|(_, _, otherwise)| *otherwise).collect());
            all.into_iter().map(|(took, _, _)| took).collect::<Round>()
        })],
    );
    runtime.block_on(traffic.stop());
    runtime.block_on(registry.close(Duration::from_secs(5)));
    [reload, meanwhile, otherwise]
}

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "Reload of a driver that is called all the time",
        &format!(
            "cloud-dummy, its file unchanged, {ROUNDS} rounds of {RELOADS} reloads, one caller with {SIZE} B each way and no pause; no call may \
             fail. go-plugin has no reload."
        ),
    );
    for isolation in [Isolation::Process, Isolation::InProcess] {
        let [reload, meanwhile, otherwise] = measure(isolation);
        report.series(&[&reload, &meanwhile, &otherwise]);
        let mode = isolation.as_str();
        report.row(Row {
            what: format!("reload of a driver under load, isolation {mode}, until the next generation serves"),
            ours: median_and_longest(&reload),
            beside: String::new(),
            relation: String::new(),
            aim: String::new(),
            kept: None,
        });
        report.row(Row {
            what: format!("longest call during such a reload, isolation {mode}"),
            ours: median_and_longest(&meanwhile),
            beside: format!("in as long a time without one {}", median_and_longest(&otherwise)),
            relation: String::new(),
            aim: String::new(),
            kept: None,
        });
    }
}
