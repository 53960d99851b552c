//! Spare nodes whose time is over: of another key, or too old.

use std::collections::BTreeSet;

use capstan_tests::{http, wait_for};
use serde_json::{Value, json};

use crate::world::{FAR, Parts, World, tail};

fn all(world: &World) -> Vec<Value> {
    let deleted = world.get("/pool/v1/nodes?state=deleted&limit=1000");
    [world.nodes(), deleted["nodes"].as_array().unwrap().clone()].concat()
}

fn ids(nodes: &[Value]) -> BTreeSet<String> {
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

/// The fewest nodes in stock and the most of all that are not being deleted, since a time, as what happened to the nodes tells it.
fn extremes(world: &World, since: i64) -> (i64, i64) {
    let mut changes = Vec::new();
    for node in all(world).iter().filter(|node| node["origin"] == "stock") {
        let shown = world.get(&format!("/pool/v1/nodes/{}", node["id"].as_str().unwrap()));
        let (mut in_stock, mut alive) = (0, 0);
        // The newest comes first.
        for event in shown["events"].as_array().unwrap().iter().rev() {
            let state = event["detail"]["state"].as_str().unwrap();
            let (stock_now, alive_now) = (
                i64::from(state == "ready"),
                i64::from(!["deleting", "deleted", "taken", "reserved"].contains(&state)),
            );
            changes.push((http::time(&event["at"]).unwrap(), stock_now - in_stock, alive_now - alive));
            (in_stock, alive) = (stock_now, alive_now);
        }
    }
    // Of one millisecond, what comes is counted before what goes.
    changes.sort_by_key(|(at, stock, _)| (*at, -stock));
    let (mut stock, mut alive, mut fewest, mut most) = (0, 0, i64::MAX, 0);
    for (at, of_stock, of_all) in changes {
        if at > since {
            fewest = fewest.min(stock);
        }
        (stock, alive) = (stock + of_stock, alive + of_all);
        if at > since {
            (fewest, most) = (fewest.min(stock), most.max(alive));
        }
    }
    (fewest, most)
}

/// When the stock was last completed: its youngest node's entry.
fn filled_at(world: &World, ready: &[Value]) -> i64 {
    let entered = |node: &Value| happened_at(world, node, "ready");
    ready.iter().map(entered).max().unwrap()
}

/// When this happened to a node.
fn happened_at(world: &World, node: &Value, kind: &str) -> i64 {
    let shown = world.get(&format!("/pool/v1/nodes/{}", node["id"].as_str().unwrap()));
    let events = shown["events"].as_array().unwrap();
    let event = events.iter().find(|event| event["kind"] == kind);
    event.and_then(|event| http::time(&event["at"])).unwrap_or_else(|| panic!("no {kind} in {shown}"))
}

/// Waits until none of these nodes is in stock, and as many others are.
fn replaced(world: &World, before: &[Value]) -> Vec<Value> {
    let old = ids(before);
    wait_for(&format!("all spare nodes to be replaced; the log:\n{}", tail(&world.site)), FAR, || {
        let ready = world.in_state("ready");
        (ready.len() == old.len() && ids(&ready).is_disjoint(&old)).then_some(ready)
    })
}

fn take(world: &World) -> Value {
    let taken = world.post("/pool/v1/stocks/default/take", &json!({ "owner": "a" })).json();
    taken["node"].clone()
}

/// The stock is asked for otherwise while a node is in use.
fn a_stock_of_another_key(wanted: usize, cloud: &str, more: &str, from: &str, to: &str) -> World {
    let world = World::new(Parts { pool: &format!("nodes = {wanted}\n{more}"), cloud });
    let daemon = world.start();
    world.stocked(wanted);
    let taken = take(&world);
    let before = world.stocked(wanted);
    daemon.stop();
    let world = world.changed(from, to);
    let daemon = world.start();
    let ready = replaced(&world, &before);
    world.settled(wanted);
    let key = &ready[0]["key"];
    assert!(ready.iter().all(|node| node["key"] == *key) && *key != before[0]["key"], "{ready:?}");
    let in_use = world.get(&format!("/pool/v1/nodes/{}", taken["id"].as_str().unwrap()));
    assert_eq!((&in_use["node"]["state"], &in_use["node"]["key"]), (&json!("taken"), &before[0]["key"]), "{in_use}");
    let (fewest, most) = extremes(&world, filled_at(&world, &before));
    let tenth = (wanted / 10).max(1);
    assert_eq!(fewest, i64::try_from(wanted).unwrap(), "there were fewer in stock than wanted");
    assert_eq!(most, i64::try_from(wanted + tenth).unwrap(), "a tenth is replaced at a time");
    daemon.stop();
    world
}

#[test]
fn nodes_of_another_image_are_replaced_a_tenth_at_a_time() {
    a_stock_of_another_key(20, "build_time = { ms = 20 }", "", "image = \"debian-12\"", "image = \"debian-13\"");
}

#[test]
fn nodes_of_another_size_are_replaced_one_at_a_time_in_a_small_stock() {
    a_stock_of_another_key(3, "build_time = { ms = 20 }", "", "size = \"small\"", "size = \"medium\"");
}

// A node that is being deleted is a spare device until its turn to be taken off the API server comes.
#[test]
fn deletions_that_wait_for_their_turn_do_not_count_as_spare_nodes() {
    let world = a_stock_of_another_key(
        4,
        "latency = { destroy_node = { ms = 700 } }",
        "builds_at_once = 1",
        "image = \"debian-12\"",
        "image = \"debian-13\"",
    );
    assert_eq!(world.calls("destroy_node").len(), 4);
}

#[test]
fn nodes_that_are_too_old_are_replaced_one_after_the_other_and_used_ones_stay() {
    let world = World::new(Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    world.stocked(2);
    let taken = take(&world);
    let before = world.stocked(2);
    daemon.stop();
    let world = world.changed("nodes = 2", "nodes = 2\nmax_age_seconds = 4");
    let daemon = world.start();
    let old = ids(&before);
    wait_for("both to be replaced", FAR, || ids(&world.in_state("ready")).is_disjoint(&old).then_some(()));
    let (fewest, most) = extremes(&world, filled_at(&world, &before));
    assert_eq!((fewest, most), (2, 3));
    for node in all(&world).iter().filter(|node| node["state"] == "deleted" || node["state"] == "deleting") {
        let reason = node["reason"].as_str().unwrap();
        assert!(reason.starts_with("too old"), "{node}");
        let age = happened_at(&world, node, "deleting") - happened_at(&world, node, "ready");
        assert!(age >= 4000, "replaced after {age} ms: {node}");
    }
    let in_use = world.get(&format!("/pool/v1/nodes/{}", taken["id"].as_str().unwrap()));
    assert_eq!(in_use["node"]["state"], "taken", "{in_use}");
    daemon.stop();
}
