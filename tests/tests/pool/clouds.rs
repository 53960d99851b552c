//! `/clouds/v1`, `capstan cloud` and `capstan node`: nodes of any cloud of the farm.

use capstan_tests::{http, wait_for};
use serde_json::{Value, json};

use crate::world::{FAR, Parts, World};

const NODES: &str = "/clouds/v1/clouds/default/nodes";

/// A daemon that runs the orchestrator alone, with the same cloud.
fn orchestrator(cloud: &str) -> World {
    World::new(Parts { pool: "", cloud }).changed(r#"roles = ["lbaas", "pool-manager"]"#, r#"roles = ["orchestrator"]"#)
}

fn json_of(world: &World, code: i32, command: &[&str]) -> Value {
    world.site.expect(code, &[command, &["--output", "json"]].concat()).json()
}

#[test]
fn nodes_are_made_shown_and_removed_by_commands() {
    let world = orchestrator("build_time = { ms = 200 }");
    let daemon = world.start();
    let clouds = world.site.expect(0, &["cloud", "list"]);
    assert!(clouds.out.contains("default") && clouds.out.contains("ready"), "{clouds:?}");
    assert!(world.site.expect(0, &["cloud", "show"]).out.contains("create_node"));
    assert!(world.site.expect(0, &["cloud", "images"]).out.contains("debian-12"));
    assert!(world.site.expect(0, &["cloud", "sizes"]).out.contains("2048"));

    let made = json_of(
        &world,
        0,
        &["node", "create", "web", "--image", "debian-12", "--size", "small", "--tag", "team=a", "--wait"],
    );
    assert_eq!(made["state"], "done", "{made}");
    let node = &made["result"]["node"];
    assert_eq!((&node["name"], &node["state"], &node["tags"]["team"]), (&json!("web"), &json!("running"), &json!("a")));
    let id = node["id"].as_str().unwrap();
    assert_eq!(json_of(&world, 0, &["node", "show", id])["name"], "web");
    assert!(world.site.expect(0, &["node", "list"]).out.contains("web"));
    let found =
        |filter: &[&str]| json_of(&world, 0, &[&["node", "list"], filter].concat())["nodes"].as_array().unwrap().len();
    assert_eq!((found(&["--tag", "team=a"]), found(&["--tag", "team=b"])), (1, 0));
    assert_eq!((found(&["--name", "web"]), found(&["--name", "we"]), found(&["--state", "stopped"])), (1, 0, 0));

    let removed = json_of(&world, 0, &["node", "delete", id, "--wait"]);
    assert_eq!(removed["state"], "done", "{removed}");
    assert!(world.cloud().is_empty());
    let gone = world.site.expect(1, &["node", "show", id]);
    assert!(gone.error.contains("has no node"), "{gone:?}");
    let gone = world.site.expect(1, &["node", "delete", id]);
    assert!(gone.error.contains("has no node"), "{gone:?}");
    daemon.stop();
}

#[test]
fn a_list_comes_in_pages() {
    let world = orchestrator("page_size = 2");
    let daemon = world.start();
    for _ in 0..5 {
        let made = world.post(&format!("{NODES}?wait=8"), &json!({ "image": "debian-12", "size": "small" }));
        assert_eq!((made.status, &made.json()["state"]), (200, &json!("done")), "{made:?}");
    }
    let (mut names, mut path) = (Vec::new(), format!("{NODES}?limit=2"));
    loop {
        let page = world.get(&path);
        let nodes = page["nodes"].as_array().unwrap();
        assert!(nodes.len() <= 2, "{page}");
        names.extend(nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{NODES}?limit=2&cursor={next}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5);
    assert_eq!(json_of(&world, 0, &["node", "list"])["nodes"].as_array().unwrap().len(), 5);
    daemon.stop();
}

#[test]
fn a_request_that_comes_twice_makes_one_node_also_when_the_daemon_is_killed_in_between() {
    let world = orchestrator("build_time = { ms = 1000 }");
    let daemon = world.start();
    let body = json!({ "image": "debian-12", "size": "small" });
    let send = || {
        let request = http::Request::new("POST", NODES).header("idempotency-key", "k-1").json(&body);
        request.send(world.site.http_port)
    };
    let first = send();
    assert_eq!(first.status, 202, "{first:?}");
    wait_for("the cloud to be asked", FAR, || (world.calls("create_node").len() == 1).then_some(()));
    daemon.kill();
    let daemon = world.start();
    let second = send();
    assert_eq!(first.json()["id"], second.json()["id"]);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let ended = world.get(&format!("/jobs/v1/jobs/{id}?wait=8"));
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!((world.calls("create_node").len(), world.cloud().len()), (1, 1));
    daemon.stop();
}

#[test]
fn a_create_without_an_answer_is_looked_for_and_not_asked_again() {
    let world = orchestrator("");
    world.faults(&json!([{ "fault": "reply_lost", "methods": ["create_node"], "calls": [1] }]));
    let daemon = world.start();
    let made =
        world.post(&format!("{NODES}?wait=8"), &json!({ "image": "debian-12", "size": "small", "name": "n" })).json();
    assert_eq!(made["state"], "done", "{made}");
    assert_eq!((world.calls("create_node").len(), world.cloud().len()), (1, 1));
    daemon.stop();
}

#[test]
fn what_the_driver_refuses_is_told_in_its_words() {
    let world = orchestrator("max_nodes = 0");
    let daemon = world.start();
    let body = json!({ "image": "debian-12", "size": "small" });
    let refused = world.post(&format!("{NODES}?wait=8"), &body).json();
    assert_eq!(refused["state"], "failed", "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("quota_exceeded"), "{refused}");
    let command = ["node", "create", "--image", "debian-12", "--size", "small", "--wait"];
    let failed = world.site.expect(1, &command);
    assert!(failed.error.contains("quota_exceeded"), "{failed:?}");
    for (body, status, says) in [
        (json!({ "image": "none", "size": "small" }), 422, "no image \"none\""),
        (json!({ "image": "debian-12", "size": "none" }), 422, "no size \"none\""),
        (json!({ "image": "debian-12" }), 400, "size"),
        (json!({ "image": "debian-12", "size": "small", "name": "" }), 400, "name"),
        (json!({ "image": "debian-12", "size": "small", "tags": { "capstan-owner": "x" } }), 400, "capstan-"),
        (json!({ "image": "debian-12", "size": "small", "flavor": 1 }), 400, "flavor"),
    ] {
        let answer = world.post(NODES, &body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{body}: {answer:?}");
    }
    world.faults(
        &json!([{ "fault": "error", "methods": ["list_nodes"], "code": "auth_failed", "message": "who are you" }]),
    );
    let answer = wait_for("the fault to be in force", FAR, || {
        let answer = http::get(world.site.http_port, NODES, "").unwrap();
        (answer.status != 200).then_some(answer)
    });
    let problem = answer.json();
    assert_eq!(
        (answer.status, &problem["code"], &problem["driver"]),
        (502, &json!("auth_failed"), &json!("cloud.dummy@default"))
    );
    let unknown = http::get(world.site.http_port, "/clouds/v1/clouds/nowhere/nodes", "").unwrap();
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["detail"].as_str().unwrap().contains("there are default"), "{unknown:?}");
    daemon.stop();
}

#[test]
fn what_a_node_gets_at_its_first_start_is_shown_to_nobody() {
    let world = orchestrator("");
    let daemon = world.start();
    let secret = "enrolment-token-4711";
    let made =
        world.post(&format!("{NODES}?wait=8"), &json!({ "image": "debian-12", "size": "small", "user_data": secret }));
    assert_eq!(made.json()["state"], "done", "{made:?}");
    assert!(!made.body.contains(secret));
    assert!(!world.get("/jobs/v1/jobs").to_string().contains(secret));
    assert!(!world.site.log().contains(secret));
    daemon.stop();
}

#[test]
fn a_node_of_the_pool_is_not_removed_behind_its_back_and_a_made_one_is_no_orphan() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    let id = node["node"].as_str().unwrap();
    let refused = world.site.expect(1, &["node", "delete", id]);
    // By the cloud's id: a second node of the same tags is another one.
    assert!(refused.error.contains(&format!("`capstan pool retire {id}`")), "{refused:?}");
    let made = json_of(&world, 0, &["node", "create", "--image", "debian-12", "--size", "small", "--wait"]);
    assert_eq!(made["state"], "done", "{made}");
    // Longer than an orphan lives here.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!((world.cloud().len(), world.calls("destroy_node").len()), (2, 0));
    world.site.expect(0, &["node", "delete", id, "--force", "--wait"]);
    wait_for("a replacement", FAR, || (world.calls("create_node").len() == 3).then_some(()));
    daemon.stop();
}
