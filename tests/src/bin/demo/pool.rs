//! The pool: nodes that are real processes of this machine, each a worker with the HAProxy driver.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use capstan_tests::{
    daemon::{Site, update},
    free_port,
    pool::{PoolSetup, local_cloud},
    process, wait_for,
    web::{self, WebServer},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{capstan, step, tick, typed};

/// Long enough for a node to come up on a busy machine.
const FAR: Duration = Duration::from_secs(60);

pub fn run() {
    step("Start a daemon that keeps two load-balancer nodes in stock, in the local cloud");
    let site = site();
    let daemon = site.start();
    wait_for("two nodes in stock", FAR, || (ready(&site).len() == 2).then_some(()));
    capstan(&site, &["pool", "status"]);
    capstan(&site, &["pool", "nodes"]);
    tick(
        "two nodes were built, asked how they are and registered; each is a real `capstan worker` on an address of its own",
    );

    step("Take one, and send its worker an UPDATE: an HTTP load balancer with two web servers");
    typed(&["pool", "take", "--owner", "demo"]);
    let taken = site.expect(0, &["pool", "take", "--owner", "demo", "--output", "json"]).json();
    let (name, address) = (text(&taken["node"]["name"]), text(&taken["node"]["address"]));
    println!("  node {name} at {address}");
    let (red, blue) = (WebServer::start("red"), WebServer::start("blue"));
    let port = free_port();
    let message = update(port, &[("1", red.port()), ("2", blue.port())]).to_string();
    typed(&["job", "send", &name, &message]);
    let reply = site.expect(0, &["job", "send", &name, &message, "--output", "json"]).json();
    assert_eq!(reply["hpcs_response"], "PASS", "{reply}");
    let at: SocketAddr = format!("{address}:{port}").parse().expect("an address");
    let mut seen = BTreeMap::new();
    for _ in 0..20 {
        let answer = web::get_at(at, None).expect("the load balancer answers");
        *seen.entry(answer.body).or_insert(0) += 1;
    }
    println!("  20 requests to {at}: {seen:?}");
    assert_eq!(seen.len(), 2, "the requests do not alternate");
    tick("it serves traffic");
    wait_for("the stock to be full again", FAR, || (ready(&site).len() == 2).then_some(()));
    tick("the pool has built another one in its place");

    step("Kill a spare node: all of its processes at once");
    let victim = ready(&site).remove(0);
    let folder = format!("{}/", site.path().join("local").display());
    let id = text(&victim["node"]);
    let killed: Vec<u32> = process::with_command_line(&folder)
        .into_iter()
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&id))
        })
        .collect();
    assert!(!killed.is_empty(), "the node {id} has no process");
    killed.iter().for_each(|pid| process::signal_to(*pid, Signal::KILL));
    println!("  killed {killed:?} of {}", text(&victim["name"]));
    let replaced = wait_for("the stock to be full without it", FAR, || {
        let ready = ready(&site);
        let is_gone = ready.iter().all(|node| node["id"] != victim["id"]);
        (is_gone && ready.len() == 2).then_some(ready)
    });
    println!("  in stock: {:?}", replaced.iter().map(|node| text(&node["name"])).collect::<Vec<_>>());
    capstan(&site, &["pool", "status"]);
    assert_eq!(web::get_at(at, None).expect("the load balancer answers").status, 200);
    tick("the pool noticed, deleted it and built another; the node that serves went on");

    step("Give all nodes back, and stop the daemon");
    let all = site.expect(0, &["pool", "nodes", "--output", "json"]).json();
    capstan(&site, &["pool", "pause", "--reason", "the demonstration ends"]);
    for node in all["nodes"].as_array().into_iter().flatten() {
        capstan(&site, &["pool", "retire", &text(&node["id"])]);
    }
    wait_for("all nodes to be gone", FAR, || nodes(&site).is_empty().then_some(()));
    daemon.stop();
    let left = process::with_command_line(&folder);
    assert!(left.is_empty(), "processes of nodes are left: {left:?}");
    tick("no process of any node is left");
}

/// A site whose daemon keeps two nodes.
fn site() -> Site {
    let setup = PoolSetup {
        extra_params: &local_cloud("127.81.0.0/16", "127.82.0.0/16"),
        pool: r#"nodes = 2
node_basename = "lb"
check_interval_seconds = 0.5
reconcile_interval_seconds = 1
poll_interval_seconds = 0.2"#,
        ..PoolSetup::LOCAL
    };
    setup.site()
}

fn nodes(site: &Site) -> Vec<Value> {
    let all = site.expect(0, &["pool", "nodes", "--output", "json"]).json();
    all["nodes"].as_array().cloned().unwrap_or_default()
}

fn ready(site: &Site) -> Vec<Value> {
    nodes(site).into_iter().filter(|node| node["state"] == "ready").collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
