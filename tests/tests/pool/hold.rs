//! Holds: nothing is done by the pool itself, what a person asks for is.

use capstan_tests::wait_for;
use serde_json::json;

use crate::world::{FAR, Parts, World};

/// Lets so many whole rounds of comparing and of counting pass.
fn rounds(world: &World, count: usize) {
    world.rounds(count, &["reconcile", "check_nodes"]);
}

#[test]
fn a_held_pool_replaces_and_deletes_nothing_until_it_is_lifted() {
    let world = World::new(Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    let nodes = world.stocked(2);
    let held = world.site.expect(0, &["hold", "pool", "--reason", "the network is rebuilt"]);
    assert!(held.out.contains("the network is rebuilt"), "{held:?}");
    world.vanish(&nodes[0]);
    rounds(&world, 5);
    let row = world.get(&format!("/pool/v1/nodes/{}", nodes[0]["id"].as_str().unwrap()));
    assert_eq!(row["node"]["state"], "ready", "{row}");
    assert!(row["node"]["reason"].as_str().unwrap().contains("does not have it any more"), "{row}");
    assert_eq!(row["hold"]["scope"], "pool", "{row}");
    assert_eq!(world.calls("create_node").len(), 2);

    // It survives a kill, and is shown wherever somebody looks.
    daemon.kill();
    let daemon = world.start();
    rounds(&world, 2);
    assert_eq!((world.in_state("ready").len(), world.calls("create_node").len()), (2, 2));
    for command in [&["hold", "list"][..], &["pool", "status"], &["pool", "show", nodes[0]["name"].as_str().unwrap()]] {
        let shown = world.site.expect(0, command);
        assert!(shown.out.contains("the network is rebuilt"), "{command:?}: {shown:?}");
    }
    let explained = world.site.expect(0, &["explain", nodes[0]["id"].as_str().unwrap()]);
    assert!(explained.out.contains("as long as it is held"), "{explained:?}");

    // What a person asks for is done, and the hold is told of.
    let retired = world.site.expect(0, &["pool", "retire", nodes[1]["name"].as_str().unwrap()]);
    assert!(retired.error.contains("pool is held by"), "{retired:?}");
    wait_for("the node to be gone", FAR, || world.cloud().is_empty().then_some(()));
    rounds(&world, 2);
    assert_eq!(world.calls("create_node").len(), 2, "a held pool built a node");

    world.site.expect(0, &["hold", "lift", "pool"]);
    world.settled(2);
    assert_eq!(world.calls("create_node").len(), 4);
    let empty = world.site.expect(0, &["hold", "list", "--output", "json"]).json();
    assert_eq!(empty["holds"], json!([]));
    daemon.stop();
}

#[test]
fn a_deletion_that_the_pool_decided_on_waits_and_one_that_is_asked_for_does_not() {
    let world =
        World::new(Parts { pool: "nodes = 1", cloud: r#"faults = [{ fault = "duplicate_node", calls = [1] }]"# });
    world.faults(&json!([{ "fault": "error", "methods": ["destroy_node"], "code": "unavailable" }]));
    let daemon = world.start();
    // The second node is an orphan, and the cloud refuses to delete it until its faults are taken away.
    let orphan = wait_for("an orphan about to be deleted", FAR, || world.in_state("deleting").pop());
    wait_for("a refused delete", FAR, || (!world.calls("destroy_node").is_empty()).then_some(()));
    world.site.expect(0, &["hold", "--reason", "everything stands still"]);
    let id = orphan["id"].as_str().unwrap();
    wait_for("the deletion to be held", FAR, || {
        let shown = world.get(&format!("/pool/v1/nodes/{id}"));
        shown["job"]["error"].as_str().filter(|error| error.contains("held (all)")).map(drop)
    });
    world.faults(&json!([]));
    let asked = world.calls("destroy_node").len();
    rounds(&world, 5);
    assert_eq!((world.calls("destroy_node").len(), world.cloud().len()), (asked, 2));
    world.site.expect(0, &["pool", "retire", id, "--reason", "I want it gone"]);
    wait_for("the orphan to be gone", FAR, || (world.cloud().len() == 1).then_some(()));
    world.site.expect(0, &["hold", "lift"]);
    world.settled(1);
    daemon.stop();
}

#[test]
fn one_node_is_held_and_the_others_are_tended() {
    let world = World::new(Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    let nodes = world.stocked(2);
    let (kept, lost) = (&nodes[0], &nodes[1]);
    let held = world.site.expect(0, &["hold", kept["name"].as_str().unwrap(), "--reason", "I look at it"]);
    assert!(held.out.contains(&format!("node/{}", kept["id"].as_str().unwrap())), "{held:?}");
    world.vanish(kept);
    world.vanish(lost);
    wait_for("a replacement of the other one", FAR, || (world.calls("create_node").len() == 3).then_some(()));
    rounds(&world, 3);
    assert!(world.in_state("ready").iter().any(|node| node["id"] == kept["id"]));
    world.site.expect(0, &["hold", "lift", kept["id"].as_str().unwrap()]);
    world.settled(2);
    daemon.stop();
}

#[test]
fn a_hold_of_nothing_or_for_no_reason_is_refused() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "" });
    let daemon = world.start();
    let unknown = world.site.expect(1, &["hold", "pol", "--reason", "x"]);
    assert!(unknown.error.contains("no service and no object \"pol\""), "{unknown:?}");
    let silent = world.site.expect(64, &["hold", "pool"]);
    assert!(silent.error.contains("--reason"), "{silent:?}");
    let not_held = world.site.expect(1, &["hold", "lift", "pool"]);
    assert!(not_held.error.contains("not held"), "{not_held:?}");
    for body in [
        json!({ "reason": " " }),
        json!({ "reason": "two\nlines" }),
        json!({ "target": "pool" }),
        json!({ "reason": "x".repeat(501) }),
    ] {
        let refused = world.post("/holds/v1/holds", &body);
        assert_eq!(refused.status, 400, "{body}: {refused:?}");
    }
    world.site.expect(0, &["hold", "stock/default", "--reason", "one stock"]);
    assert_eq!(world.get("/pool/v1/status")["stocks"][0]["is_held"], true);
    daemon.stop();
}

#[test]
fn a_build_that_has_not_begun_goes_on_waiting_and_one_that_has_is_finished() {
    let world = World::new(Parts { pool: "nodes = 3\nbuilds_at_once = 1", cloud: "build_time = { ms = 1500 }" });
    let daemon = world.start();
    wait_for("a first node that is being built", FAR, || world.in_state("building").pop());
    world.site.expect(0, &["hold", "default", "--reason", "one is enough"]);
    world.stocked(1);
    rounds(&world, 5);
    assert_eq!((world.in_state("planned").len(), world.calls("create_node").len()), (2, 1));
    let waiting = world.in_state("planned").pop().unwrap();
    wait_for("a build to say that it is held", FAR, || {
        let explained = world.get(&format!("/pool/v1/explain/{}", waiting["id"].as_str().unwrap()));
        explained["last_error"].as_str().filter(|error| error.contains("held (stock/default)")).map(drop)
    });
    // A message is somebody's wish, and is done.
    let built = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    assert_eq!(built["response"], "PASS", "{built}");
    world.site.expect(0, &["hold", "lift", "default"]);
    world.settled(3);
    assert_eq!(world.calls("create_node").len(), 4);
    daemon.stop();
}
