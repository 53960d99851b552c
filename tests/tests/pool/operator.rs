//! What an operator does with the pool, by commands and over HTTP.

use capstan_tests::{
    http::{self, Request},
    wait_for,
};
use serde_json::json;

use crate::world::{FAR, Parts, World};

#[test]
fn a_node_is_taken_once_for_each_owner_and_replaced() {
    let world = World::new(Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    world.stocked(2);
    let take = |owner: &str| world.post("/pool/v1/stocks/default/take", &json!({ "owner": owner }));
    let first = take("a");
    assert_eq!(first.status, 200, "{first:?}");
    let first = first.json();
    assert_eq!(first["node"]["state"], "taken");
    assert_eq!(take("a").json()["node"]["id"], first["node"]["id"], "asked again, another node was given");
    let second = take("b").json();
    assert_ne!(second["node"]["id"], first["node"]["id"]);
    world.settled(2);
    let usage = world.devices().into_iter().filter(|device| device["status"] == "ONLINE").count();
    assert_eq!(usage, 2);
    daemon.stop();
}

#[test]
fn spare_nodes_are_given_apart_where_the_cloud_tells_hosts() {
    let world = World::new(Parts { pool: "nodes = 4", cloud: "hosts = 2" });
    let daemon = world.start();
    world.stocked(4);
    let take = |owner: &str, apart: &[&str]| {
        world.post("/pool/v1/stocks/default/take", &json!({ "owner": owner, "apart_from": apart })).json()
    };
    let first = take("a", &[]);
    let unknown = take("b", &["nobody"]);
    assert!(unknown["detail"].as_str().unwrap().contains("no node \"nobody\" in the pool"), "{unknown}");
    let second = take("b", &[first["node"]["id"].as_str().unwrap()]);
    assert_eq!(second["apart"], "satisfied", "{second}");
    assert_ne!(first["node"]["host"], second["node"]["host"]);
    daemon.stop();
    let world = World::new(Parts { pool: "nodes = 2\nlocation = \"zone-1\"", cloud: "hosts = 1" });
    let daemon = world.start();
    world.stocked(2);
    let take = |owner: &str, apart: &[&str]| {
        world.post("/pool/v1/stocks/default/take", &json!({ "owner": owner, "apart_from": apart })).json()
    };
    let first = take("a", &[]);
    let second = take("b", &[first["node"]["id"].as_str().unwrap()]);
    assert_eq!(second["apart"], "impossible", "{second}");
    daemon.stop();
}

#[test]
fn commands_show_and_change_the_pool() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    let name = node["name"].as_str().unwrap();
    let status = world.site.expect(0, &["pool", "status"]);
    assert!(status.out.contains("default") && status.out.contains("WANTED"), "{status:?}");
    assert!(world.site.expect(0, &["pool", "nodes"]).out.contains(name));
    assert!(world.site.expect(0, &["pool", "show", name]).out.contains("event"));
    let paused = world.site.expect(0, &["pool", "pause", "--reason", "maintenance"]);
    assert!(paused.out.contains("paused: maintenance"), "{paused:?}");
    world.site.expect(0, &["pool", "retire", name, "--reason", "broken fan"]);
    wait_for("the node to be gone", FAR, || world.cloud().is_empty().then_some(()));
    assert_eq!(world.calls("create_node").len(), 1, "a paused stock built a node");
    world.site.expect(0, &["pool", "resume"]);
    world.settled(1);
    let unknown = world.site.expect(1, &["pool", "show", "nobody"]);
    assert!(unknown.error.contains("there is no node"), "{unknown:?}");
    let unknown = world.site.expect(1, &["pool", "pause", "nothing"]);
    assert!(unknown.error.contains("there are default"), "{unknown:?}");
    let empty = world.post("/pool/v1/stocks/default/take", &json!({ "owner": "" }));
    assert_eq!(empty.status, 400, "{empty:?}");
    daemon.stop();
}

