//! A stock of 10,000 nodes that nobody touches, and one of which a hundredth vanishes.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, Kind};
use capstan_tests::{daemon::Site, http};
use serde_json::{Value, json};

use super::{count, get, site, wait_until};
use crate::{
    hosted,
    isolated::runtime,
    measure::median,
    memory::{Memory, processor_time},
    report::{Report, Row},
    scratch,
    start::start,
};

const NODES: u64 = 10_000;
const VANISH: u64 = 100;
const SWEEPS: usize = 10;
/// The aims: seconds of processor time for a sweep, and the share by which memory may be more in the second half of the sweeps.
const AIM_SWEEP: f64 = 5.0;
const AIM_GROWTH: f64 = 0.05;
/// The longest that the pool may need until it has replaced what vanished.
const SETTLES: Duration = Duration::from_secs(60);
const SCHEDULES: [&str; 2] = ["check_nodes", "reconcile"];

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "A stock of 10,000 nodes",
        &format!(
            "The daemon with its store on the disk, the dummy cloud in a file, each driver in a process of its own; `check_nodes` and `reconcile` \
             begin 1 s after they ended (reconcile give or take a fifth), DIAGNOSTICS off. A sweep is one run of each; its processor time is all that \
             the daemon and its drivers' processes used in {SWEEPS} sweeps, by their number. Then {VANISH} nodes vanish from the cloud: until it \
             was seen twice, they are deleted, and as many are built."
        ),
    );
    let folder = scratch::folder();
    let file = folder.path().join("cloud");
    let intervals = "check_interval_seconds = 1\nreconcile_interval_seconds = 1";
    let cloud = format!("file = {file:?}\nsync = false");
    let site = site(usize::try_from(NODES).expect("a number of nodes"), intervals, &cloud);
    let begun = Instant::now();
    let (daemon, _) = start(&site);
    let is_full = |status: &Value| count(status, "ready") == NODES && count(status, "building") == 0;
    wait_until(&site, Duration::from_secs(300), is_full)
        .unwrap_or_else(|status| panic!("the stock does not fill: {status}"));
    let (filled, fill_processor) = (begun.elapsed().as_secs_f64(), processor_time(daemon.id()) as f64 / 1e9);
    // What filling has left over is put away in the first ones.
    (0..2).for_each(|_| sweep(&site, || ()));

    let before = processor_time(daemon.id());
    let mut times = Vec::new();
    // The least in each half: what a sweep takes for its own time goes up and down.
    let mut least = [f64::INFINITY; 2];
    for number in 0..SWEEPS {
        let least = &mut least[number * 2 / SWEEPS];
        sweep(&site, || *least = least.min(Memory::of_all(daemon.id()).rss));
        times.extend(SCHEDULES.iter().map(|name| ran(&site, name)).map(|(began, ended)| (ended - began) as f64 / 1e3));
    }
    let processor = (processor_time(daemon.id()) - before) as f64 / 1e9;
    let of = |which: usize| median(&times.iter().copied().skip(which).step_by(SCHEDULES.len()).collect::<Vec<_>>());
    let each = processor / SWEEPS as f64;
    report.row(Row {
        what: format!("one sweep over {NODES} nodes in stock, check_nodes and reconcile"),
        ours: format!("processor time {each:.2} s; check_nodes took {:.2} s, reconcile {:.2} s", of(0), of(1)),
        beside: String::new(),
        relation: String::new(),
        aim: format!("{AIM_SWEEP:.0} s of processor time"),
        kept: Some(each <= AIM_SWEEP),
    });
    report.row(Row {
        what: format!("memory of daemon and drivers over {SWEEPS} such sweeps (RSS, the least of each half)"),
        ours: format!("{:.1} MiB, then {:.1} MiB", least[0], least[1]),
        beside: String::new(),
        relation: format!("{:+.1} %", (least[1] / least[0] - 1.0) * 100.0),
        aim: format!("+{:.0} %", AIM_GROWTH * 100.0),
        kept: Some(least[1] <= least[0] * (1.0 + AIM_GROWTH)),
    });

    report.row(Row {
        what: format!("filling the stock of {NODES} nodes, which take no time"),
        ours: format!("{filled:.1} s; processor time {fill_processor:.1} s"),
        beside: String::new(),
        relation: String::new(),
        aim: String::new(),
        kept: None,
    });

    destroy(&site, &file);
    let (before, begun) = (processor_time(daemon.id()), Instant::now());
    let mut missed = false;
    let settled = wait_until(&site, SETTLES, |status| {
        missed |= count(status, "ready") < NODES;
        missed && is_full(status) && count(status, "deleting") == 0
    });
    let (took, processor) = (begun.elapsed().as_secs_f64(), (processor_time(daemon.id()) - before) as f64 / 1e9);
    report.row(Row {
        what: format!("{VANISH} of {NODES} nodes vanish, until all is as wanted"),
        ours: match &settled {
            Ok(()) => format!("{took:.1} s; processor time {processor:.1} s"),
            Err(status) => {
                format!("not in this time: {} nodes ready, {} failed", count(status, "ready"), count(status, "failed"))
            }
        },
        beside: String::new(),
        relation: String::new(),
        aim: format!("within {} s", SETTLES.as_secs()),
        kept: Some(settled.is_ok()),
    });
}

/// When a schedule last began and ended.
fn ran(site: &Site, name: &str) -> (i64, i64) {
    let status = get(site, "/pool/v1/status");
    let schedules = status["schedules"].as_array().expect("the schedules");
    let schedule = schedules.iter().find(|schedule| schedule["schedule"] == name).expect("a schedule that ran");
    assert_eq!(schedule["last_error"], "", "{schedule}");
    let time = |key: &str| http::time(&schedule[key]).expect("a time");
    (time("began_at"), time("ended_at"))
}

/// Waits until each of the two has run from its beginning to its end once more; meanwhile looks again and again.
fn sweep(site: &Site, mut look: impl FnMut()) {
    let before = SCHEDULES.map(|name| ran(site, name).1);
    let end = Instant::now() + Duration::from_secs(60);
    for (name, before) in SCHEDULES.into_iter().zip(before) {
        while ran(site, name).1 == before {
            assert!(Instant::now() < end, "{name} does not run");
            look();
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Takes nodes out of the cloud past the daemon.
fn destroy(site: &Site, file: &Path) {
    let (runtime, state) = (runtime(), scratch::folder());
    let config = json!({ "extra_params": { "file": file, "sync": false } });
    let (registry, handle) = hosted::open(&runtime, state.path(), hosted::entry(Kind::Cloud, "dummy", config));
    let nodes = get(site, &format!("/pool/v1/nodes?state=ready&limit={VANISH}"));
    for node in nodes["nodes"].as_array().expect("the nodes") {
        let request = json!({ "id": node["node"] });
        let destroyed: Result<Value, _> =
            runtime.block_on(handle.call("destroy_node", &request, CallOptions::default()));
        destroyed.unwrap_or_else(|error| panic!("{error}"));
    }
    drop(handle);
    runtime.block_on(registry.close(Duration::from_secs(5)));
}
