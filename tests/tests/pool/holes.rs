//! The holes of libra's pool manager, each with a test that fails on its way, and clouds and API servers that do not keep to the contract.

use std::time::Duration;

use capstan_tests::wait_for;
use serde_json::json;

use crate::world::{FAR, Parts, World};

// A failed create was looked for once, at once; a node that showed up later was never found.
#[test]
fn a_node_that_shows_up_late_after_a_lost_reply_is_found_and_not_built_again() {
    let world = World::new(Parts {
        pool: "nodes = 1",
        cloud: r#"faults = [{ fault = "reply_lost", calls = [1] },
            { fault = "eventually_consistent", methods = ["create_node"], calls = [1], delay_ms = 500 }]"#
            .replace('\n', " ")
            .as_str(),
    });
    let daemon = world.start();
    world.settled(1);
    assert_eq!(world.calls("create_node").len(), 1);
    daemon.stop();
}

// A build that failed left its node behind.
#[test]
fn bug05_a_node_that_never_gets_up_is_deleted_in_the_end() {
    let world = World::new(Parts {
        pool: "nodes = 1\nbuild_timeout_seconds = 0.5",
        cloud: r#"faults = [{ fault = "never_up", calls = [1] }]"#,
    });
    let daemon = world.start();
    let failed = wait_for("a failed node", FAR, || world.in_state("failed").pop());
    assert!(failed["reason"].as_str().unwrap().contains("Timeout creating node"), "{failed}");
    // It is kept and tested again as long as the cloud says that it is being built, and not for ever.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(world.in_state("failed").len(), 1);
    wait_for("the node to be given up", FAR, || (world.calls("destroy_node").len() == 1).then_some(()));
    world.settled(1);
    assert_eq!(world.calls("create_node").len(), 2);
    daemon.stop();
}

// A delete that failed dropped the row: an orphan, paid for ever.
#[test]
fn bug03_a_delete_that_the_cloud_refuses_keeps_the_row_and_goes_on() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    world.faults(&json!([{ "fault": "error", "methods": ["destroy_node"], "code": "unavailable" }]));
    let id = node["id"].as_str().unwrap().to_owned();
    assert_eq!(world.post(&format!("/pool/v1/nodes/{id}/retire"), &json!({})).status, 200);
    wait_for("a refusal to be told", FAR, || {
        let shown = world.get(&format!("/pool/v1/nodes/{id}"));
        assert_eq!(shown["node"]["state"], "deleting", "{shown}");
        shown["job"]["error"].as_str().filter(|error| error.contains("does not delete")).map(drop)
    });
    world.faults(&json!([]));
    world.settled(1);
    daemon.stop();
}

// A restart wiped the rows of builds in flight, and built them again.
#[test]
fn a_restart_during_builds_goes_on_with_them() {
    let world = World::new(Parts { pool: "nodes = 3", cloud: "build_time = { ms = 1500 }" });
    let daemon = world.start();
    wait_for("three nodes in the cloud", FAR, || (world.in_state("building").len() == 3).then_some(()));
    daemon.kill();
    let daemon = world.start();
    world.settled(3);
    assert_eq!(world.calls("create_node").len(), 3);
    daemon.stop();
}

