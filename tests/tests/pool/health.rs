//! Spare nodes are asked how they are by DIAGNOSTICS, and what their answers lead to.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use capstan_tests::{process::Process, wait_for};
use serde_json::{Value, json};

use crate::world::{FAR, Parts, World, tail};

/// What a node's worker answers: bad so many times as the file beside it says, and, if it is prone to it, during an epidemic; else
/// good. Each answer is a line of the log.
const ANSWER: &str = r#"cat >/dev/null
left=$(cat "$0.ill" 2>/dev/null || echo 0)
[ -e "$0.prone" ] && [ -e "${0%/*}/epidemic" ] && left=1
if [ "$left" -gt 0 ]; then
    echo $((left - 1)) >"$0.next" && mv "$0.next" "$0.ill" && echo bad >>"$0.log"
    printf %s '{"hpcs_response":"PASS","network":"FAIL","gearman":[]}'
else
    echo good >>"$0.log"
    printf %s '{"hpcs_response":"PASS","network":"PASS","gearman":[]}'
fi"#;

/// A world whose nodes are asked how they are.
fn asking(pool: &str) -> World {
    let pool = format!("health_interval_seconds = 0.1\nhealth_limit = 3\n{pool}");
    World::new(Parts { pool: &pool, cloud: "" }).changed("diagnostics = false", "diagnostics = true")
}

/// The workers on a world's nodes, as far as DIAGNOSTICS goes.
struct Ward<'w> {
    world: &'w World,
    workers: BTreeMap<String, Process>,
}

impl<'w> Ward<'w> {
    fn of(world: &'w World) -> Self {
        Self { world, workers: BTreeMap::new() }
    }

    /// Gives each node that runs a worker: the `gearman` tool, which answers each job by a program.
    fn tend(&mut self) {
        for node in self.world.in_state("checking") {
            let name = name(&node).to_owned();
            let (port, path) = (self.world.site.job_server_port.to_string(), self.path(&name, ""));
            self.workers.entry(name.clone()).or_insert_with(|| {
                let mut command = Command::new("gearman");
                command.args(["-h", "127.0.0.1", "-p", &port, "-w", "-f", &name, "--", "sh", "-c", ANSWER]).arg(path);
                Process::spawn(command.stdin(Stdio::null()).stderr(Stdio::null()))
                    .expect("gearman starts; `make setup` installs it")
            });
        }
    }

