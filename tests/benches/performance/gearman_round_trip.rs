//! From a client through a real gearmand to the worker and back, beside a plain libgearman worker that echoes.

use std::{fs, path::Path};

use capstan_tests::{
    daemon::{Site, update},
    gearmand::{Gearmand, wait_for_worker},
};
use serde_json::json;

use crate::{
    measure::{Contender, Series, alternate},
    report::{Report, Row, quantiles, time},
    rivals::{Rivals, Target},
    scratch,
};

const ROUNDS: usize = 6;
const WARM_UP: usize = 200;
const JOBS: usize = 1000;
/// The aim: at most so many nanoseconds more.
const AIM: f64 = 100_000.0;
const ECHO: &str = "echo";

/// A worker whose drivers keep their state in memory, under a name of its own.
fn site_in_memory(port: u16, state: &Path) -> Site {
    let mut site = Site::worker_with("noop", "", Some(port), "");
    let text = fs::read_to_string(site.config()).expect("its configuration");
    let on_disk = format!("state_dir = \"{}/state\"", site.path().display());
    let in_memory = format!("state_dir = \"{}\"", state.display());
    assert!(text.contains(&on_disk), "the site's state is where it is thought to be");
    let text = text.replace(&on_disk, &in_memory).replace("function = \"node-1\"", "function = \"node-2\"");
    fs::write(site.config(), text).expect("the configuration is written");
    site.function = "node-2".into();
    site
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "A Gearman round trip through the worker",
        &format!(
            "One libgearman client, one gearmand, all workers registered with it; {ROUNDS} alternating rounds of {JOBS} jobs after \
             {WARM_UP} to warm up. The libgearman worker sends the same payload back. DISCOVER calls no driver, SUSPEND calls it once, \
             UPDATE applies two nodes; the driver is noop. SUSPEND and UPDATE leave what was done last on the disk before they \
             answer; with the state in memory the rest can be seen."
        ),
    );
    let server = Gearmand::start();
    let site = Site::worker_with("noop", "", Some(server.port()), "");
    let state = scratch::folder_in_memory();
    let memory_site = site_in_memory(server.port(), state.path());
    let daemons = [site.start(), memory_site.start()];
    wait_for_worker(server.port(), &site.function);
    wait_for_worker(server.port(), &memory_site.function);
    let _echo = rivals.gearman_workers(server.port(), ECHO, 1);

    let messages = [
        ("DISCOVER", json!({ "hpcs_action": "DISCOVER" }), false),
        ("SUSPEND", json!({ "hpcs_action": "SUSPEND" }), true),
        ("UPDATE", update(8080, &[("1", 8081), ("2", 8082)]), true),
    ];
    for site in [&site, &memory_site] {
        // SUSPEND of a device that has nothing is refused.
        site.send(&messages[2].1);
        for (name, message, _) in &messages {
            let reply = site.send(message);
            assert_eq!(reply["hpcs_response"], "PASS", "{name}: {reply}");
        }
    }
    for (name, message, reaches_driver) in messages {
        let payload = message.to_string().into_bytes();
        let jobs = |function: &str| {
            rivals.gearman_client(&Target { port: server.port(), function, payload: &payload }, 1, WARM_UP, JOBS).0
        };
        let [ours, memory, echo] = alternate(
            ROUNDS,
            [
                Contender::new(format!("{name} through the worker"), || jobs(&site.function)),
                Contender::new(format!("{name} through the worker, state in memory"), || jobs(&memory_site.function)),
                Contender::new(format!("{name}'s payload echoed by libgearman"), || jobs(ECHO)),
            ],
        );
        report.series(&[&ours, &memory, &echo]);
        let beside = format!("libgearman echo worker {}", quantiles(&echo));
        let more = |series: &Series| {
            let more = series.p50() - echo.p50();
            (more, format!("{}{} at p50", if more < 0.0 { "-" } else { "+" }, time(more.abs())))
        };
        report.row(Row {
            what: format!("Gearman round trip, {name} through worker and noop driver"),
            ours: quantiles(&ours),
            beside: beside.clone(),
            relation: more(&ours).1,
            aim: "+100 us".into(),
            kept: Some(more(&ours).0 <= AIM),
        });
        if reaches_driver {
            report.row(Row {
                what: "the same with the state in memory: what does not wait for the disk".into(),
                ours: quantiles(&memory),
                beside,
                relation: more(&memory).1,
                aim: String::new(),
                kept: None,
            });
        }
    }
    for daemon in daemons {
        daemon.stop();
    }
}
