//! A daemon with twenty isolated drivers, from its start to READY, and the memory of them.

use std::fmt::Write;

use capstan_tests::{
    daemon::{Setup, Site},
    process::{self, Process},
};

use crate::{
    measure::{Contender, Round, Series, alternate, median},
    memory::{Memory, processor_time},
    report::{Report, Row, quantiles, time},
    rivals::Rivals,
    start::{start, stop},
};

const ROUNDS: usize = 5;
const STARTS: usize = 3;
const DRIVERS: usize = 20;
/// The aim for one driver with its keeper, in MiB: 2 MB.
const AIM_MEMORY: f64 = 2e6 / (1 << 20) as f64;

/// A daemon whose worker has one isolated driver, and with so many in all.
fn site(drivers: usize) -> Site {
    let mut more = String::new();
    for number in 1..drivers {
        writeln!(more, "[known_drivers.cloud.dummy-{number}]\nlibrary = \"libcapstan_cloud_dummy.so\"")
            .expect("a text");
    }
    Site::new(Setup { more: &more, ..Setup::default() })
}

/// The keepers are what the daemon started, each with its driver below it.
fn keepers(daemon: &Process, drivers: usize) -> Vec<u32> {
    let below = process::below(daemon.id());
    let keepers: Vec<u32> = below.iter().copied().filter(|id| !process::below(*id).is_empty()).collect();
    assert_eq!((keepers.len(), below.len()), (drivers, 2 * drivers), "each driver is a keeper and a child");
    keepers
}

/// What one kind of process takes: the median over all of them.
struct Sizes {
    what: String,
    memory: Memory,
}

impl Sizes {
    fn new(what: impl Into<String>, all: &[Memory]) -> Self {
        let of = |figure: fn(&Memory) -> f64| median(&all.iter().map(figure).collect::<Vec<_>>());
        let memory =
            Memory { rss: of(|one| one.rss), pss: of(|one| one.pss), private_dirty: of(|one| one.private_dirty) };
        Self { what: what.into(), memory }
    }
}

/// What is measured at each start of one contender.
#[derive(Default)]
struct Measured {
    processor: Vec<f64>,
    /// PSS of everything, in MiB.
    memory: Vec<f64>,
}

impl Measured {
    fn note(&mut self, id: u32) {
        self.processor.push(processor_time(id) as f64);
        self.memory.push(Memory::of_all(id).pss);
    }
}

