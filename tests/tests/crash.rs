//! What ends suddenly, and what goes on: the daemon, HAProxy and the job server are killed at any moment.
//!
//! `CAPSTAN_LONG=1` runs the whole matrix, `CAPSTAN_SEED` begins it with another seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a suite stops where something is wrong, and a long run tells its figures"
)]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use capstan_tests::{
    daemon::{Daemon, HAPROXY, Setup, Site, update},
    free_port, gearman,
    gearmand::{Gearmand, wait_for_worker},
    load::{Load, Seen},
    process,
    random::Random,
    wait_for,
    web::{self, WebServer},
};
use rustix::process::Signal;
use serde_json::{Value, json};

const FAR: Duration = Duration::from_secs(20);

fn long() -> bool {
    std::env::var_os("CAPSTAN_LONG").is_some_and(|value| value != "0")
}

fn action(name: &str) -> Value {
    json!({ "hpcs_action": name })
}

/// A device with one HTTP load balancer, clients, and the two configurations that it goes between.
struct Stage {
    site: Site,
    port: u16,
    red: WebServer,
    blue: WebServer,
}

/// How the second configuration is reached from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Reload,
    Runtime,
}

impl Stage {
    fn new() -> Self {
        Self::with(Site::haproxy())
    }

    fn with(site: Site) -> Self {
        Self { site, port: free_port(), red: WebServer::start("red"), blue: WebServer::start("blue") }
    }

    /// A configuration of which red or blue alone takes traffic.
    fn only(&self, body: &str, way: Way) -> Value {
        let (red, blue) = (("red", self.red.port()), ("blue", self.blue.port()));
        let mut message = update(self.port, &if body == "red" { [red, blue] } else { [blue, red] });
        message["loadBalancers"][0]["nodes"][1]["backup"] = json!(true);
        match way {
            // A time limit of a proxy cannot be changed at run time; whether a server is a backup neither.
            Way::Reload => {
                let timeout = if body == "red" { 30_000 } else { 31_000 };
                message["loadBalancers"][0]["options"] = json!({ "client_timeout": timeout });
            }
            // The address of a server can.
            Way::Runtime => {
                let port = if body == "red" { red.1 } else { blue.1 };
                message = update(self.port, &[("one", port)]);
            }
        }
        message
    }

    /// Whoever asks gets an answer of red or of blue, now.
    fn serves(&self) -> String {
        let answer = web::get(self.port, None).expect("HAProxy answers");
        assert!(answer.status == 200 && ["red", "blue"].contains(&answer.body.as_str()), "{answer:?}");
        answer.body
    }

    /// The message passes, and soon only `body` answers.
    fn reaches(&self, message: &Value, body: &str) {
        self.site.pass(message);
        wait_for(body, Duration::from_secs(5), || (self.serves() == body).then_some(()));
    }

    /// Sends a message and kills the daemon when `moment` comes back; the message may or may not get through.
    fn kill_during(&self, daemon: Daemon<'_>, message: &Value, moment: impl FnOnce(Instant)) {
        let (port, function, payload) = (self.site.job_server_port, &self.site.function, message.to_string());
        thread::scope(|scope| {
            scope.spawn(move || gearman::try_submit(port, function, payload.as_bytes()));
            moment(Instant::now());
            daemon.kill();
        });
    }

    fn assert_lossless(&self, seen: &Seen, what: &str) {
        assert!(
            seen.failures.is_empty(),
            "{what}: {} of the clients' requests failed: {:?}\nthe log:\n{}",
            seen.failures.len(),
            &seen.failures[..seen.failures.len().min(5)],
            self.site.log()
        );
        assert!(seen.answers.keys().all(|body| body == "red" || body == "blue"), "{what}: {:?}", seen.answers);
    }
}

/// Waits in small steps: `thread::sleep` alone is too coarse for moments a fraction of a millisecond apart.
fn wait_until(end: Instant) {
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if left > Duration::from_millis(2) {
            thread::sleep(left - Duration::from_millis(1));
        } else {
            std::hint::spin_loop();
        }
    }
}

/// How long an undisturbed update takes: the mean of four.
fn measure(stage: &Stage, way: Way) -> Duration {
    let begun = Instant::now();
    for body in ["red", "blue", "red", "blue"] {
        stage.site.pass(&stage.only(body, way));
    }
    begun.elapsed() / 4
}

