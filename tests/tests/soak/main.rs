//! A worker under messages without end: a real HAProxy, a real gearmand, clients that never pause, and a random walk through
//! UPDATE, SUSPEND, ENABLE, STATS and METRICS. `CAPSTAN_LONG=1` walks for ten minutes, else twenty seconds;
//! `CAPSTAN_SOAK_SECONDS` says otherwise, `CAPSTAN_SEED` repeats the walk of an earlier run.
//!
//! What must hold: no request fails while the load balancer serves, requests reach only the members of the last UPDATE
//! (but for a moment after a reload), neither the daemon nor its driver grows in descriptors, threads or memory, nor the files, and nothing
//! is left when it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]
#![allow(clippy::print_stdout, reason = "what a long run saw belongs into its record")]

mod clients;
mod growth;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capstan_tests::{
    daemon::{HAPROXY, Setup, Site},
    free_port,
    gearman::tool,
    gearmand::Gearmand,
    process::with_command_line,
    random::Random,
    wait_for,
    web::{self, WebServer},
};
use clients::Clients;
use growth::Growth;
use serde_json::{Value, json};

/// Web servers to choose members from.
const SERVERS: u64 = 6;

/// How long after a reply a request may still reach a member that was removed.
const MOST_STRAY: Duration = Duration::from_secs(1);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn length() -> Duration {
    let long = std::env::var("CAPSTAN_LONG").is_ok_and(|value| value != "0");
    Duration::from_secs(number("CAPSTAN_SOAK_SECONDS").unwrap_or(if long { 600 } else { 20 }))
}

/// What the load balancer was last told, and those who know the truth about it.
struct Walk<'a> {
    site: &'a Site,
    random: Random,
    servers: Vec<WebServer>,
    port: u16,
    /// Nobody listens there.
    dead_port: u16,
    clients: Clients,
    /// Ids of the members, and whether somebody answers there.
    members: Vec<(String, bool)>,
    /// The last UPDATE.
    last: Value,
    sent: std::collections::BTreeMap<&'static str, u64>,
    bytes_out: i64,
    /// Requests that reached a member which had just been removed, and the latest of them.
    strays: u64,
    last_stray: Duration,
}

impl Walk<'_> {
    /// Sends a message by one of two foreign and own clients; the reply must be PASS.
    fn send(&mut self, action: &'static str, message: &Value) -> Value {
        *self.sent.entry(action).or_default() += 1;
        let reply = if self.random.below(2) == 0 { self.site.send(message) } else { by_gearman(self.site, message) };
        assert_eq!(reply["hpcs_response"], "PASS", "{message}\n{reply}\n{}", self.site.log());
        reply
    }

    fn update(&mut self) {
        let mut nodes = Vec::new();
        self.members.clear();
        let all_backup = self.random.below(10) == 0;
        for index in 0..self.servers.len() {
            if self.random.below(2) == 0 {
                self.node(index, all_backup, &mut nodes);
            }
        }
        if nodes.is_empty() {
            let index = self.random.below(SERVERS);
            self.node(index as usize, all_backup, &mut nodes);
        }
        // As the only one that is no backup it would get every request until a check has found it dead.
        if self.random.below(10) == 0 && !all_backup {
            nodes.push(json!({ "id": "dead", "address": "127.0.0.1", "port": self.dead_port }));
            self.members.push(("dead".to_owned(), false));
        }
        let mut balancer = json!({ "name": "web", "protocol": "http", "port": self.port, "nodes": nodes });
        // What cannot be changed at run time, now and then.
        if self.random.below(8) == 0 {
            balancer["algorithm"] = "LEAST_CONNECTIONS".into();
        }
        if self.random.below(8) == 0 {
            balancer["monitor"] = json!({ "type": "HTTP", "delay": 2, "timeout": 1, "attempts": 2, "path": "/" });
        }
        if self.random.below(8) == 0 {
            balancer["options"] = json!({ "server_timeout": 20_000 + self.random.below(5) * 1000 });
        }
        let message = json!({ "hpcs_action": "UPDATE", "loadBalancers": [balancer] });
        self.send("UPDATE", &message);
        self.last = message;
        self.is_served();
    }

    fn node(&mut self, index: usize, all_backup: bool, nodes: &mut Vec<Value>) {
        let server = &self.servers[index];
        let mut node = json!({ "id": server.name(), "address": "127.0.0.1", "port": server.port() });
        if self.random.below(3) == 0 {
            node["weight"] = (1 + self.random.below(256)).into();
        }
        if all_backup {
            node["backup"] = "TRUE".into();
        }
        self.members.push((server.name().to_owned(), true));
        nodes.push(node);
    }

    /// New clients get an answer from a member, and soon from nobody else: after a reload the process that was replaced may
    /// still take a connection until it has seen its signal.
    fn is_served(&mut self) {
        let begun = Instant::now();
        let mut in_a_row = 0;
        while in_a_row < 5 {
            let answer = web::get(self.port, None).expect("the load balancer answers");
            assert_eq!(answer.status, 200, "{answer:?} after {}", self.last);
            if self.members.iter().any(|(id, _)| *id == answer.body) {
                in_a_row += 1;
                continue;
            }
            in_a_row = 0;
            self.strays += 1;
            self.last_stray = self.last_stray.max(begun.elapsed());
            assert!(begun.elapsed() < MOST_STRAY, "{answer:?} {:?} after {}", begun.elapsed(), self.last);
        }
    }

    fn suspend_and_enable(&mut self) {
        self.clients.expect_failures(true);
        self.send("SUSPEND", &json!({ "hpcs_action": "SUSPEND" }));
        assert!(web::get(self.port, None).is_err(), "the port is open while suspended");
        self.send("ENABLE", &json!({ "hpcs_action": "ENABLE" }));
        self.clients.expect_failures(false);
        self.is_served();
    }

    fn stats(&mut self) {
        let reply = self.send("STATS", &json!({ "hpcs_action": "STATS" }));
        let mut told: Vec<&str> =
            reply["nodes"].as_array().expect("nodes").iter().map(|node| node["id"].as_str().expect("an id")).collect();
        let mut members: Vec<&str> = self.members.iter().map(|(id, _)| id.as_str()).collect();
        told.sort_unstable();
        members.sort_unstable();
        assert_eq!(told, members, "{reply}");
    }

    fn metrics(&mut self) {
        let reply = self.send("METRICS", &json!({ "hpcs_action": "METRICS" }));
        let bytes = reply["loadBalancers"][0]["bytes_out"].as_i64().expect("bytes");
        assert!(bytes >= 0, "{reply}");
        self.bytes_out += bytes;
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=11 => self.update(),
            12 => self.suspend_and_enable(),
            13..=16 => self.stats(),
            _ => self.metrics(),
        }
    }
}