/// Drivers and keepers, ours and theirs, of a daemon with so many drivers.
fn sizes(rivals: &Rivals, drivers: usize) -> (Vec<Sizes>, f64, f64) {
    let site = site(drivers);
    let daemon = start(&site).0;
    let keepers = keepers(&daemon, drivers);
    let of = |ids: &[u32]| ids.iter().map(|id| Memory::of(*id)).collect::<Vec<_>>();
    let children: Vec<u32> = keepers.iter().flat_map(|keeper| process::below(*keeper)).collect();
    let both: Vec<Memory> = keepers.iter().map(|keeper| Memory::of_all(*keeper)).collect();
    let go_plugin = rivals.go_plugin(drivers);
    let of_how_many = if drivers == 1 { "alone".to_owned() } else { format!("of {drivers}") };
    let ours = Sizes::new(format!("driver and keeper, {of_how_many}"), &both);
    let theirs = Sizes::new(format!("go-plugin's plugin, {of_how_many}"), &of(&go_plugin.plugins));
    let (our_pss, their_pss) = (ours.memory.pss, theirs.memory.pss);
    let rows = vec![
        Sizes::new(format!("driver, {of_how_many}"), &of(&children)),
        Sizes::new(format!("keeper, {of_how_many}"), &of(&keepers)),
        ours,
        theirs,
    ];
    stop(&site, daemon);
    (rows, our_pss, their_pss)
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "Twenty isolated drivers",
        &format!(
            "`capstan serve` with the driver noop for its worker and {} times cloud-dummy, from the start of the process to READY=1; go-plugin: a \
             host that starts {DRIVERS} plugins at once, from its start until all say that they are healthy. {ROUNDS} alternating rounds of {STARTS} starts. \
             Processor time and memory are those of all processes when they are ready.",
            DRIVERS - 1
        ),
    );
    let kept = site(DRIVERS);
    stop(&kept, start(&kept).0);
    let (mut ours, mut first, mut theirs) = (Measured::default(), Measured::default(), Measured::default());
    let [later_starts, first_starts, their_starts] = alternate(
        ROUNDS,
        [
            Contender::new(format!("capstan with {DRIVERS} isolated drivers, later start"), || {
                let mut once = || {
                    let (daemon, took) = start(&kept);
                    ours.note(daemon.id());
                    stop(&kept, daemon);
                    took
                };
                (0..STARTS).map(|_| once()).collect::<Round>()
            }),
            Contender::new(format!("capstan with {DRIVERS} isolated drivers, first start"), || {
                let site = site(DRIVERS);
                let (daemon, took) = start(&site);
                first.note(daemon.id());
                stop(&site, daemon);
                vec![took]
            }),
            Contender::new(format!("go-plugin with {DRIVERS} plugins"), || {
                let mut once = || {
                    let host = rivals.go_plugin(DRIVERS);
                    theirs.note(host.id());
                    host.took
                };
                (0..STARTS).map(|_| once()).collect::<Round>()
            }),
        ],
    );
    report.series(&[&later_starts, &first_starts, &their_starts]);
    let described = |series: &Series, measured: &Measured| {
        format!("{}, processor time {}", quantiles(series), time(median(&measured.processor)))
    };
    let beside = format!("go-plugin {}", described(&their_starts, &theirs));
    for (what, series, measured) in [
        (format!("{DRIVERS} isolated drivers, daemon's start to READY"), &later_starts, &ours),
        (format!("{DRIVERS} isolated drivers, the daemon's first start"), &first_starts, &first),
    ] {
        report.row(Row {
            what,
            ours: described(series, measured),
            beside: beside.clone(),
            relation: format!("go-plugin takes {:.1} x as long", their_starts.p50() / series.p50()),
            aim: String::new(),
            kept: None,
        });
    }
    let (our_memory, their_memory) = (median(&ours.memory), median(&theirs.memory));
    report.row(Row {
        what: format!("memory of the daemon with {DRIVERS} isolated drivers (PSS of all processes)"),
        ours: format!("{our_memory:.1} MiB"),
        beside: format!("go-plugin's host and {DRIVERS} plugins {their_memory:.1} MiB"),
        relation: format!("go-plugin takes {:.1} x as much", their_memory / our_memory),
        aim: String::new(),
        kept: None,
    });
    memory_of_one(report, rivals);
}

fn memory_of_one(report: &mut Report, rivals: &Rivals) {
    let mut table = vec![["median", "RSS", "PSS", "private and dirty"].map(String::from)];
    for (drivers, of_how_many) in [(DRIVERS, "one of 20"), (1, "the only one")] {
        let (rows, ours, theirs) = sizes(rivals, drivers);
        let mib = |figure: f64| format!("{figure:.2} MiB");
        let private_dirty = rows[2].memory.private_dirty;
        table.extend(
            rows.into_iter()
                .map(|Sizes { what, memory }| [what, mib(memory.rss), mib(memory.pss), mib(memory.private_dirty)]),
        );
        report.row(Row {
            what: format!("memory of an isolated driver with its keeper, {of_how_many} (PSS)"),
            ours: format!("{}, of it private and dirty {}", mib(ours), mib(private_dirty)),
            beside: format!("go-plugin's plugin {}", mib(theirs)),
            relation: format!("go-plugin takes {:.1} x as much", theirs / ours),
            aim: "2 MB".into(),
            kept: Some(ours <= AIM_MEMORY),
        });
    }
    report.table(&table);
}