#[test]
fn the_daemon_killed_at_random_moments_of_an_update() {
    let rounds = if long() { 250 } else { 12 };
    let mut random = Random::seeded(20_121_018);
    let stage = Stage::new();
    for way in [Way::Reload, Way::Runtime] {
        let mut daemon = Some(stage.site.start());
        stage.reaches(&stage.only("blue", way), "blue");
        let duration = measure(&stage, way);
        let load = Load::start(stage.port, 2);
        let (mut unchanged, mut changed) = (0, 0);
        let mut runs = "blue".to_owned();
        for round in 0..rounds {
            let target = if runs == "red" { "blue" } else { "red" };
            // A little more than the whole time, so that some updates end before the kill.
            let delay = Duration::from_micros(random.below(duration.as_micros() as u64 * 6 / 5));
            let what = format!("{way:?}, round {round}, {delay:?} of {duration:?}");
            stage.kill_during(daemon.take().unwrap(), &stage.only(target, way), |begun| wait_until(begun + delay));
            if stage.serves() == runs {
                unchanged += 1
            } else {
                changed += 1
            }
            stage.assert_lossless(&load.seen(), &what);
            daemon = Some(stage.site.start());
            // Now the same message, now the one before: both are next messages.
            let next = if random.below(2) == 0 { target } else { runs.as_str() }.to_owned();
            stage.reaches(&stage.only(&next, way), &next);
            let up = stage.site.pass(&action("STATS"));
            assert!(up["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()), "{what}: {up}");
            runs = next;
        }
        let seen = load.stop();
        stage.assert_lossless(&seen, "the end");
        let masters = stage.site.haproxy_processes();
        println!(
            "{way:?}: {rounds} kills within {duration:?}: {unchanged} left the old configuration, {changed} the new one; \
             {} requests, none lost; HAProxy's processes at the end: {masters:?}",
            seen.answers.values().sum::<u64>()
        );
        daemon.take().unwrap().stop();
    }
}

/// Whether a step of the change has left its trace.
type Reached = fn(&Before, &Site) -> bool;

/// Something that a reload does and that can be seen from outside, in the order in which it happens.
const STEPS: [(&str, Reached); 6] = [
    ("the candidate is written", |_, site| site.haproxy_state().join("haproxy.cfg.new").exists()),
    ("the good file is kept", |before, site| inode(&site.haproxy_state().join("haproxy.cfg.good")) != before.good),
    ("the counters are kept", |before, site| newest(&site.path().join("state/driver-state")) != before.state),
    ("the file is in place", |before, site| inode(&site.haproxy_state().join("haproxy.cfg")) != before.config),
    ("the new process is there", |before, site| {
        site.haproxy_processes().iter().any(|pid| !before.processes.contains(pid) && reads(*pid, "haproxy.cfg"))
    }),
    ("the record is written", |before, site| inode(&site.haproxy_state().join("device.json")) != before.record),
];

/// What was there before the update.
struct Before {
    good: Option<u64>,
    config: Option<u64>,
    record: Option<u64>,
    state: Vec<(u64, i64)>,
    processes: Vec<u32>,
}

impl Before {
    fn look(site: &Site) -> Self {
        let state = site.haproxy_state();
        Self {
            good: inode(&state.join("haproxy.cfg.good")),
            config: inode(&state.join("haproxy.cfg")),
            record: inode(&state.join("device.json")),
            state: newest(&site.path().join("state/driver-state")),
            processes: site.haproxy_processes(),
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|about| about.ino())
}

/// Inodes and times of all files below a folder.
fn newest(folder: &Path) -> Vec<(u64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(about) if about.is_dir() => found.extend(newest(&entry.path())),
            Ok(about) => found.push((about.ino(), about.mtime_nsec())),
            Err(_) => {}
        }
    }
    found.sort_unstable();
    found
}

fn reads(pid: u32, file: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word.ends_with(format!("/{file}").as_bytes())))
}

#[test]
fn the_daemon_killed_at_each_step_of_a_reload() {
    let rounds = if long() { 20 } else { 2 };
    let mut random = Random::seeded(1_350_518_400);
    let stage = Stage::new();
    let mut daemon = Some(stage.site.start());
    stage.reaches(&stage.only("blue", Way::Reload), "blue");
    let load = Load::start(stage.port, 2);
    let mut runs = "blue";
    for (step, happened) in STEPS {
        let (mut reached, mut unchanged, mut changed) = (0, 0, 0);
        for round in 0..rounds {
            let target = if runs == "red" { "blue" } else { "red" };
            let before = Before::look(&stage.site);
            let pause = Duration::from_micros(if round == 0 { 0 } else { random.below(3000) });
            stage.kill_during(daemon.take().unwrap(), &stage.only(target, Way::Reload), |begun| {
                while begun.elapsed() < Duration::from_secs(5) {
                    if happened(&before, &stage.site) {
                        reached += 1;
                        break;
                    }
                }
                wait_until(Instant::now() + pause);
            });
            if stage.serves() == runs {
                unchanged += 1
            } else {
                changed += 1
            }
            stage.assert_lossless(&load.seen(), step);
            daemon = Some(stage.site.start());
            stage.reaches(&stage.only(target, Way::Reload), target);
            runs = target;
        }
        assert_eq!(reached, rounds, "{step} was not seen");
        println!("{step}: {rounds} kills; {unchanged} left the old configuration, {changed} the new one");
    }
    stage.assert_lossless(&load.stop(), "the end");
    daemon.take().unwrap().stop();
}