#[test]
fn no_route_that_changes_something_passes_a_condition_over() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    let id = node["id"].as_str().unwrap();
    let port = world.site.http_port;
    let refused = |method: &str, path: &str| {
        let answer = Request::new(method, path).header("if-match", "\"made-up\"").send(port);
        assert_eq!((answer.status, answer.json()["type"].clone()), (412, json!("precondition_failed")), "{path}");
    };
    for what in ["drain", "retire"] {
        refused("POST", &format!("/pool/v1/nodes/{id}/{what}"));
    }
    assert_eq!(world.in_state("ready").len(), 1);

    // With the right tag they are done.
    let in_cloud =
        format!("/clouds/v1/clouds/{}/nodes/{}", node["cloud"].as_str().unwrap(), node["node"].as_str().unwrap());
    world.site.expect(0, &["hold", "pool", "--reason", "a look"]);
    for (path, status) in [("/holds/v1/holds/pool", 200), (&*format!("{in_cloud}?force=true"), 202)] {
        refused("DELETE", path);
        let read = Request::new("GET", path.split('?').next().unwrap()).send(port);
        let tag = read.header("etag").unwrap_or_else(|| panic!("{path}: {read:?}"));
        let changed = Request::new("DELETE", path).header("if-match", tag).send(port);
        assert_eq!(changed.status, status, "{path}: {changed:?}");
    }

    // Whatever else there is, and comes to be: the condition is refused, or the thing or the right to change it is not there.
    let index = world.get("/");
    let changes = index["routes"].as_array().unwrap().iter().filter(|route| route["method"] != "GET");
    for route in changes {
        let path = route["path"].as_str().unwrap();
        if path.starts_with("/v1/") {
            continue;
        }
        let made = path.replace(['{', '}'], "");
        let answer =
            Request::new(route["method"].as_str().unwrap(), &made).header("if-match", "\"made-up\"").send(port);
        assert!([401, 403, 404, 412].contains(&answer.status), "{path}: {answer:?}");
    }
    daemon.stop();
}

#[test]
fn an_image_that_the_cloud_does_not_have_is_told_and_the_daemon_goes_on() {
    let world = World::new(Parts { pool: "nodes = 1\n[pool.stocks.odd]\nimage = \"none such\"", cloud: "" });
    let daemon = world.start();
    wait_for("the fault to be told", FAR, || {
        let status = world.get("/pool/v1/status");
        status["stocks"][0]["why"].as_str().filter(|why| why.contains("no image \"none such\"")).map(drop)
    });
    daemon.stop();
}

#[test]
fn p16_the_daemon_ends_well_when_it_is_told_to_and_badly_without_a_place_for_its_state() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    world.stocked(1);
    // It expects exit code 0.
    daemon.stop();
    let (state, file) = (world.path("state"), world.path("file"));
    std::fs::write(&file, "").unwrap();
    let line = |path: &std::path::Path| format!("state_dir = \"{}\"", path.display());
    let world = world.changed(&line(&state), &line(&file.join("below")));
    let refused = world.site.expect(69, &["serve"]);
    assert!(refused.error.contains("cannot be used"), "{refused:?}");
}

#[test]
fn p22_all_that_is_missing_is_told_at_once_with_a_line_for_each() {
    let world = World::new(Parts { pool: "cloud = \"nowhere\"", cloud: "" })
        .changed("image = \"debian-12\"\n", "")
        .changed("size = \"small\"\n", "")
        .changed("driver = \"local\"", "driver = \"locl\"");
    for command in [&["config", "check"][..], &["serve"], &["pool-manager"]] {
        let refused = world.site.expect(64, command);
        for key in ["pool.image", "pool.size", "pool.cloud", "pool.driver"] {
            let lines = refused.error.lines().filter(|line| line.contains(key)).count();
            assert_eq!(lines, 1, "{command:?} {key}: {}", refused.error);
        }
    }
    // An option of the command line counts like the file's key.
    let unknown = world.site.expect(64, &["pool-manager", "--driver", "hp_rst"]);
    assert!(unknown.error.contains("unknown driver \"hp_rst\""), "{unknown:?}");
}

#[test]
fn p25_a_run_begins_its_interval_after_the_one_before_has_ended() {
    // Each check takes as long as the cloud takes to list its images, which is longer than the interval. What was listed is forgotten
    // by the next check.
    let world = World::new(Parts { pool: "nodes = 1", cloud: "latency = { list_images = { ms = 250 } }" })
        .changed("reconcile_interval_seconds = 0.2", "reconcile_interval_seconds = 0.05");
    let daemon = world.start();
    world.stocked(1);
    let run = || {
        let status = world.get("/pool/v1/status");
        let found =
            status["schedules"].as_array()?.iter().find(|schedule| schedule["schedule"] == "check_nodes").cloned()?;
        Some((http::time(&found["began_at"])?, http::time(&found["ended_at"])?))
    };
    let mut last = wait_for("a first run", FAR, run);
    for _ in 0..4 {
        let next = wait_for("the next run", FAR, || run().filter(|next| *next != last));
        // One that was not seen may lie between, but never within.
        assert!(next.0 >= last.1 + 99, "a run began at {} although the one before ended at {}", next.0, last.1);
        assert!(next.1 - next.0 >= 250, "{next:?}");
        last = next;
    }
    daemon.stop();
}