    fn stocked(&mut self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} nodes in stock; the log:\n{}", tail(&self.world.site)), FAR, || {
            self.tend();
            let ready = self.world.in_state("ready");
            (ready.len() == count).then_some(ready)
        })
    }

    fn path(&self, node: &str, kind: &str) -> PathBuf {
        self.world.site.path().join(format!("{node}{kind}"))
    }

    /// From now on the node's worker answers so often that it has no network.
    fn falls_ill(&self, node: &str, answers: u32) {
        fs::write(self.path(node, ".new"), answers.to_string()).unwrap();
        fs::rename(self.path(node, ".new"), self.path(node, ".ill")).unwrap();
    }

    /// How the node's worker has answered so far.
    fn answers(&self, node: &str) -> Vec<String> {
        let log = fs::read_to_string(self.path(node, ".log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn bad_answers(&self, node: &str) -> usize {
        self.answers(node).iter().filter(|answer| *answer == "bad").count()
    }

    /// Waits until the node has answered badly so often in all, and well again, and that has been noted.
    fn recovers(&self, node: &Value, bad_answers: usize) {
        wait_for(&format!("{bad_answers} bad answers and a good one"), FAR, || {
            let is_over = self.bad_answers(name(node)) == bad_answers
                && self.answers(name(node)).last().is_some_and(|last| last == "good");
            is_over.then_some(())
        });
        wait_for("the good answer to count", FAR, || (self.failures(node) == 0).then_some(()));
        assert_eq!(self.row(node)["state"], "ready", "{}", self.row(node));
    }

    fn row(&self, node: &Value) -> Value {
        self.world.get(&format!("/pool/v1/nodes/{}", name(node)))["node"].clone()
    }

    fn failures(&self, node: &Value) -> u64 {
        self.row(node)["health_failures"].as_u64().unwrap()
    }
}

fn name(node: &Value) -> &str {
    node["name"].as_str().unwrap()
}

#[test]
fn a_spare_node_is_replaced_when_it_is_not_well_so_often_in_a_row_and_not_before() {
    let world = asking("nodes = 2");
    let daemon = world.start();
    let mut ward = Ward::of(&world);
    let nodes = ward.stocked(2);
    let (wavers, falls) = (&nodes[0], &nodes[1]);
    // Twice, well again, and twice again: never three times in a row.
    ward.falls_ill(name(wavers), 2);
    ward.recovers(wavers, 2);
    ward.falls_ill(name(wavers), 2);
    ward.recovers(wavers, 4);
    assert_eq!(world.calls("create_node").len(), 2, "a node was replaced that had recovered");

    ward.falls_ill(name(falls), 1000);
    wait_for("the node to be replaced", FAR, || (ward.row(falls)["state"] == "deleted").then_some(()));
    assert_eq!(ward.row(falls)["reason"], "not well 3 times in a row: its worker has no network");
    assert_eq!(ward.bad_answers(name(falls)), 3);
    ward.stocked(2);
    world.settled(2);
    assert_eq!(world.calls("create_node").len(), 3);
    assert_eq!(ward.row(wavers)["state"], "ready");
    drop(ward);
    daemon.stop();
}

#[test]
fn a_held_node_that_is_not_well_is_counted_shown_and_left() {
    let world = asking("nodes = 2");
    let daemon = world.start();
    let mut ward = Ward::of(&world);
    let ill = ward.stocked(2).remove(0);
    world.site.expect(0, &["hold", "pool", "--reason", "the network is rebuilt"]);
    ward.falls_ill(name(&ill), 1000);
    wait_for("more bad answers than the limit", FAR, || (ward.failures(&ill) >= 5).then_some(()));
    let row = ward.row(&ill);
    assert_eq!((&row["state"], &row["reason"]), (&json!("ready"), &json!("its worker has no network")), "{row}");
    let shown = world.site.expect(0, &["pool", "show", name(&ill)]);
    let failures = shown.out.lines().find_map(|line| line.strip_prefix("health_failures: "));
    assert!(failures.is_some_and(|failures| failures.parse::<u32>().unwrap() >= 5), "{shown:?}");
    assert!(shown.out.contains("its worker has no network") && shown.out.contains("held: pool"), "{shown:?}");
    assert_eq!((world.calls("create_node").len(), world.calls("destroy_node").len()), (2, 0));
    // One that is not well is not handed out, and the other one is.
    let taken = world.post("/pool/v1/stocks/default/take", &json!({ "owner": "a" })).json();
    assert_ne!(taken["node"]["id"], ill["id"], "{taken}");

    world.site.expect(0, &["hold", "lift", "pool"]);
    wait_for("the node to be replaced", FAR, || (ward.row(&ill)["state"] == "deleted").then_some(()));
    ward.stocked(2);
    drop(ward);
    daemon.stop();
}

#[test]
fn when_most_are_not_well_at_once_nothing_is_held_against_them() {
    let world = asking("nodes = 4\nloss_limit = 1");
    let daemon = world.start();
    let mut ward = Ward::of(&world);
    let nodes = ward.stocked(4);
    let (ill, well) = nodes.split_at(3);
    for node in ill {
        fs::write(ward.path(name(node), ".prone"), "").unwrap();
    }
    // All at once: a round that is under way when it begins or ends sees a part of it, and may count it.
    let epidemic = world.site.path().join("epidemic");
    fs::write(&epidemic, "").unwrap();
    wait_for("many bad answers of each", FAR, || {
        ill.iter().all(|node| ward.bad_answers(name(node)) >= 8).then_some(())
    });
    assert!(ill.iter().all(|node| ward.failures(node) <= 1), "{:?}", world.nodes());
    fs::remove_file(&epidemic).unwrap();
    for node in ill {
        wait_for("its recovery", FAR, || (ward.failures(node) == 0).then_some(()));
    }
    assert_eq!(ward.row(&well[0])["state"], "ready");
    assert_eq!((world.calls("create_node").len(), world.calls("destroy_node").len()), (4, 0));
    assert!(world.site.log().contains("nothing is held against them"));
    drop(ward);
    daemon.stop();
}

#[test]
fn q05_a_node_whose_worker_has_no_network_never_enters_the_stock() {
    let world = asking("nodes = 1\nbuild_timeout_seconds = 2");
    let daemon = world.start();
    let mut ward = Ward::of(&world);
    let bad = wait_for("a node that is checked", FAR, || world.in_state("checking").pop());
    ward.falls_ill(name(&bad), 1000);
    ward.tend();
    wait_for("the node to be deleted", FAR, || (ward.row(&bad)["state"] == "deleted").then_some(()));
    let shown = world.get(&format!("/pool/v1/nodes/{}", name(&bad)));
    assert_eq!(shown["node"]["reason"], "DIAGNOSTICS: its worker has no network", "{shown}");
    let kinds = shown["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap());
    assert!(kinds.clone().all(|kind| !["good", "ready"].contains(&kind)), "{shown}");
    assert_eq!(world.calls("destroy_node").len(), 1);
    let good = ward.stocked(1).remove(0);
    assert_ne!(good["id"], bad["id"]);
    world.settled(1);
    drop(ward);
    daemon.stop();
}