#[test]
fn a_second_node_with_our_tags_is_deleted_after_a_second_sight() {
    let world =
        World::new(Parts { pool: "nodes = 1", cloud: r#"faults = [{ fault = "duplicate_node", calls = [1] }]"# });
    let daemon = world.start();
    wait_for("the second node to be deleted", FAR, || (world.calls("destroy_node").len() == 1).then_some(()));
    world.settled(1);
    assert_eq!((world.calls("create_node").len(), world.calls("destroy_node").len()), (1, 1));
    daemon.stop();
}

#[test]
fn a_strangers_node_is_left_alone_even_if_it_has_the_name_of_ours() {
    let world =
        World::new(Parts { pool: "nodes = 1", cloud: r#"faults = [{ fault = "duplicate_name", calls = [1] }]"# });
    let daemon = world.start();
    world.stocked(1);
    let compared = || world.get("/pool/v1/status")["clouds"][0]["reconciled_at"].as_str().map(str::to_owned);
    for _ in 0..5 {
        let before = compared();
        wait_for("another comparison", FAR, || (compared() > before).then_some(()));
    }
    assert_eq!((world.cloud().len(), world.calls("destroy_node").len()), (2, 0));
    // The search by name, too, tells them apart: the one that is deleted is ours.
    let ours = world.in_state("ready").remove(0);
    world.post(&format!("/pool/v1/nodes/{}/retire", ours["id"].as_str().unwrap()), &json!({}));
    wait_for("ours to be deleted", FAR, || (world.calls("destroy_node").len() == 1).then_some(()));
    assert!(world.cloud().iter().any(|node| node["tags"]["capstan-owner"].is_null()));
    daemon.stop();
}

#[test]
fn a_node_that_vanishes_from_the_stock_is_noticed_and_replaced() {
    let world = World::new(Parts {
        pool: "nodes = 2",
        cloud: r#"faults = [{ fault = "vanish", calls = [1], delay_ms = 1000 }]"#,
    });
    let daemon = world.start();
    world.stocked(2);
    wait_for("a third create", FAR, || (world.calls("create_node").len() >= 3).then_some(()));
    world.settled(2);
    daemon.stop();
}

#[test]
fn a_cloud_that_asks_for_rest_is_not_hammered() {
    let world = World::new(Parts { pool: "nodes = 2", cloud: "" });
    world.faults(&json!([{ "fault": "rate_limited", "methods": ["create_node"], "retry_after_ms": 2000 }]));
    let daemon = world.start();
    wait_for("a refused create", FAR, || (!world.calls("create_node").is_empty()).then_some(()));
    std::thread::sleep(Duration::from_millis(1500));
    assert!(world.calls("create_node").len() <= 2, "{:?}", world.calls("create_node"));
    world.faults(&json!([]));
    world.settled(2);
    daemon.stop();
}

#[test]
fn p02_builds_that_fail_for_good_are_not_tried_at_once_again() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "max_nodes = 0" });
    let daemon = world.start();
    wait_for("a failure to be told", FAR, || {
        let status = world.get("/pool/v1/status");
        status["stocks"][0]["why"].as_str().filter(|why| why.contains("Error creating node")).map(drop)
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(world.calls("create_node").len() <= 2, "{}", world.calls("create_node").len());
    daemon.stop();
}

#[test]
fn p08_answers_out_of_contract_cost_their_node_and_nothing_else() {
    for (fault, says) in [
        (r#"{ fault = "no_address", calls = [1] }"#, "without an address"),
        (r#"{ fault = "unknown_state", calls = [1] }"#, "hibernating"),
    ] {
        let world =
            World::new(Parts { pool: "nodes = 2\nbuild_timeout_seconds = 0.7", cloud: &format!("faults = [{fault}]") });
        let daemon = world.start();
        wait_for(&format!("{fault} to be told"), FAR, || {
            world.nodes().iter().find(|node| node["reason"].as_str().unwrap_or_default().contains(says)).map(drop)
        });
        wait_for("the other one in stock", FAR, || (!world.in_state("ready").is_empty()).then_some(()));
        daemon.stop();
    }
}

#[test]
fn a_million_nodes_of_others_do_not_stop_a_comparison() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "page_size = 1000" });
    world.faults(&json!([{ "fault": "many_nodes", "count": 20000 }]));
    let daemon = world.start();
    world.stocked(1);
    wait_for("a whole comparison", FAR, || {
        world.get("/pool/v1/status")["clouds"][0]["reconciled_at"].as_str().map(str::to_owned)
    });
    world.faults(&json!([{ "fault": "repeated_cursor" }]));
    wait_for("a list in a circle to be told", FAR, || {
        let status = world.get("/pool/v1/status");
        status["clouds"][0]["last_error"].as_str().filter(|error| error.contains("circle")).map(drop)
    });
    daemon.stop();
}

#[test]
fn too_many_losses_stop_replacement_until_somebody_has_looked() {
    let world = World::new(Parts { pool: "nodes = 6\nloss_limit = 3", cloud: "" });
    let daemon = world.start();
    world.stocked(6);
    // All of them vanish at once, past the daemon.
    for node in world.cloud() {
        let config = json!({ "extra_params": { "file": world.path("cloud") } }).to_string();
        let library = capstan_tests::paths::build().join("libcapstan_cloud_dummy.so");
        let request = json!({ "id": node["id"] }).to_string();
        world.site.expect(
            0,
            &[
                "driver",
                "call",
                library.to_str().unwrap(),
                "destroy_node",
                &request,
                "--driver-config",
                &config,
                "--trust-own-files",
            ],
        );
    }
    wait_for("the stop", FAR, || {
        let status = world.get("/pool/v1/status");
        status["stocks"][0]["paused"].as_str().filter(|why| why.contains("lost")).map(drop)
    });
    let built = world.calls("create_node").len();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(world.calls("create_node").len(), built);
    world.site.expect(0, &["pool", "resume"]);
    world.settled(6);
    daemon.stop();
}

#[test]
fn p19_a_node_that_failed_is_still_known_after_a_kill() {
    let world = World::new(Parts {
        pool: "nodes = 1\nbuild_timeout_seconds = 2",
        cloud: r#"faults = [{ fault = "never_up", calls = [1] }]"#,
    });
    let daemon = world.start();
    let failed = wait_for("a failed node", FAR, || world.in_state("failed").pop());
    daemon.kill();
    let daemon = world.start();
    let known = world.in_state("failed");
    assert_eq!((known.len(), &known[0]["id"]), (1, &failed["id"]));
    assert_eq!(world.calls("create_node").len(), 1);
    daemon.stop();
}

// An exception in a check ended all checks for good.
#[test]
fn bug55_whatever_goes_wrong_in_one_round_the_next_one_comes() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    world.faults(&json!([{ "fault": "error", "code": "internal", "message": "<html>" }]));
    let daemon = world.start();
    wait_for("the fault to be told", FAR, || {
        let status = world.get("/pool/v1/status");
        let is_told = |text: &serde_json::Value| text.as_str().is_some_and(|text| text.contains("<html>"));
        (is_told(&status["stocks"][0]["why"]) && is_told(&status["clouds"][0]["last_error"])).then_some(())
    });
    world.faults(&json!([]));
    world.settled(1);
    daemon.stop();
}

// The first check held up the start, and a build the end.
#[test]
fn bug47_neither_start_nor_end_waits_for_a_build() {
    let world =
        World::new(Parts { pool: "nodes = 1\nbuild_timeout_seconds = 600", cloud: "build_time = { ms = 600000 }" });
    let daemon = world.start();
    wait_for("a node that is being built", FAR, || world.in_state("building").pop());
    daemon.stop();
    let daemon = world.start();
    assert_eq!(world.in_state("building").len(), 1);
    daemon.stop();
}