#[test]
fn the_daemon_killed_during_the_first_update_and_during_the_other_actions() {
    let rounds = if long() { 40 } else { 3 };
    let mut random = Random::seeded(44);
    let stage = Stage::new();
    let first = stage.only("red", Way::Reload);
    let mut daemon = Some(stage.site.start());
    let begun = Instant::now();
    stage.site.pass(&first);
    let duration = begun.elapsed();
    for message in [action("DELETE"), first.clone(), action("SUSPEND"), action("ENABLE")] {
        let name = message["hpcs_action"].as_str().unwrap().to_owned();
        for round in 0..rounds {
            // UPDATE begins with nothing, ENABLE with a suspended device, the others with one that serves.
            match name.as_str() {
                "UPDATE" => drop(stage.site.pass(&action("DELETE"))),
                "ENABLE" => drop((stage.site.pass(&first), stage.site.pass(&action("SUSPEND")))),
                _ => drop(stage.site.pass(&first)),
            }
            let delay = Duration::from_micros(random.below(duration.as_micros() as u64 * 6 / 5));
            stage.kill_during(daemon.take().unwrap(), &message, |begun| wait_until(begun + delay));
            daemon = Some(stage.site.start());
            let what = format!("{name}, round {round}, {delay:?} of {duration:?}");
            let reply = stage.site.ask(&message);
            // DELETE may have been done already; then there is nothing to suspend or enable, but neither was killed.
            assert_eq!(reply["hpcs_response"], "PASS", "{what}: {reply}\n{}", stage.site.log());
            let serves = web::get(stage.port, None).is_ok_and(|answer| answer.body == "red");
            assert_eq!(serves, ["UPDATE", "ENABLE"].contains(&name.as_str()), "{what}");
            stage.reaches(&first, "red");
            let masters = masters(&stage.site);
            assert_eq!(masters.len(), 1, "{what}: one HAProxy, not {masters:?}");
        }
        println!("{name}: {rounds} kills within {duration:?}, the next message passed");
    }
    stage.site.pass(&action("DELETE"));
    assert_eq!(stage.site.haproxy_processes(), Vec::<u32>::new());
    daemon.take().unwrap().stop();
}

/// HAProxy's processes whose parent is none of them.
fn masters(site: &Site) -> Vec<u32> {
    let all = site.haproxy_processes();
    let parent = |pid: &u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    all.iter().copied().filter(|pid| parent(pid).is_some_and(|parent| !all.contains(&parent))).collect()
}

#[test]
fn a_job_whose_worker_was_killed_is_delivered_again_and_done_once() {
    let gearmand = Gearmand::start();
    let setup =
        Setup { driver: "haproxy", driver_config: HAPROXY, job_server: Some(gearmand.port()), ..Setup::default() };
    let stage = Stage::with(Site::new(setup));
    let mut daemon = Some(stage.site.start());
    wait_for_worker(gearmand.port(), &stage.site.function);
    stage.reaches(&stage.only("blue", Way::Reload), "blue");
    let duration = measure(&stage, Way::Reload);
    let mut random = Random::seeded(7);
    let mut runs = "blue";
    for round in 0..if long() { 60 } else { 4 } {
        let target = if runs == "red" { "blue" } else { "red" };
        let (port, function, payload) =
            (gearmand.port(), &stage.site.function, stage.only(target, Way::Reload).to_string());
        let delay = Duration::from_micros(random.below(duration.as_micros() as u64));
        let outcome = thread::scope(|scope| {
            let begun = Instant::now();
            let client = scope.spawn(move || gearman::try_submit(port, function, payload.as_bytes()));
            wait_until(begun + delay);
            daemon.take().unwrap().kill();
            stage.serves();
            daemon = Some(stage.site.start());
            client.join().unwrap()
        });
        let gearman::Outcome::Complete(reply) = outcome.unwrap() else { panic!("round {round}: the job failed") };
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["hpcs_response"], "PASS", "round {round}, {delay:?}: {reply}");
        wait_for(target, Duration::from_secs(5), || (stage.serves() == target).then_some(()));
        runs = target;
    }
    daemon.take().unwrap().stop();
}

