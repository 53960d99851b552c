//! The main job, end to end: a driver loaded from a shared library runs a real HAProxy from a real Gearman message. Then the same on
//! nodes that the pool manager keeps in stock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a demonstration talks"
)]

mod pool;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use capstan_tests::{
    daemon::{HAPROXY, Site, update},
    free_port,
    gearmand::Gearmand,
    wait_for,
    web::{self, WebServer},
};
use serde_json::{Value, json};

/// Exit code of a command line that is wrong, as with the daemon's own commands.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let real = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--job-server", "embedded"] => false,
        ["--job-server", "gearmand"] => true,
        ["--job-server", other] => return usage(&format!("the job server {other:?}")),
        other => return usage(&format!("the arguments {other:?}")),
    };
    let begun = Instant::now();
    run(real);
    pool::run();
    println!("\nAll of it worked, in {:.1} s, and nothing was left running.", begun.elapsed().as_secs_f64());
    println!(
        "A pool of your own on this machine: config/examples/local-cloud.toml, explained in docs/drivers/cloud-local.md."
    );
    println!(
        "To install and run it: docs/operator-guide.md. To write a driver: `capstan driver new`, docs/driver-guide.md."
    );
    ExitCode::SUCCESS
}

fn usage(found: &str) -> ExitCode {
    eprintln!("demo: found {found}; expected --job-server embedded or --job-server gearmand");
    ExitCode::from(USAGE)
}

fn run(real: bool) {
    let gearmand = real.then(Gearmand::start);
    let port = free_port();
    let site = Site::worker_with("haproxy", HAPROXY, gearmand.as_ref().map(Gearmand::port), "");

    step("Start the daemon: worker, HTTP, and the HAProxy driver from its shared library");
    println!("  job server: {}", if real { "a real gearmand" } else { "embedded" });
    let daemon = site.start();
    capstan(&site, &["driver", "list"]);
    tick("the driver is loaded and the worker waits for messages");

    step("Send one UPDATE message: an HTTP load balancer with two web servers");
    let mut red = WebServer::start("red");
    let blue = WebServer::start("blue");
    let green = WebServer::start("green");
    exchange(&site, &update(port, &[("1", red.port()), ("2", blue.port())]), "PASS");
    let seen = ask(port, 20);
    println!("  20 requests, each from a new client: {seen:?}");
    assert_eq!(seen.values().sum::<u64>(), 20);
    assert!(seen.len() == 2 && seen.values().all(|count| *count == 10), "the requests do not alternate");
    tick("requests alternate between red and blue");

    step("Kill the web server red while requests run");
    red.stop();
    let seen = ask(port, 20);
    println!("  20 requests: {seen:?}");
    assert_eq!(seen.get("blue"), Some(&20), "requests were lost with red gone");
    tick("blue serves them all");

    step("Add the web server green while requests run");
    let before = site.haproxy_processes();
    let load = Load::start(port);
    exchange(&site, &update(port, &[("1", red.port()), ("2", blue.port()), ("3", green.port())]), "PASS");
    wait_for("green to be asked", Duration::from_secs(10), || (green.requests() > 20).then_some(()));
    let (requests, failed) = load.stop();
    let after = site.haproxy_processes();
    println!("  {requests} requests meanwhile, {failed} failed; HAProxy processes before {before:?}, after {after:?}");
    assert_eq!(failed, 0, "requests were lost");
    assert_eq!(before, after, "HAProxy was reloaded");
    tick("green takes traffic, no request was lost, HAProxy was not reloaded");

    step("SUSPEND and ENABLE");
    exchange(&site, &json!({ "hpcs_action": "SUSPEND" }), "PASS");
    assert!(web::get(port, None).is_err(), "the load balancer still answers");
    tick("the port is closed");
    exchange(&site, &json!({ "hpcs_action": "ENABLE" }), "PASS");
    assert_eq!(ask(port, 10).values().sum::<u64>(), 10);
    tick("it serves again");

    step("METRICS");
    let reply = exchange(&site, &json!({ "hpcs_action": "METRICS" }), "PASS");
    assert!(reply["loadBalancers"][0]["bytes_out"].as_i64().is_some_and(|bytes| bytes > 0), "no bytes were counted");
    tick("bytes were counted, also over the restart");

    step("DELETE, and stop the daemon");
    exchange(&site, &json!({ "hpcs_action": "DELETE" }), "PASS");
    assert!(web::get(port, None).is_err(), "the load balancer still answers");
    daemon.stop();
    assert_eq!(site.haproxy_processes(), Vec::<u32>::new(), "HAProxy still runs");
    tick("HAProxy and the daemon are gone");
}

fn step(what: &str) {
    println!("\n== {what}");
}

fn tick(what: &str) {
    println!("  \u{2713} {what}");
}

/// Runs a command of the binary as one would on a machine where it is installed, and shows both.
fn capstan(site: &Site, arguments: &[&str]) {
    typed(arguments);
    let output = site.run(arguments);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("  {line}");
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Shows a command as it is typed into a shell.
fn typed(arguments: &[&str]) {
    let is_plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte));
    let quoted = |word: &&str| if is_plain(word) { (*word).to_owned() } else { format!("'{word}'") };
    println!("  $ capstan {}", arguments.iter().map(quoted).collect::<Vec<_>>().join(" "));
}

fn exchange(site: &Site, message: &Value, expected: &str) -> Value {
    typed(&["job", "send", &site.function, &message.to_string()]);
    let begun = Instant::now();
    let reply = site.send(message);
    println!("  reply {reply}  ({:.0} ms, the command's start included)", begun.elapsed().as_secs_f64() * 1e3);
    assert_eq!(
        reply["hpcs_response"],
        expected,
        "the worker refused; look at hpcs_error above and at its log:\n{}",
        site.log()
    );
    reply
}

/// Asks `count` times, each time as a client without a cookie, and counts who answered.
fn ask(port: u16, count: usize) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let answer = web::get(port, None).expect("the load balancer answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        *seen.entry(answer.body).or_default() += 1;
    }
    seen
}

/// One client after the other until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    thread: thread::JoinHandle<u64>,
}

impl Load {
    fn start(port: u16) -> Self {
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, failed) = (Arc::clone(&stop), Arc::clone(&failed));
            thread::spawn(move || {
                let mut requests = 0;
                while !stop.load(Ordering::Acquire) {
                    requests += 1;
                    if !web::get(port, None).is_ok_and(|answer| answer.status == 200) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                requests
            })
        };
        Self { stop, failed, thread }
    }

    fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Release);
        let requests = self.thread.join().expect("the load ends");
        (requests, self.failed.load(Ordering::Relaxed))
    }
}
