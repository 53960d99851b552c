//! A stock of 1,000 nodes from nothing.

use std::time::Duration;

use capstan_tests::http;

use super::{count, get, now, site, wait_until};
use crate::{
    memory,
    report::{Report, Row},
    start::start,
};

const NODES: usize = 1000;
const AT_ONCE: usize = 100;
const BUILD: Duration = Duration::from_secs(2);
/// The aim: so many times as long as the cloud needs.
const AIM: f64 = 1.2;

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "A stock of 1,000 nodes",
        &format!(
            "The daemon with an empty store on the disk and the dummy cloud in memory, each driver in a process of its own: {NODES} nodes that take {} s \
             each, {AT_ONCE} at a time, looked at every 0.2 s, without DIAGNOSTICS, registered with the daemon's own device API. From the start of \
             the daemon until the last one is in stock, once. Processor time and memory are those of the daemon and its drivers' processes.",
            BUILD.as_secs()
        ),
    );
    let cloud = format!("build_time = {{ ms = {} }}", BUILD.as_millis());
    let site = site(NODES, "check_interval_seconds = 1\npoll_interval_seconds = 0.2", &cloud);
    let begun_at = now();
    let (daemon, _) = start(&site);
    wait_until(&site, Duration::from_secs(120), |status| count(status, "ready") == NODES as u64)
        .unwrap_or_else(|status| panic!("the stock does not fill: {status}"));
    let (processor, peak) = (memory::processor_time(daemon.id()) as f64 / 1e9, memory::peak(daemon.id()));
    let nodes = get(&site, "/pool/v1/nodes?limit=1000");
    let ready_at = nodes["nodes"].as_array().into_iter().flatten().filter_map(|node| http::time(&node["ready_at"]));
    let last = ready_at.max().expect("a node in stock");
    let took = (last - begun_at) as f64 / 1e3;
    let ideal = (NODES / AT_ONCE) as f64 * BUILD.as_secs_f64();
    report.row(Row {
        what: format!("stock of {NODES} nodes of {} s, {AT_ONCE} at a time, from the daemon's start", BUILD.as_secs()),
        ours: format!("{took:.1} s; processor time {processor:.1} s, peak RSS {peak:.0} MiB"),
        beside: format!("the cloud alone {ideal:.0} s"),
        relation: format!("{:.2} x", took / ideal),
        aim: format!("{AIM} x"),
        kept: Some(took <= AIM * ideal),
    });
}
