//! A host of drivers in a process of its own: a good one that is called all the time, a program that it started, and a bad one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use capstan::drivers::{
    CallOptions, DriverEntry, DriverHandle, DriverInfo, DriverState, Isolation, Kind, Registry, Settings, Supervision,
};
use capstan_plugin_api::{DriverError, Retry};
use capstan_tests::{elf, paths, process, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    cases::{self, Case, Ends, Gets, InProcess},
    is_long,
    limits::{self, Watch},
    traffic::Traffic,
};

/// Deadline of a call to the bad driver, where it is one that it misses.
const DEADLINE: Duration = Duration::from_millis(150);
const GRACE: Duration = Duration::from_millis(400);
/// What this machine may need beyond deadline and grace to run whoever waits.
const SCHEDULING: Duration = Duration::from_secs(2);
/// Calls of one driver at a time, the default.
const MAX_CONCURRENCY: usize = 8;
const FAR: Duration = Duration::from_secs(20);

/// Runs a case as a host in a process of its own, so that its descriptors, threads and children are the case's alone, and so
/// that it may die of it.
pub fn run(name: &str, isolation: Isolation) {
    let folder = tempfile::Builder::new().prefix("zoo-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Output { status, stdout, stderr } = Command::new(env::current_exe().unwrap())
        .args(["host::child", "--exact", "--nocapture"])
        .env("CAPSTAN_ZOO_CASE", name)
        .env("CAPSTAN_ZOO_ISOLATION", isolation.as_str())
        .env("CAPSTAN_ZOO_FOLDER", folder.path())
        .output()
        .unwrap();
    let told = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if let Some(line) = told.lines().find_map(|line| line.find("zoo: ").map(|at| &line[at..])) {
        println!("{line}");
    }
    let tail = || told[told.len().saturating_sub(6000)..].to_owned();
    let program: u32 =
        fs::read_to_string(folder.path().join("program")).unwrap_or_else(|_| panic!("{}", tail())).parse().unwrap();
    let program_goes_on = process::is_alive(program);
    process::signal_to(program, Signal::KILL);
    match (isolation, cases::find(name).in_process) {
        (Isolation::InProcess, InProcess::Kills { signal, code }) => {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!((status.signal(), status.code()), (signal, code), "{}", tail());
            // A success in words of the test's harness would be a host that survived.
            assert!(!told.contains("test result"), "{}", tail());
        }
        _ => assert!(status.success(), "{status}: {}", tail()),
    }
    assert!(program_goes_on, "what the good driver started is gone");
    wait_for("every process of the drivers to be gone", FAR, || {
        process::with_command_line(&folder.path().display().to_string()).is_empty().then_some(())
    });
}

/// The host's side of [`run`].
#[test]
fn child() {
    let Ok(name) = env::var("CAPSTAN_ZOO_CASE") else { return };
    let folder = PathBuf::from(env::var_os("CAPSTAN_ZOO_FOLDER").unwrap());
    let isolation =
        if env::var("CAPSTAN_ZOO_ISOLATION").unwrap() == "process" { Isolation::Process } else { Isolation::InProcess };
    let case = cases::find(&name);
    Host::open(&folder, isolation, case).misbehave(case);
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    processes: usize,
}

impl Held {
    fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).unwrap().count();
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            processes: process::below(std::process::id()).len(),
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.descriptors <= other.descriptors && self.threads <= other.threads && self.processes <= other.processes
    }
}

pub struct Host {
    folder: PathBuf,
    isolation: Isolation,
    runtime: Runtime,
    registry: Registry,
    bad: DriverHandle,
    good: DriverHandle,
    program: u32,
    /// Threads there may be without any being left behind: the pools of drivers in this process grow as calls come.
    threads: usize,
}

/// The bad driver's library under two hashes: what one of them does to its file must not be the other's.
fn install(folder: &Path) -> [PathBuf; 2] {
    let [bad, good] = ["bad.so", "good.so"].map(|name| folder.join(name));
    let library = fs::read(paths::driver("bad_driver")).unwrap();
    fs::write(&bad, &library).unwrap();
    let same_with_other_words = elf::patched(&library, 0..library.len(), "Misbehaves as its", "Is good if it has");
    fs::write(&good, same_with_other_words).unwrap();
    [bad, good]
}

