//! Loading a driver, from the line in `known_drivers` to `health`. The dynamic linker hands out a library that it has loaded
//! before, so each load happens in a fresh process: this program again, with `--load-once`.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use capstan::drivers::{Kind, Registry};
use capstan_tests::paths;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    hosted,
    measure::{Contender, Round, alternate, nanoseconds},
    report::{Report, Row, quantiles, time},
    rivals::Rivals,
    scratch,
};

const ROUNDS: usize = 5;
const LOADS: usize = 20;
/// The aim, in nanoseconds.
const AIM: f64 = 5e6;

const DRIVERS: [(Kind, &str); 3] =
    [(Kind::Cloud, "dummy"), (Kind::LoadBalancer, "haproxy"), (Kind::LoadBalancer, "noop")];

fn config(name: &str, state: &Path) -> Value {
    if name == "haproxy" {
        json!({ "state_directory": state.join("haproxy"), "runtime_directory": state.join("run") })
    } else {
        json!({})
    }
}

/// The fresh process's side: loads the driver and prints the nanoseconds.
pub fn load_once(arguments: &[String]) -> ExitCode {
    let [kind, name, state] = arguments else { return ExitCode::from(64) };
    let known = DRIVERS.into_iter().find(|(of, known)| of.to_string() == *kind && known == name);
    let Some((kind, name)) = known else { return ExitCode::from(64) };
    let state = Path::new(state);
    let entry = hosted::entry(kind, name, config(name, state));
    let runtime = Runtime::new().expect("a runtime");
    let settings = hosted::settings(state, vec![entry]);
    let start = Instant::now();
    let registry = runtime.block_on(Registry::open(settings)).expect("a registry");
    let took = nanoseconds(start.elapsed());
    registry.handle(kind, name).unwrap_or_else(|error| panic!("{error}"));
    print(took);
    ExitCode::SUCCESS
}

#[allow(clippy::print_stdout, reason = "the answer to the process that measures")]
fn print(nanoseconds: u64) {
    println!("{nanoseconds}");
}

fn answer(command: &mut Command) -> u64 {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn load(kind: Kind, name: &str, state: &Path) -> u64 {
    let program = std::env::current_exe().expect("this program");
    answer(Command::new(program).args(["--load-once", &kind.to_string(), name]).arg(state))
}

fn repeat(mut once: impl FnMut() -> u64) -> impl FnMut() -> Round {
    move || (0..LOADS).map(|_| once()).collect()
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "Loading a driver",
        &format!(
            "Every load in a fresh process, {ROUNDS} alternating rounds of {LOADS}: all stages up to `health`. With the probe: an empty state \
             directory, so the file is also copied and tried in a throw-away child."
        ),
    );
    let kept = scratch::folder();
    let mut probes = Vec::new();
    for (kind, name) in DRIVERS {
        let file = paths::driver(&format!("{kind}_{name}"));
        let state = kept.path().join(name);
        load(kind, name, &state);
        let [later, first, linker] = alternate(
            ROUNDS,
            [
                Contender::new(format!("{name}: load, probed before"), repeat(|| load(kind, name, &state))),
                Contender::new(
                    format!("{name}: load with probe and copy"),
                    repeat(|| {
                        let fresh = scratch::folder();
                        load(kind, name, fresh.path())
                    }),
                ),
                Contender::new(
                    format!("{name}: dlopen and dlsym alone"),
                    repeat(|| answer(Command::new(rivals.program("dlopen")).arg(&file))),
                ),
            ],
        );
        report.series(&[&later, &first, &linker]);
        probes.push(format!("{name} {}", time(first.p50())));
        let size = fs::metadata(&file).expect("the driver's file").len() as f64 / 1e6;
        report.row(Row {
            what: format!("load of the driver {name} ({size:.1} MB), probe aside"),
            ours: quantiles(&later),
            beside: format!("dlopen and dlsym alone {}", time(linker.p50())),
            relation: String::new(),
            aim: "5 ms".into(),
            kept: Some(later.p50() <= AIM),
        });
    }
    report.row(Row {
        what: "first load of a driver's file, with copy and probe".into(),
        ours: probes.join(", "),
        beside: String::new(),
        relation: String::new(),
        aim: String::new(),
        kept: None,
    });
}
