//! Durable acceptance of jobs: our store beside gearmand with its sqlite queue, and beside SQLite alone with groups as large.

mod bare;
mod queue;
mod store;
mod syncs;

use std::{cell::RefCell, process::ExitCode};

use crate::{
    measure::{Contender, Round, Series, alternate, median},
    report::{Report, Row, quantiles},
    rivals::Rivals,
};

use bare::Bare;
use queue::Queue;
use store::Accepting;

/// First argument of this program where it is to accept jobs and nothing else, for whoever counts its system calls.
pub const ACCEPT: &str = "--accept-jobs";

const ROUNDS: usize = 4;
/// What a client sends.
const PAYLOAD: [u8; 200] = [b'x'; 200];
/// The aims: of gearmand's jobs per second, and of SQLite's alone.
const AIM_BARE: f64 = 0.6;

/// Clients, jobs of each, and the aim.
struct Load {
    clients: usize,
    ours: usize,
    door: usize,
    queue: usize,
    aim: f64,
}

const LOADS: [Load; 2] = [
    Load { clients: 1, ours: 1500, door: 1000, queue: 400, aim: 3.0 },
    Load { clients: 64, ours: 400, door: 150, queue: 15, aim: 60.0 },
];

/// Jobs per second, a value for each round.
type Rates = RefCell<Vec<f64>>;

/// Accepts jobs in a store of their own and ends.
pub fn accept(arguments: &[String]) -> ExitCode {
    let number = arguments.first().and_then(|number| number.parse().ok()).expect("a number of jobs");
    Accepting::open().round(1, number);
    ExitCode::SUCCESS
}

/// Keeps the rate of a round.
fn noted((round, rate): (Round, f64), rates: &Rates) -> Round {
    rates.borrow_mut().push(rate);
    round
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "Durable acceptance of jobs",
        &format!(
            "Jobs of {} bytes until they are on the disk, {ROUNDS} alternating rounds. No public door of the daemon answers a bare \"accepted\" (the \
             function libra_pool_mgm answers when the work is done, POST to /clouds/v1 asks the cloud first), so ours is measured in this process, at \
             `Store::write` with `jobs::accept`, without a network. gearmand is asked for background jobs by libgearman clients over TCP. \"Behind a job \
             server\" is the same libgearman client at the embedded job server, whose worker stores each job and then answers: more steps than \
             gearmand has, and no product of ours. SQLite alone is rusqlite on one thread: the same tables, row and pragmas, rows made beforehand, \
             groups as large as ours were on average.",
            PAYLOAD.len()
        ),
    );
    let accepting = Accepting::open();
    let door = accepting.door();
    let queue = Queue::start();
    syncs::tell(report, rivals, &accepting);
    for load in LOADS {
        let clients = load.clients;
        // A round ahead, for the size of a group.
        accepting.round(clients, load.ours / 4);
        let bare = RefCell::new(Bare::open());
        let [our_rates, door_rates, queue_rates, bare_rates, groups] = [const { RefCell::new(Vec::new()) }; 5];
        let ours = || {
            let before = accepting.commits();
            let round = noted(accepting.round(clients, load.ours), &our_rates);
            groups.borrow_mut().push(round.len() as f64 / (accepting.commits() - before) as f64);
            round
        };
        let first_group = accepting.group(clients, load.ours / 4);
        let group = || groups.borrow().last().copied().unwrap_or(first_group).round() as usize;
        let name = |what: &str| format!("{what}, {clients} client(s)");
        let [ours, behind, theirs, alone] = alternate(
            ROUNDS,
            [
                Contender::new(name("store"), ours),
                Contender::new(name("behind a job server"), || {
                    noted(rivals.gearman_client(&door.target(&PAYLOAD), clients, 20, load.door), &door_rates)
                }),
                Contender::new(name("gearmand"), || {
                    noted(rivals.gearman_submitter(&queue.target(&PAYLOAD), clients, 2, load.queue), &queue_rates)
                }),
                Contender::new(name("SQLite alone"), || {
                    noted(bare.borrow_mut().round(clients * load.ours, group()), &bare_rates)
                }),
            ],
        );
        report.series(&[&ours, &behind, &theirs, &alone]);
        let rate = |rates: &Rates| median(&rates.borrow());
        let (ours, behind) = ((rate(&our_rates), &ours), (rate(&door_rates), &behind));
        let (theirs, alone) = ((rate(&queue_rates), &theirs), rate(&bare_rates));
        let cell = |(rate, series): (f64, &Series)| format!("{rate:.0} jobs/s, {}", quantiles(series));
        let beside = format!("gearmand {}", cell(theirs));
        report.row(Row {
            what: format!("jobs accepted durably, {clients} client(s), at the store"),
            ours: cell(ours),
            beside: beside.clone(),
            relation: format!("{:.1} x gearmand's jobs/s", ours.0 / theirs.0),
            aim: format!("{} x", load.aim),
            kept: Some(ours.0 >= load.aim * theirs.0),
        });
        report.row(Row {
            what: format!("the same, {clients} client(s), behind a job server"),
            ours: cell(behind),
            beside,
            relation: format!("{:.1} x gearmand's jobs/s", behind.0 / theirs.0),
            aim: String::new(),
            kept: None,
        });
        report.row(Row {
            what: format!(
                "the same, {clients} client(s), at the store, {:.0} jobs to a sync",
                median(&groups.borrow())
            ),
            ours: format!("{:.0} jobs/s", ours.0),
            beside: format!("SQLite alone {alone:.0} jobs/s"),
            relation: format!("{:.0} % of SQLite alone", ours.0 / alone * 100.0),
            aim: if clients == 1 { String::new() } else { format!("{:.0} %", AIM_BARE * 100.0) },
            kept: (clients > 1).then_some(ours.0 >= AIM_BARE * alone),
        });
    }
    door.close();
    accepting.close();
}
