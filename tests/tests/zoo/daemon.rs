//! The built daemon as a whole: which ends of a driver are its own, and what is left when it is killed.

use std::{
    env, fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use capstan_tests::{
    daemon::{Setup, Site},
    gearman, http,
    message::action,
    paths,
    process::{self, Process},
    random::Random,
    wait_for,
};
use rustix::process::{Signal, WaitOptions};
use serde_json::{Value, json};

use super::is_long;

const FAR: Duration = Duration::from_secs(20);

/// The driver starts a program as it is opened.
const OPEN: &str = r#"open = 'host_call:program.start:{"name":"beside","command":["/bin/sleep","600"]}'"#;

/// The program of a site's driver, as the daemon noted it.
fn program(site: &Site) -> u32 {
    let record = fs::read(site.path().join("state/programs/load_balancer.bad.beside.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    record["process"]["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or_else(|| panic!("{record}"))
}

fn site(isolation: &str, word: &str) -> Site {
    Site::new(Setup {
        driver: "bad",
        driver_config: &format!("invoke = {{ suspend = \"{word}\" }}\n{OPEN}"),
        drivers: &format!("isolation = \"{isolation}\""),
        ..Setup::default()
    })
}

#[test]
fn a_crash_costs_the_daemon_only_what_its_mode_says() {
    for word in ["segfault", "exit:0"] {
        let isolated = site("process", word);
        let daemon = isolated.start();
        let table = isolated.expect(0, &["driver", "list"]);
        assert!(table.out.contains(" process "), "{}", table.out);
        let beside = program(&isolated);
        let reply = isolated.ask(&action("SUSPEND"));
        assert_eq!(reply["hpcs_response"], "FAIL", "{word}: {reply}");
        wait_for("the next process", Duration::from_secs(20), || {
            let listed = http::get(isolated.http_port, "/drivers/v1/load_balancer/bad", "").unwrap().json();
            (listed["state"] == "ready" && listed["restarts"] == json!(1)).then_some(())
        });
        isolated.pass(&action("ENABLE"));
        assert_eq!(program(&isolated), beside, "the program was found, not started anew");
        assert!(process::is_alive(beside), "{word}");
        daemon.stop();
        assert!(process::is_alive(beside), "{word}");
        process::signal_to(beside, Signal::KILL);

        let inside = site("in-process", word);
        let mut daemon = start(&inside);
        let table = inside.expect(0, &["driver", "list"]);
        assert!(table.out.contains(" in-process "), "{}", table.out);
        let beside = program(&inside);
        let payload = action("SUSPEND").to_string();
        let outcome = gearman::try_submit(inside.job_server_port, &inside.function, payload.as_bytes());
        assert!(outcome.is_err(), "the daemon ends with its driver, and {word} got {outcome:?}");
        daemon.wait(Duration::from_secs(20));
        assert!(process::is_alive(beside), "{word}");
        process::signal_to(beside, Signal::KILL);
    }
}

/// A daemon that need not come up.
fn spawn(site: &Site) -> Process {
    let log = fs::File::options().create(true).append(true).open(site.path().join("log")).unwrap();
    Process::spawn(
        Command::new(paths::capstan())
            .arg("--config")
            .arg(site.config())
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log),
    )
    .unwrap()
}

fn start(site: &Site) -> Process {
    let daemon = spawn(site);
    wait_for("the daemon", Duration::from_secs(30), || {
        http::get(site.http_port, "/readyz", "").is_ok_and(|answer| answer.status == 200).then_some(())
    });
    daemon
}

/// Reaps whoever has ended below this process; true when nobody is left.
fn nobody_is_left() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::CHILD);
                return true;
            }
        }
    }
}

#[test]
fn a_daemon_that_is_killed_leaves_no_child_also_while_it_starts() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["daemon::kills", "--exact", "--nocapture"])
        .env("CAPSTAN_ZOO_KILLS", "1")
        .output()
        .unwrap();
    let [told, error] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}: {told}{error}", output.status);
    // The harness may have begun the line.
    println!("{}", told.lines().find_map(|line| line.find("zoo: ").map(|at| &line[at..])).unwrap());
}

/// In a process of its own, to which all fall that lose their parent: so nobody is missed, whatever its name is by then.
#[test]
fn kills() {
    if env::var_os("CAPSTAN_ZOO_KILLS").is_none() {
        return;
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let mut random = Random::seeded(9);
    // Some that come up at once, one that takes its time in `open`, one that is probed first.
    let more = r#"
[known_drivers.load_balancer.noop]
library = "libcapstan_load_balancer_noop.so"
[known_drivers.load_balancer.slow]
library = "libcapstan_bad_driver.so"
config = { open = "sleep:400" }
[known_drivers.load_balancer.forks]
library = "libcapstan_bad_driver.so"
config = { open = "fork_tree:3" }
[known_drivers.load_balancer.inside]
library = "libcapstan_bad_driver.so"
isolation = "in-process"
"#;
    // A driver and its keeper each, and the tree.
    let all = 4 * 2 + 8;
    let site = Site::new(Setup { driver: "bad", driver_config: "", more, ..Setup::default() });
    let (rounds, mut most, mut slowest) = (if is_long() { 200 } else { 15 }, 0, Duration::ZERO);
    for round in 0..rounds {
        let mut daemon = spawn(&site);
        // From before its first child to after the last is up. A busy machine takes its time, so it is a matter of how many
        // there are, and then of a moment more.
        let enough = random.below(all + 1) as usize;
        let children = wait_for(&format!("{enough} processes below the daemon"), FAR, || {
            Some(process::below(daemon.id())).filter(|children| children.len() >= enough)
        });
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        daemon.signal(Signal::KILL);
        let killed = Instant::now();
        daemon.wait(FAR);
        while !nobody_is_left() {
            let left = process::below(std::process::id());
            assert!(killed.elapsed() < FAR, "round {round}: of {children:?} are left {left:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        most = most.max(children.len());
        slowest = slowest.max(killed.elapsed());
    }
    println!(
        "zoo: {rounds} daemons killed with up to {most} processes below them; the last was gone after at most {slowest:?}"
    );
}
