//! What a caller waits beyond its deadline: for a driver that stops when it is told, and for one that sleeps through it.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, DriverEntry, DriverHandle, Isolation, Kind, Registry, Settings, Supervision};
use capstan_plugin_api::{DriverError, ErrorCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    hosted,
    isolated::runtime,
    measure::{Contender, Round, Series, alternate, nanoseconds},
    report::{Report, Row, median_and_longest, time},
    rivals::Rivals,
    scratch,
};

const ROUNDS: usize = 4;
const CALLS: usize = 10;
const DEADLINE: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_millis(100);
/// Longer than deadline and grace together.
const SLEEP: Duration = Duration::from_millis(400);
const DRIVER: &str = "bad";

/// A driver that misbehaves as a call asks it to.
struct Bad<'a> {
    runtime: &'a Runtime,
    registry: Registry,
    handle: DriverHandle,
    isolation: Isolation,
}

impl<'a> Bad<'a> {
    fn open(runtime: &'a Runtime, state: &std::path::Path, isolation: Isolation) -> Self {
        let library = "libcapstan_bad_driver.so";
        let entry = DriverEntry { isolation, ..DriverEntry::new(Kind::LoadBalancer, DRIVER, library) };
        let settings = Settings {
            cancel_grace: GRACE,
            // None of what is done here on purpose is to end in a quarantine or an open circuit.
            max_lost: usize::MAX,
            supervision: Supervision {
                first_wait: Duration::from_millis(1),
                longest_wait: Duration::from_millis(1),
                most_ends: u32::MAX,
                ..Supervision::default()
            },
            ..hosted::settings(state, vec![entry])
        };
        let registry = runtime.block_on(Registry::open(settings)).expect("a registry");
        let handle = registry.handle(Kind::LoadBalancer, DRIVER).unwrap_or_else(|error| panic!("{error}"));
        Self { runtime, registry, handle, isolation }
    }

    /// Nanoseconds from the deadline to the caller's answer.
    fn overrun(&self, behaviour: &str) -> u64 {
        let (handle, params) = (self.handle.clone(), json!({ "misbehave": behaviour }));
        let options = CallOptions { deadline: Some(DEADLINE), ..CallOptions::default() };
        let task = async move {
            let begun = Instant::now();
            let outcome: Result<Value, DriverError> = handle.call("apply", &params, options).await;
            (begun.elapsed(), outcome)
        };
        let (took, outcome) = self.runtime.block_on(self.runtime.spawn(task)).expect("the call ends well");
        let error = outcome.expect_err("it cannot be done by the deadline");
        assert_eq!(error.code, ErrorCode::TIMEOUT, "{error}");
        nanoseconds(took.checked_sub(DEADLINE).expect("no call is given up before its deadline"))
    }

    fn heeds(&self) -> Round {
        (0..CALLS).map(|_| self.overrun("hang_until_cancelled")).collect()
    }

    fn sleeps(&self) -> Round {
        let behaviour = format!("sleep:{}", SLEEP.as_millis());
        let once = |_| {
            let took = self.overrun(&behaviour);
            if self.isolation == Isolation::Process {
                // It was killed; the next call is to find the next one.
                let restarted = self.runtime.block_on(self.registry.restart(Kind::LoadBalancer, DRIVER));
                restarted.unwrap_or_else(|error| panic!("{error}"));
            }
            took
        };
        (0..CALLS).map(once).collect()
    }
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "A call that does not end by its deadline",
        &format!(
            "Deadline {} ms, grace {} ms: from the deadline to the caller's answer, {ROUNDS} alternating rounds of {CALLS} calls. One driver looks \
             every millisecond whether its call is cancelled; the other sleeps for {} ms whatever it is told: its process is killed, in-process its \
             thread is given up for lost. go-plugin tells its caller at the deadline and leaves the plugin to itself.",
            DEADLINE.as_millis(),
            GRACE.as_millis(),
            SLEEP.as_millis()
        ),
    );
    let runtime = runtime();
    let (state, other_state) = (scratch::folder(), scratch::folder());
    let isolated = Bad::open(&runtime, state.path(), Isolation::Process);
    let in_process = Bad::open(&runtime, other_state.path(), Isolation::InProcess);
    let go_plugin = RefCell::new(rivals.go_plugin(1));
    let [isolated_heeds, in_process_heeds, isolated_sleeps, in_process_sleeps, theirs] = alternate(
        ROUNDS,
        [
            Contender::new("isolated, heeds the cancel", || isolated.heeds()),
            Contender::new("in-process, heeds the cancel", || in_process.heeds()),
            Contender::new("isolated, sleeps through it", || isolated.sleeps()),
            Contender::new("in-process, sleeps through it", || in_process.sleeps()),
            Contender::new("go-plugin, sleeps through it", || go_plugin.borrow_mut().overruns(DEADLINE, SLEEP, CALLS)),
        ],
    );
    for bad in [isolated, in_process] {
        runtime.block_on(bad.registry.close(Duration::from_secs(5)));
    }
    report.series(&[&isolated_heeds, &in_process_heeds, &isolated_sleeps, &in_process_sleeps, &theirs]);
    let beside = format!("go-plugin, its plugin going on, {}", median_and_longest(&theirs));
    for (mode, series) in [("isolated", &isolated_heeds), ("in-process", &in_process_heeds)] {
        report.row(Row {
            what: format!("deadline to the caller's answer, {mode} driver that heeds the cancel"),
            ours: median_and_longest(series),
            beside: beside.clone(),
            relation: String::new(),
            aim: String::new(),
            kept: None,
        });
    }
    let beyond = |series: &Series| series.max() - GRACE.as_nanos() as f64;
    for (mode, then, series) in
        [("isolated", "killed", &isolated_sleeps), ("in-process", "its thread lost", &in_process_sleeps)]
    {
        report.row(Row {
            what: format!(
                "the same, {mode} driver that sleeps through it: {then} after the grace of {} ms",
                GRACE.as_millis()
            ),
            ours: median_and_longest(series),
            beside: beside.clone(),
            relation: format!("at most {} beyond the grace", time(beyond(series).max(0.0))),
            aim: String::new(),
            kept: None,
        });
    }
}