/// The `gearman` tool as the client.
fn by_gearman(site: &Site, message: &Value) -> Value {
    let output = tool(site.job_server_port, &["-f", &site.function], message.to_string().as_bytes());
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), site.log());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&output.stdout)))
}

#[test]
fn a_worker_walks_through_messages_without_losing_requests_or_growing() {
    let any_seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_micros();
    let (length, seed) = (length(), number("CAPSTAN_SEED").unwrap_or(any_seed.into()));
    println!("soak: {} s, CAPSTAN_SEED={seed}", length.as_secs());
    let gearmand = Gearmand::start();
    let driver_config = format!("{HAPROXY}\nhard_stop_after_seconds = 10");
    let site = Site::new(Setup {
        driver: "haproxy",
        driver_config: &driver_config,
        job_server: Some(gearmand.port()),
        ..Setup::default()
    });
    let daemon = site.start();

    let port = free_port();
    let mut walk = Walk {
        site: &site,
        random: Random::new(seed),
        servers: (0..SERVERS).map(|index| WebServer::start(&format!("s{index}"))).collect(),
        port,
        dead_port: free_port(),
        clients: Clients::idle(port),
        members: Vec::new(),
        last: Value::Null,
        sent: Default::default(),
        bytes_out: 0,
        strays: 0,
        last_stray: Duration::ZERO,
    };
    walk.update();
    walk.clients.start(3);

    let mut growth = Growth::of(daemon.id(), site.path());
    let begun = Instant::now();
    let mut steps = 0_u64;
    while begun.elapsed() < length {
        walk.step();
        steps += 1;
        // The first quarter is for what is allocated once.
        growth.sample(begun.elapsed() < length / 4);
        let failures = walk.clients.failures();
        assert!(
            failures.is_empty(),
            "requests failed while serving, after {steps} steps {:?}, the last {}: {failures:#?}\nHAProxy said:\n{}",
            walk.sent,
            walk.last,
            std::fs::read_to_string(site.path().join("haproxy.log")).unwrap_or_default()
        );
    }

    let requests = walk.clients.stop();
    let failures = walk.clients.failures();
    assert!(failures.is_empty(), "{failures:#?}");
    walk.metrics();
    println!("soak: {steps} steps {:?}, {requests} requests, {} bytes told by METRICS", walk.sent, walk.bytes_out);
    println!(
        "soak: {} requests reached a removed member, the latest {:?} after the reply",
        walk.strays, walk.last_stray
    );
    println!("soak: {growth}");
    growth.is_bounded();
    assert!(walk.bytes_out > 0);

    // Replaced processes end within hard_stop_after.
    wait_for("replaced HAProxy processes to end", Duration::from_secs(30), || {
        (site.haproxy_processes().len() <= 2).then_some(())
    });
    walk.send("DELETE", &json!({ "hpcs_action": "DELETE" }));
    assert!(web::get(port, None).is_err(), "the load balancer answers after DELETE");
    daemon.stop();
    assert_eq!(with_command_line(&site.path().display().to_string()), Vec::<u32>::new(), "something still runs");
}
