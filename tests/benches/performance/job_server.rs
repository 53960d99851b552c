//! The embedded job server beside gearmand, driven by the same libgearman clients and workers.

use capstan_tests::{daemon::Site, gearmand::Gearmand};

use crate::{
    measure::{Contender, alternate, median},
    report::{Report, Row, quantiles},
    rivals::{Rivals, Target},
};

const ROUNDS: usize = 5;
const WORKERS: usize = 4;
const PAYLOAD: [u8; 200] = [b'x'; 200];
const FUNCTION: &str = "bench";
/// Clients, jobs to warm up and jobs, the latter two for each client.
const LOADS: [(usize, usize, usize); 2] = [(1, 300, 3000), (16, 100, 1500)];

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "The embedded job server",
        &format!(
            "Foreground jobs of {} bytes by libgearman clients to {WORKERS} libgearman workers that echo; {ROUNDS} alternating rounds. \
             gearmand with 4 threads, as Debian starts it.",
            PAYLOAD.len()
        ),
    );
    let gearmand = Gearmand::start();
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let _workers = (
        rivals.gearman_workers(gearmand.port(), FUNCTION, WORKERS),
        rivals.gearman_workers(site.job_server_port, FUNCTION, WORKERS),
    );
    for (clients, warm_up, jobs) in LOADS {
        let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
        let load = |port: u16, rates: &mut Vec<f64>| {
            let target = Target { port, function: FUNCTION, payload: &PAYLOAD };
            let (round, rate) = rivals.gearman_client(&target, clients, warm_up, jobs);
            rates.push(rate);
            round
        };
        let [ours, theirs] = alternate(
            ROUNDS,
            [
                Contender::new(format!("embedded, {clients} client(s)"), || load(site.job_server_port, &mut our_rates)),
                Contender::new(format!("gearmand, {clients} client(s)"), || load(gearmand.port(), &mut their_rates)),
            ],
        );
        report.series(&[&ours, &theirs]);
        let (our_rate, their_rate) = (median(&our_rates), median(&their_rates));
        report.row(Row {
            what: format!("embedded job server, {clients} client(s), {WORKERS} workers"),
            ours: format!("{our_rate:.0} jobs/s, {}", quantiles(&ours)),
            beside: format!("gearmand {their_rate:.0} jobs/s, {}", quantiles(&theirs)),
            relation: format!("{:.0} % of gearmand's jobs/s", our_rate / their_rate * 100.0),
            aim: String::new(),
            kept: None,
        });
    }
    daemon.stop();
}