#[test]
fn haproxy_killed_is_brought_back_by_the_next_update() {
    let stage = Stage::new();
    let daemon = stage.site.start();
    let message = stage.only("red", Way::Reload);
    stage.reaches(&message, "red");
    let workers = |site: &Site| -> Vec<u32> {
        let masters = masters(site);
        site.haproxy_processes().into_iter().filter(|pid| !masters.contains(pid)).collect()
    };
    let rounds = if long() { 100 } else { 3 };
    for (what, pick) in [
        ("all", (|site: &Site| site.haproxy_processes()) as fn(&Site) -> Vec<u32>),
        ("the master", masters),
        ("the worker", workers),
    ] {
        for round in 0..rounds {
            let victims = pick(&stage.site);
            for pid in &victims {
                process::signal_to(*pid, Signal::KILL);
            }
            wait_for("the kill", FAR, || victims.iter().all(|pid| !process::is_alive(*pid)).then_some(()));
            if what == "all" && round == 0 {
                wait_for("HAProxy to be gone", FAR, || stage.site.haproxy_processes().is_empty().then_some(()));
                stage.site.fail(&action("STATS"), "HAProxy is not running.");
            }
            // The same message as before, and maybe while a worker still answers that has lost its master.
            stage.site.pass(&message);
            wait_for("it to serve", FAR, || {
                web::get(stage.port, None).is_ok_and(|answer| answer.body == "red").then_some(())
            });
        }
        stage.reaches(&stage.only("blue", Way::Reload), "blue");
        stage.reaches(&message, "red");
        wait_for(&format!("one HAProxy after {what} had been killed"), FAR, || {
            (masters(&stage.site).len() == 1).then_some(())
        });
        println!("{what} of HAProxy: {rounds} kills, the next UPDATE brought it back");
    }
    daemon.stop();
}

#[test]
fn gearmand_killed_and_restarted_is_served_again() {
    let mut gearmand = Gearmand::start();
    let site = Site::new(Setup { job_server: Some(gearmand.port()), ..Setup::default() });
    let daemon = site.start();
    for round in 0..3 {
        wait_for_worker(site.job_server_port, &site.function);
        site.pass(&action("DISCOVER"));
        gearmand.process().signal(if round == 1 { Signal::TERM } else { Signal::KILL });
        gearmand.process().wait(FAR);
        drop(gearmand);
        gearmand = Gearmand::start_on(site.job_server_port);
    }
    wait_for_worker(site.job_server_port, &site.function);
    site.pass(&action("DISCOVER"));
    daemon.stop();
}

#[test]
fn a_restarted_daemon_finds_what_runs_and_goes_on() {
    let stage = Stage::new();
    let daemon = stage.site.start();
    stage.reaches(&stage.only("red", Way::Reload), "red");
    stage.site.pass(&action("METRICS"));
    let load = Load::start(stage.port, 2);
    let pids = stage.site.haproxy_processes();
    assert_eq!(pids.len(), 2, "a master and a worker");
    daemon.stop();
    assert_eq!(stage.site.haproxy_processes(), pids, "HAProxy outlives the daemon");
    stage.serves();
    let daemon = stage.site.start();
    let nodes = stage.site.pass(&action("STATS"))["nodes"].clone();
    // A member counts as UP from its first check on, which comes within half a minute.
    assert_eq!(nodes.as_array().unwrap().iter().map(|node| &node["id"]).collect::<Vec<_>>(), ["red", "blue"]);
    daemon.kill();
    let daemon = stage.site.start();
    assert_eq!(stage.site.haproxy_processes(), pids, "the same processes after a stop and a crash");
    let metrics = stage.site.pass(&action("METRICS"));
    assert!(metrics["loadBalancers"][0]["bytes_out"].as_u64().unwrap() > 0, "{metrics}");
    stage.reaches(&stage.only("red", Way::Reload), "red");
    assert_eq!(stage.site.haproxy_processes(), pids, "nothing to change");
    stage.assert_lossless(&load.stop(), "restarts of the daemon");
    stage.site.pass(&action("DELETE"));
    assert_eq!(stage.site.haproxy_processes(), Vec::<u32>::new());
    daemon.stop();
}
