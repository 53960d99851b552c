//! From a client through a real gearmand to the worker and back, beside a plain libgearman worker that echoes.

use capstan_tests::{
    daemon::{Site, update},
    gearmand::{Gearmand, wait_for_worker},
};
use serde_json::json;

use crate::{
    measure::{Contender, alternate},
    report::{Report, Row, quantiles, time},
    rivals::{Rivals, Target},
};

const ROUNDS: usize = 6;
const WARM_UP: usize = 200;
const JOBS: usize = 1000;
/// The aim: at most so many nanoseconds more.
const AIM: f64 = 100_000.0;
const ECHO: &str = "echo";

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "A Gearman round trip through the worker",
        &format!(
            "One libgearman client, one gearmand, both workers registered with it; {ROUNDS} alternating rounds of {JOBS} jobs after {WARM_UP} to \
             warm up. The libgearman worker sends the same payload back. DISCOVER calls no driver, SUSPEND calls it once, UPDATE \
             applies two nodes; the driver is noop."
        ),
    );
    let server = Gearmand::start();
    let site = Site::worker_with("noop", "", Some(server.port()), "");
    let daemon = site.start();
    wait_for_worker(server.port(), &site.function);
    let _echo = rivals.gearman_workers(server.port(), ECHO, 1);

    let messages = [
        ("DISCOVER", json!({ "hpcs_action": "DISCOVER" }), false),
        ("SUSPEND", json!({ "hpcs_action": "SUSPEND" }), true),
        ("UPDATE", update(8080, &[("1", 8081), ("2", 8082)]), true),
    ];
    // SUSPEND of a device that has nothing is refused.
    site.send(&messages[2].1);
    for (name, message, _) in &messages {
        let reply = site.send(message);
        assert_eq!(reply["hpcs_response"], "PASS", "{name}: {reply}");
    }
    for (name, message, has_aim) in messages {
        let payload = message.to_string().into_bytes();
        let jobs = |function: &str| {
            rivals.gearman_client(&Target { port: server.port(), function, payload: &payload }, 1, WARM_UP, JOBS).0
        };
        let [ours, echo] = alternate(
            ROUNDS,
            [
                Contender::new(format!("{name} through the worker"), || jobs(&site.function)),
                Contender::new(format!("{name}'s payload echoed by libgearman"), || jobs(ECHO)),
            ],
        );
        report.series(&[&ours, &echo]);
        let more = ours.p50() - echo.p50();
        report.row(Row {
            what: format!("Gearman round trip, {name} through worker and noop driver"),
            ours: quantiles(&ours),
            beside: format!("libgearman echo worker {}", quantiles(&echo)),
            relation: format!("{}{} at p50", if more < 0.0 { "-" } else { "+" }, time(more.abs())),
            aim: if has_aim { "+100 us".into() } else { String::new() },
            kept: has_aim.then_some(more <= AIM),
        });
    }
    daemon.stop();
}
