//! `[pool]` read again on SIGHUP: what is followed at once, what is named for a restart, and what changes nothing.

use std::fs;

use capstan_tests::{daemon::Daemon, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{FAR, Parts, World, tail};

const FOLLOWED: &str = "the pool manager follows it";
const KEPT: &str = "the running one is kept";
const RESTART: &str = "restart to apply what changed";

/// Writes a part of the configuration otherwise.
fn rewrite(world: &World, from: &str, to: &str) {
    let text = fs::read_to_string(world.site.config()).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    fs::write(world.site.config(), text.replace(from, to)).unwrap();
}

/// Sends SIGHUP and waits for the line that says what came of it.
fn hang_up(world: &World, daemon: &Daemon<'_>, says: &str) -> Value {
    let lines = || {
        let lines = world.site.log_lines().into_iter();
        lines.filter(|line| line["message"].as_str().is_some_and(|text| text.contains(says))).collect::<Vec<_>>()
    };
    let before = lines().len();
    daemon.signal(Signal::HUP);
    wait_for(&format!("{says:?}; the log:\n{}", tail(&world.site)), FAR, || lines().get(before).cloned())
}

fn stock(world: &World, name: &str) -> Option<Value> {
    let status = world.get("/pool/v1/status");
    status["stocks"].as_array().unwrap().iter().find(|stock| stock["name"] == name).cloned()
}

#[test]
fn more_nodes_are_built_as_soon_as_the_configuration_wants_them() {
    // No check comes by itself while the test lasts.
    let world = World::new(Parts { pool: "nodes = 2", cloud: "" })
        .changed("check_interval_seconds = 0.1", "check_interval_seconds = 3600");
    let daemon = world.start();
    world.settled(2);
    rewrite(&world, "nodes = 2", "nodes = 4");
    let told = hang_up(&world, &daemon, FOLLOWED);
    assert_eq!(
        (&told["changed"], &told["added"], &told["removed"]),
        (&json!("pool.stocks.default"), &json!(""), &json!(""))
    );
    world.settled(4);
    assert_eq!(world.calls("create_node").len(), 4);
    // The interval is followed too: nothing but a check that comes by itself sees that a node is missing.
    rewrite(&world, "check_interval_seconds = 3600", "check_interval_seconds = 0.1");
    assert_eq!(hang_up(&world, &daemon, FOLLOWED)["changed"], "pool.check_interval_seconds");
    let id = world.in_state("ready")[0]["id"].as_str().unwrap().to_owned();
    world.site.expect(0, &["pool", "retire", &id]);
    wait_for("a replacement", FAR, || (world.calls("create_node").len() == 5).then_some(()));
    world.settled(4);
    daemon.stop();
}

#[test]
fn a_configuration_with_a_fault_changes_nothing() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    world.settled(1);
    let wanted = || stock(&world, "default").unwrap()["wanted"].clone();
    // With another part that is right, which is not taken over either.
    rewrite(&world, "nodes = 1", "nodes = 3\nhealth_limit = 0");
    hang_up(&world, &daemon, KEPT);
    assert_eq!(wanted(), 1);
    rewrite(&world, "health_limit = 0", "user_data = \"none such\"");
    hang_up(&world, &daemon, KEPT);
    assert_eq!((wanted(), world.calls("create_node").len()), (json!(1), 1));
    rewrite(&world, "user_data = \"none such\"", "");
    hang_up(&world, &daemon, FOLLOWED);
    world.settled(3);
    daemon.stop();
}

#[test]
fn what_only_a_start_can_change_is_named_and_the_rest_is_followed() {
    let world = World::new(Parts { pool: "nodes = 1\nbuilds_at_once = 3", cloud: "" });
    let daemon = world.start();
    world.settled(1);
    rewrite(&world, "builds_at_once = 3", "builds_at_once = 4\nmessages_at_once = 9\nloss_limit = 7");
    let restart = hang_up(&world, &daemon, RESTART);
    assert_eq!(restart["sections"], "pool.builds_at_once pool.messages_at_once");
    let lines = world.site.log_lines();
    let followed = lines.iter().find(|line| line["message"].as_str().unwrap_or_default().contains(FOLLOWED)).unwrap();
    assert_eq!(followed["changed"], "pool.loss_limit");
    // Said again as long as it is so, and what is followed already is not.
    rewrite(&world, "nodes = 1", "nodes = 2");
    assert_eq!(hang_up(&world, &daemon, FOLLOWED)["changed"], "pool.stocks.default");
    rewrite(&world, "builds_at_once = 4\nmessages_at_once = 9", "builds_at_once = 3");
    hang_up(&world, &daemon, "nothing changed");
    // A cloud that is new has to be opened.
    rewrite(&world, "[pool]\n", "[cloud_farm.second]\nengine = \"dummy\"\n[pool]\ncloud = \"second\"\n");
    let restart = hang_up(&world, &daemon, RESTART);
    assert_eq!(restart["sections"], "cloud_farm pool.stocks.default");
    assert_eq!(stock(&world, "default").unwrap()["cloud"], "default");
    world.settled(2);
    daemon.stop();
}

#[test]
fn a_stock_that_is_gone_keeps_its_nodes_until_somebody_retires_them() {
    let stocks = "[pool.stocks.old]\nnodes = 1\n[pool.stocks.kept]\nnodes = 1";
    let world = World::new(Parts { pool: stocks, cloud: "" });
    let daemon = world.start();
    world.settled(2);
    rewrite(&world, stocks, "[pool.stocks.kept]\nnodes = 2");
    let told = hang_up(&world, &daemon, FOLLOWED);
    assert_eq!((&told["removed"], &told["changed"]), (&json!("pool.stocks.old"), &json!("pool.stocks.kept")));
    // What the old one has is not counted for the other.
    world.settled(3);
    let old = stock(&world, "old").unwrap();
    assert_eq!((&old["wanted"], &old["counts"]["ready"]), (&json!(0), &json!(1)), "{old}");
    assert!(old["why"].as_str().unwrap().contains("capstan pool retire"), "{old}");
    let shown = world.site.expect(0, &["pool", "nodes", "--stock", "old", "--output", "json"]).json();
    let node = shown["nodes"][0]["id"].as_str().unwrap();
    world.site.expect(0, &["pool", "retire", node]);
    wait_for("the stock to be gone", FAR, || stock(&world, "old").is_none().then_some(()));
    world.settled(2);
    assert_eq!(world.calls("create_node").len(), 3);

    rewrite(&world, "[pool.stocks.kept]", "[pool.stocks.new]\nnodes = 1\n[pool.stocks.kept]");
    assert_eq!(hang_up(&world, &daemon, FOLLOWED)["added"], "pool.stocks.new");
    world.settled(3);
    assert_eq!(stock(&world, "new").unwrap()["counts"]["ready"], 1);
    daemon.stop();
}

#[test]
fn nodes_that_are_asked_for_otherwise_are_replaced() {
    let world = World::new(Parts { pool: "nodes = 2\naz = 1", cloud: "" });
    let daemon = world.start();
    world.settled(2);
    rewrite(&world, "az = 1", "az = 2");
    hang_up(&world, &daemon, FOLLOWED);
    wait_for("nodes of the new zone", FAR, || {
        let ready = world.in_state("ready");
        (ready.len() == 2 && ready.iter().all(|node| node["spec"]["az"] == 2)).then_some(())
    });
    world.settled(2);
    daemon.stop();
}