/// What the registry says of the bad driver.
pub fn bad(registry: &Registry) -> DriverInfo {
    registry.info(Kind::LoadBalancer, "bad").unwrap()
}

/// Settings of a host that restarts what has ended after moments, without limit.
pub fn settings(folder: &Path) -> Settings {
    Settings {
        trust_own_files: true,
        probe_executable: paths::capstan(),
        cancel_grace: GRACE,
        // A child of ours alone, whatever the machine's init is.
        systemd_run: None,
        supervision: Supervision {
            first_wait: Duration::from_millis(20),
            longest_wait: Duration::from_millis(200),
            most_ends: u32::MAX,
            ..Supervision::default()
        },
        ..Settings::new(folder.join("state"), folder)
    }
}

impl Host {
    fn open(folder: &Path, isolation: Isolation, case: &Case) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let pools = if isolation == Isolation::InProcess { 2 * MAX_CONCURRENCY + 4 } else { 0 };
        let threads = Held::now().threads + pools;
        let [bad, good] = install(folder);
        let entry = |name, file| DriverEntry { isolation, ..DriverEntry::new(Kind::LoadBalancer, name, file) };
        let mut bad = entry("bad", bad);
        if isolation == Isolation::Process {
            bad.confinement.limits = case.limits();
        }
        // Where there are no control groups, limits of processes do not bind root.
        if bad.confinement.limits.processes.is_some() && rustix::process::geteuid().is_root() {
            bad.confinement.user = Some("nobody".to_owned());
        }
        let settings = Settings { drivers: vec![bad, entry("good", good)], ..settings(folder) };
        let registry = runtime.block_on(Registry::open(settings)).unwrap();
        let [bad, good] = ["bad", "good"].map(|name| registry.handle(Kind::LoadBalancer, name).unwrap());
        let mut host = Self { folder: folder.to_owned(), isolation, runtime, registry, bad, good, program: 0, threads };
        let start = r#"host_call:program.start:{"name":"beside","command":["/bin/sleep","600"]}"#;
        let answer = host.call(&host.good, start, FAR).unwrap();
        host.program = answer["body"]["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a process id");
        fs::write(folder.join("program"), host.program.to_string()).unwrap();
        host
    }

    fn call(&self, driver: &DriverHandle, word: &str, deadline: Duration) -> Result<Value, DriverError> {
        let options = CallOptions { deadline: Some(deadline), ..CallOptions::default() };
        self.runtime.block_on(driver.call("apply", &json!({ "misbehave": word }), options))
    }

    fn info(&self) -> DriverInfo {
        bad(&self.registry)
    }

    fn misbehave(self, case: &Case) {
        let word = case.word.replace("@FILE@", &self.folder.join("bad.so").display().to_string());
        let (gets, is_lost) = match (self.isolation, case.in_process) {
            (Isolation::Process, _) => (case.gets, false),
            (_, InProcess::Contained(gets) | InProcess::Kept(gets)) => (gets, false),
            (_, InProcess::Lost(gets)) => (gets, true),
            // Nobody is left to look at the answer.
            (_, InProcess::Kills { .. }) => (Gets::Answer, false),
            (_, InProcess::Unfit) => panic!("{} is not for the daemon's own process", case.name),
        };
        let traffic = Traffic::start(&self.runtime, &self.good);
        // As many at once as each may have, so that each thread that will be needed is there.
        self.runtime.block_on(async {
            let calls = [&self.good, &self.bad]
                .into_iter()
                .flat_map(|driver| std::iter::repeat_n(driver.clone(), MAX_CONCURRENCY));
            let calls = calls.map(|driver| {
                tokio::spawn(async move {
                    driver.call::<_, Value>("apply", &json!({ "misbehave": "sleep:50" }), CallOptions::default()).await
                })
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.unwrap().unwrap();
            }
        });
        let watch = Watch::start(&self.registry, case.limits());
        let mut latest = self.round(case, &word, gets);
        let held = Held::now();
        let (begun, mut rounds) = (Instant::now(), 1);
        let time = if is_long() { Duration::from_secs(20) } else { Duration::from_millis(500) };
        // The driver is given up after some lost threads; what is kept is the machine's.
        let most = if is_lost || matches!(case.in_process, InProcess::Kept(_)) { 3 } else { u32::MAX };
        let goes_on = !matches!(case.ends, Ends::ForGood(_)) || self.isolation == Isolation::InProcess;
        while goes_on && (rounds < 2 || begun.elapsed() < time) && rounds < most {
            latest = latest.max(self.round(case, &word, gets));
            rounds += 1;
        }
        std::thread::sleep(time.saturating_sub(begun.elapsed()));
        if let Some(watch) = watch {
            watch.stop();
        }
        let rate = traffic.stop(&self.runtime);
        self.is_as_before(case, held);
        assert!(process::is_alive(self.program), "what the good driver started is gone");
        println!(
            "zoo: {:28} {:10} {rounds:3} times, a good driver answered {rate:.0} calls/s, latest answer {} ms after the deadline",
            case.name,
            self.isolation.as_str(),
            latest.as_millis()
        );
        self.runtime.block_on(self.registry.close(Duration::from_secs(1)));
        let left = wait_for("the drivers' processes to be gone", FAR, || {
            let left = process::below(std::process::id());
            left.iter().all(|pid| *pid == self.program).then_some(left)
        });
        assert_eq!(left, [self.program]);
        wait_for("control groups to be gone", FAR, || limits::control_groups().is_empty().then_some(()));
        // Threads that hang are not waited for.
        self.runtime.shutdown_background();
    }

    /// Has the driver misbehave once; answers how long after the deadline the caller had its answer.
    fn round(&self, case: &Case, word: &str, gets: Gets) -> Duration {
        let deadline = if case.is_about_time() { DEADLINE } else { FAR };
        let (before, begun) = (self.info(), Instant::now());
        let outcome = self.call(&self.bad, word, deadline);
        let late = begun.elapsed().saturating_sub(deadline);
        assert!(late < GRACE + SCHEDULING, "{late:?} after the deadline");
        match (gets, &outcome) {
            (Gets::Answer, Ok(_)) => {}
            (Gets::Error(code, says), Err(error)) => {
                assert_eq!(error.code.as_str(), code, "{error:?}");
                assert!(error.operator_message.contains(says), "{error:?}");
                // `apply` may be repeated, and the caller is told when.
                let is_told = matches!(error.retry, Retry::After(_));
                assert_eq!(is_told, code == "unavailable", "{error:?}");
            }
            (_, outcome) => panic!("{}: {outcome:?}", case.name),
        }
        if self.isolation == Isolation::InProcess {
            return late;
        }
        match case.ends {
            Ends::Never => assert_eq!(self.info().restarts, before.restarts, "{:?}", self.info()),
            Ends::Always(_) | Ends::Somehow => {
                let info = wait_for("the next process", FAR, || {
                    let info = self.info();
                    (info.state == DriverState::Ready && info.restarts > before.restarts).then_some(info)
                });
                let count = |info: &DriverInfo| match case.ends {
                    Ends::Always(end) => info.ends.get(end).copied().unwrap_or_default(),
                    _ => info.ends.values().sum(),
                };
                assert_eq!(count(&info), count(&before) + 1, "{:?}", info.ends);
            }
            Ends::ForGood(end) => {
                let why = wait_for("the next process to be refused", FAR, || {
                    let info = self.info();
                    assert_ne!(info.state, DriverState::Ready);
                    info.last_error.filter(|why| why.contains("did not come up") && info.ends.contains_key(end))
                });
                assert!(why.contains("with sha256 "), "{why}");
                return late;
            }
        }
        self.call(&self.bad, "good", FAR).expect("it serves again");
        late
    }

    /// Nothing was left behind.
    fn is_as_before(&self, case: &Case, before: Held) {
        if self.isolation == Isolation::InProcess && matches!(case.in_process, InProcess::Kept(_)) {
            let now = Held::now();
            let grew =
                now.descriptors > before.descriptors || now.threads > before.threads || case.name == "memory_hog";
            assert!(grew, "{} is contained by now: {before:?} {now:?}", case.name);
            return;
        }
        let lost = self.info().lost_threads;
        let mut now = Held::now();
        let end = Instant::now() + FAR;
        while !now.is_within(&Held { threads: before.threads.max(self.threads) + lost, ..before }) {
            assert!(Instant::now() < end, "{}: held before {before:?}, now {now:?}", case.name);
            std::thread::sleep(Duration::from_millis(5));
            now = Held::now();
        }
    }
}
