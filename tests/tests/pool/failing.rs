//! Clouds that make no nodes and do not say so, or lose them.

use capstan_tests::{http, wait_for};
use serde_json::{Value, json};

use crate::world::{FAR, Parts, World};

/// A daemon that searches for a fifth of a second after a create without an answer.
fn world(parts: Parts<'_>) -> World {
    World::new(parts).changed("search_seconds = 1\n", "search_seconds = 0.2\n")
}

fn no_creates() -> Value {
    json!([{ "fault": "error", "methods": ["create_node"], "code": "internal", "message": "no conductor" }])
}

#[test]
fn creates_that_end_in_an_error_of_the_clouds_own_count_and_the_stock_rests() {
    let world = world(Parts { pool: "nodes = 1", cloud: "" });
    world.faults(&no_creates());
    let daemon = world.start();
    let stock = wait_for("a build that failed", FAR, || {
        let stock = world.get("/pool/v1/status")["stocks"][0].take();
        (stock["failures"] == 1).then_some(stock)
    });
    let why = stock["why"].as_str().unwrap();
    assert!(why.contains("no conductor (internal)") && why.contains("resting until"), "{why}");
    assert_eq!(world.calls("create_node").len(), 2, "asked once, and once more after the search");
    let metrics = http::get(world.site.http_port, "/metrics", "").unwrap().body;
    assert!(metrics.contains(r#"capstan_pool_builds_total{stock="default",result="not_made"} 1"#), "{metrics}");
    wait_for("the row to be closed", FAR, || world.nodes().is_empty().then_some(()));
    let deleted = world.get("/pool/v1/nodes?state=deleted")["nodes"][0].take();
    assert!(deleted["reason"].as_str().unwrap().contains("no conductor"), "{deleted}");
    world.faults(&json!([]));
    world.site.expect(0, &["pool", "resume"]);
    world.settled(1);
    assert_eq!(world.get("/pool/v1/status")["stocks"][0]["failures"], 0);
    daemon.stop();
}

#[test]
fn a_create_that_comes_to_nothing_once_is_asked_again_by_the_same_build() {
    let fault = r#"faults = [{ fault = "error", methods = ["create_node"], calls = [1], code = "internal" }]"#;
    let world = world(Parts { pool: "nodes = 1", cloud: fault });
    let daemon = world.start();
    world.settled(1);
    assert_eq!(world.calls("create_node").len(), 2);
    assert!(world.get("/pool/v1/nodes?state=deleted")["nodes"].as_array().unwrap().is_empty());
    let node = world.nodes().remove(0);
    assert_eq!((&node["reason"], &node["missed"]), (&json!(""), &json!(0)), "{node}");
    daemon.stop();
}

#[test]
fn a_node_that_vanishes_while_it_is_built_is_replaced_once_the_cloud_has_said_so_twice() {
    let faults = r#"build_time = { ms = 600 }
faults = [{ fault = "vanish", calls = [1], delay_ms = 300 }]"#;
    // A node that was never seen would be waited for.
    let world = World::new(Parts { pool: "nodes = 1", cloud: faults })
        .changed("search_seconds = 1\n", "search_seconds = 600\n");
    let daemon = world.start();
    wait_for("the node to be given up", FAR / 2, || {
        let deleted = world.get("/pool/v1/nodes?state=deleted")["nodes"].take();
        (deleted.get(0)?["reason"] == "it vanished while it was built").then_some(())
    });
    assert_eq!(world.calls("get_node")[0]["answer"], "ok", "it was never seen");
    world.settled(1);
    daemon.stop();
}

#[test]
fn a_message_that_asks_for_a_node_which_the_cloud_does_not_make_gets_the_clouds_words() {
    let world = world(Parts { pool: "nodes = 0", cloud: "" });
    world.faults(&no_creates());
    let daemon = world.start();
    let reply = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    assert_eq!(reply["response"], "FAIL", "{reply}");
    assert!(reply["reason"].as_str().unwrap().contains("no conductor"), "{reply}");
    wait_for("the row to be closed", FAR, || world.nodes().is_empty().then_some(()));
    daemon.stop();
}

#[test]
fn a_node_in_use_that_is_lost_is_closed_by_retiring_it() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    world.stocked(1);
    let taken = world.post("/pool/v1/stocks/default/take", &json!({ "owner": "a" })).json()["node"].take();
    world.settled(1);
    world.vanish(&taken);
    let lost = wait_for("the node to count as lost", FAR, || world.in_state("lost").pop());
    assert_eq!(lost["id"], taken["id"]);
    let shown = world.site.expect(0, &["pool", "show", lost["name"].as_str().unwrap()]);
    assert!(shown.out.contains("capstan pool retire"), "{shown:?}");
    assert_eq!(world.devices().len(), 2, "nobody decided yet what becomes of its device");
    world.site.expect(0, &["pool", "retire", lost["id"].as_str().unwrap(), "--reason", "its tenant was moved"]);
    world.settled(1);
    let row = world.get(&format!("/pool/v1/nodes/{}", lost["id"].as_str().unwrap()));
    assert_eq!(row["node"]["state"], "deleted", "{row}");
    daemon.stop();
    world.checked();
}
