//! What the pool says of itself, and that what it says comes true: with the schedules as far apart as they are by default.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use capstan_tests::{http, paths, process::Process, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{Backend, FAR, Parts, World};

/// A world whose stocks are counted every five minutes.
fn patient(parts: Parts<'_>) -> World {
    World::new(parts).changed("check_interval_seconds = 0.1", "check_interval_seconds = 300")
}

fn stock(world: &World) -> Value {
    world.get("/pool/v1/status")["stocks"][0].take()
}

fn why(world: &World) -> String {
    stock(world)["why"].as_str().unwrap().to_owned()
}

fn id(node: &Value) -> &str {
    node["id"].as_str().unwrap()
}

#[test]
fn whatever_leaves_a_stock_short_has_it_counted_at_once() {
    let world = patient(Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    world.settled(2);
    world.site.expect(0, &["pool", "take", "--owner", "a"]);
    world.settled(2);
    world.site.expect(0, &["pool", "retire", id(&world.in_state("ready")[0])]);
    world.settled(2);
    world.site.expect(0, &["pool", "drain", id(&world.in_state("ready")[0])]);
    world.settled(2);
    world.vanish(&world.in_state("ready")[0]);
    wait_for("another node", FAR, || (world.calls("create_node").len() == 6).then_some(()));
    world.settled(2);
    world.site.expect(0, &["pool", "pause"]);
    world.site.expect(0, &["pool", "retire", id(&world.in_state("ready")[0])]);
    wait_for("the stock to be short", FAR, || (world.in_state("ready").len() == 1).then_some(()));
    assert!(why(&world).starts_with("paused: by "), "{}", why(&world));
    world.site.expect(0, &["pool", "resume"]);
    world.settled(2);
    assert_eq!((stock(&world)["free"].as_u64(), why(&world).as_str()), (Some(2), ""));
    daemon.stop();
}

#[test]
fn what_another_daemon_did_is_seen_by_the_one_that_counts() {
    let parts = Parts { pool: "nodes = 2", cloud: "" };
    let rare = |world: World| world.changed("check_interval_seconds = 0.1", "check_interval_seconds = 300");
    let first = rare(World::on(Backend::Postgres, parts));
    let second = rare(first.second(parts));
    let one = first.start();
    first.settled(2);
    let two = second.start();
    second.site.expect(0, &["pool", "take", "--owner", "a"]);
    first.settled(2);
    second.site.expect(0, &["pool", "retire", id(&second.in_state("ready")[0])]);
    first.settled(2);
    one.stop();
    two.stop();
}

#[test]
fn what_is_in_the_way_of_a_build_is_told_while_it_goes_on() {
    let world =
        World::new(Parts { pool: "nodes = 1", cloud: "" }).changed("search_seconds = 1\n", "search_seconds = 600\n");
    world.faults(&json!([
        { "fault": "error", "methods": ["create_node"], "code": "unavailable", "message": "no conductor" },
    ]));
    let daemon = world.start();
    wait_for("the cloud's words", FAR, || {
        why(&world).contains("1 being built (no conductor (unavailable))").then_some(())
    });
    world
        .faults(&json!([{ "fault": "rate_limited", "methods": ["list_nodes"], "retry_after_ms": 60_000, "times": 1 }]));
    wait_for("its rest to be told", FAR, || why(&world).contains("the cloud default asked for rest, ").then_some(()));
    assert!(world.site.expect(0, &["pool", "status"]).out.contains("cloud default: rests "));
    let explained = world.site.expect(0, &["explain", "default", "--output", "json"]).json();
    let of_cloud = explained["observed"].as_array().unwrap().iter().find(|one| one["by"] == "cloud default").unwrap();
    assert!(of_cloud["error"].as_str().unwrap().contains("it asked for rest, "), "{explained}");
    daemon.stop();
}

#[test]
fn a_stock_that_rests_says_until_when_and_builds_then() {
    let world = patient(Parts { pool: "nodes = 1", cloud: "" });
    let refused = json!([{ "fault": "error", "methods": ["create_node"], "code": "quota_exceeded", "message": "no more\n  cores" }]);
    world.faults(&refused);
    let daemon = world.start();
    let told = wait_for("the rest to be told", FAR, || Some(why(&world)).filter(|why| why.contains("resting until")));
    assert!(told.contains("no more\n  cores") && told.ends_with(" UTC"), "{told}");
    // On one line for people.
    let table = world.site.expect(0, &["pool", "status"]);
    assert_eq!(table.out.lines().count(), 2, "{table:?}");
    assert!(table.out.contains("no more cores"), "{table:?}");
    world.faults(&json!([]));
    world.settled(1);
    assert_eq!(why(&world), "");
    daemon.stop();
}

#[test]
fn a_short_stock_says_when_it_is_counted_again_and_what_the_api_server_said() {
    let world = patient(Parts { pool: "nodes = 1", cloud: "" }).changed("run/device.token\" }", "another.token\" }");
    fs::write(world.site.path().join("another.token"), "0123456789abcdef0123456789abcdef").unwrap();
    let daemon = world.start();
    // As long as the count goes on, it says so instead of a time.
    let told = wait_for("the refusal to be told", FAR, || {
        Some(why(&world)).filter(|why| why.contains("no API server") && why.contains("counted again at "))
    });
    assert!(told.contains("401") && told.ends_with(" UTC"), "{told}");
    daemon.stop();
}

#[test]
fn spare_nodes_that_do_not_answer_are_told_of_wherever_somebody_asks() {
    let world = World::on(Backend::Postgres, Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    world.stocked(2);
    world.sql("UPDATE pool_nodes SET health_failures = 1, reason = 'no worker answers'");
    let stock = stock(&world);
    assert_eq!((&stock["free"], &stock["counts"]["unfit"]), (&json!(0), &json!(2)), "{stock}");
    assert!(stock["why"].as_str().unwrap().contains("2 of 2 spare nodes do not answer: no worker answers"), "{stock}");
    let explained = world.site.expect(0, &["explain", "default"]);
    assert!(explained.out.contains("spare nodes do not answer: no worker answers"), "{explained:?}");
    let refused = world.site.expect(69, &["pool", "take", "--owner", "a"]);
    assert!(refused.error.contains("the 2 spare nodes of the stock default do not answer: no worker"), "{refused:?}");
    wait_for("the figure", FAR, || {
        let metrics = http::get(world.site.http_port, "/metrics", "").unwrap().body;
        metrics.contains("capstan_pool_unfit_nodes{stock=\"default\"} 2").then_some(())
    });
    daemon.stop();
}

#[test]
fn a_node_in_use_that_the_cloud_gives_up_is_told_of_and_its_story_is_kept() {
    let fault = r#"faults = [{ fault = "node_error", calls = [1], delay_ms = 2500, message = "its host died" }]"#;
    let world = patient(Parts { pool: "nodes = 1", cloud: fault });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    world.site.expect(0, &["pool", "take", "--owner", "a"]);
    let told = wait_for("the error to be told", FAR, || Some(why(&world)).filter(|why| why.contains("in error")));
    assert!(told.contains("1 of the nodes in use are in error: the cloud gave it up: its host died"), "{told}");
    wait_for("the figure", FAR, || {
        let metrics = http::get(world.site.http_port, "/metrics", "").unwrap().body;
        metrics.contains("capstan_pool_taken_nodes_in_error{stock=\"default\"} 1").then_some(())
    });
    world.site.expect(0, &["pool", "retire", id(&node), "--reason", "moved elsewhere"]);
    let explained = world.site.expect(0, &["explain", id(&node)]);
    assert!(explained.out.contains("its host died") && explained.out.contains("moved elsewhere"), "{explained:?}");
    let by = if rustix::process::getuid().is_root() { "(by root (uid 0))" } else { "(by uid " };
    assert!(explained.out.contains(by), "{explained:?}");
    daemon.stop();
}

#[test]
fn a_node_in_use_that_runs_again_is_no_longer_told_of_and_its_row_is_written_once() {
    let fault = r#"faults = [{ fault = "node_error", calls = [1], delay_ms = 4000, duration_ms = 3000, message = "its host died" }]"#;
    let world = patient(Parts { pool: "nodes = 1", cloud: fault });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    world.site.expect(0, &["pool", "take", "--owner", "a"]);
    let show = || world.get(&format!("/pool/v1/nodes/{}", id(&node)));
    let happened = |shown: &Value, kind: &str| {
        let events = shown["events"].as_array().unwrap();
        events.iter().filter(|event| event["kind"] == kind).count()
    };
    let shown = wait_for("the node to be well again", FAR, || Some(show()).filter(|it| happened(it, "well_again") > 0));
    assert_eq!(happened(&shown, "in_error"), 1, "{shown}");
    let row = &shown["node"];
    assert_eq!((&row["state"], &row["owner"], &row["reason"]), (&json!("taken"), &json!("a"), &json!("")));
    assert_eq!(why(&world), "");
    wait_for("the figure", FAR, || {
        let metrics = http::get(world.site.http_port, "/metrics", "").unwrap().body;
        metrics.contains("capstan_pool_taken_nodes_in_error{stock=\"default\"} 0").then_some(())
    });
    world.settled(1);
    let rows = world.nodes();
    world.rounds(2, &["reconcile"]);
    assert_eq!(world.nodes(), rows, "rows of nodes that are well are written");
    daemon.stop();
}

#[test]
fn a_node_is_found_by_the_clouds_id_and_drained_once() {
    let world = patient(Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(2).remove(0);
    let in_cloud = node["node"].as_str().unwrap();
    let shown = world.site.expect(0, &["pool", "show", in_cloud]);
    assert!(shown.out.contains(id(&node)) && shown.out.contains(&format!("id in the cloud: {in_cloud}")), "{shown:?}");
    assert!(world.site.expect(0, &["explain", in_cloud]).out.contains(id(&node)));
    let held = world.site.expect(0, &["hold", in_cloud, "--reason", "it is looked at"]);
    assert!(held.out.contains(id(&node)), "{held:?}");
    world.site.expect(0, &["hold", "lift", in_cloud]);
    let drained = world.site.expect(0, &["pool", "drain", in_cloud, "--reason", "a loud fan"]);
    assert!(
        drained.out.contains("is drained: it is out of the stock") && !drained.out.contains("already"),
        "{drained:?}"
    );
    let explained = world.site.expect(0, &["explain", in_cloud]);
    assert!(explained.out.contains("drained") && explained.out.contains("reason=a loud fan (by "), "{explained:?}");
    let taken = world.site.expect(0, &["pool", "take", "--owner", "alice", "--output", "json"]).json();
    let again = world.site.expect(0, &["pool", "drain", id(&taken["node"]), "--reason", "another"]);
    assert!(again.out.contains("is taken by alice already; nothing done"), "{again:?}");

    // All reasons keep to one rule, whatever they are for.
    let path = format!("/pool/v1/nodes/{}", id(&node));
    let unfit = [json!(""), json!(" "), json!("two\nlines"), json!("x".repeat(501)), json!(7)];
    for (what, reason) in
        ["drain", "retire"].into_iter().flat_map(|what| unfit.iter().map(move |reason| (what, reason)))
    {
        let refused = world.post(&format!("{path}/{what}"), &json!({ "reason": reason }));
        assert_eq!(
            (refused.status, refused.json()["field"].clone()),
            (400, json!("reason")),
            "{what} {reason}: {refused:?}"
        );
    }
    let refused = world.site.expect(1, &["pool", "pause", "--reason", &"x".repeat(6000)]);
    assert!(refused.error.contains("1 to 500 characters on one line"), "{refused:?}");

    // One that is not in the stock cannot leave it, which is something else than not to be there.
    world.site.expect(0, &["pool", "retire", in_cloud]);
    let drain = |node: &str| world.post(&format!("/pool/v1/nodes/{node}/drain"), &json!({}));
    let refused = drain(id(&node));
    assert_eq!((refused.status, refused.json()["type"].clone()), (409, json!("conflict")), "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("only a spare one is drained"), "{refused:?}");
    assert_eq!(drain("nobody").status, 404);
    daemon.stop();
}

#[test]
fn the_status_is_watched_through_a_restart() {
    let world = patient(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    world.stocked(1);
    let (out, error) = (world.path("watch.out"), world.path("watch.error"));
    let mut command = Command::new(paths::capstan());
    command.arg("--config").arg(world.site.config()).args(["pool", "status", "--watch"]).stdin(Stdio::null());
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&error).unwrap());
    let mut watching = Process::spawn(&mut command).unwrap();
    let shown = || fs::read_to_string(&out).unwrap().matches("STOCK").count();
    wait_for("the status to be shown", FAR, || (shown() > 0).then_some(()));
    daemon.kill();
    wait_for("the silence to be told", FAR, || {
        fs::read_to_string(&error).unwrap().contains("the daemon does not answer; trying again").then_some(())
    });
    let before = shown();
    let daemon = world.start();
    wait_for("the status to be shown again", FAR, || (shown() > before).then_some(()));
    watching.signal(Signal::INT);
    watching.wait(FAR);
    // What was killed is told of, too.
    assert!(world.site.log().contains("the last daemon that ran the schedules ended without warning"));
    daemon.stop();
    let (log, daemon) = (world.site.log(), world.start());
    wait_for("the schedules to be taken over", FAR, || world.site.log().contains("runs the schedules").then_some(()));
    assert_eq!(
        world.site.log().matches("ended without warning").count(),
        log.matches("ended without warning").count(),
        "a daemon that ended well is said to have not"
    );
    daemon.stop();
}

#[test]
fn a_job_that_would_lead_nowhere_is_not_queued_again() {
    let fault = r#"faults = [{ fault = "error", methods = ["create_node"], calls = [1], code = "quota_exceeded" }]"#;
    let world = patient(Parts { pool: "nodes = 1", cloud: fault });
    let daemon = world.start();
    let job = wait_for("a build that failed", FAR, || {
        world.get("/jobs/v1/jobs?kind=pool.build&state=failed")["jobs"][0]["id"].as_str().map(str::to_owned)
    });
    let refused = world.site.expect(1, &["job", "retry", &job]);
    assert!(
        refused.error.contains("its node is closed") && refused.error.contains("capstan pool resume default"),
        "{refused:?}"
    );
    assert_eq!(world.get(&format!("/jobs/v1/jobs/{job}"))["state"], "failed");
    let explained = world.site.expect(0, &["explain", &job]);
    assert!(!explained.out.contains("capstan job retry"), "{explained:?}");
    world.site.expect(0, &["pool", "resume", "default"]);
    world.settled(1);
    daemon.stop();
}

#[test]
fn holds_are_told_of_with_what_they_leave() {
    let world = patient(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    for arguments in [&["hold", "--reason", "all stands"][..], &["hold", "pool", "--reason", "the pool stands"]] {
        world.site.expect(0, arguments);
    }
    let taken = world.site.expect(0, &["pool", "take", "--owner", "a"]);
    assert!(taken.error.contains("all is held by") && taken.out.contains(id(&node)), "{taken:?}");
    let lifted = world.site.expect(0, &["hold", "lift"]);
    assert!(lifted.out.contains("all is no longer held\nstill held: pool\n"), "{lifted:?}");
    let unknown = world.site.expect(1, &["hold", "lift", "nope"]);
    world.site.expect(0, &["hold", "lift", "pool"]);
    world.settled(1);
    assert!(unknown.error.contains("nope is not held") && !unknown.error.contains("say nothing"), "{unknown:?}");
    daemon.stop();
}

#[test]
fn what_is_asked_wrongly_is_answered_in_the_callers_words() {
    let world = patient(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    let unknown = world.site.expect(1, &["pool", "nodes", "--stock", "nope"]);
    assert!(unknown.error.contains("there is no stock \"nope\"; there are default"), "{unknown:?}");
    for command in [&["pool", "show", ""][..], &["pool", "retire", ""], &["explain", ""]] {
        let empty = world.site.expect(64, command);
        assert!(empty.error.contains("value"), "{empty:?}");
    }
    let list = world.post("/pool/v1/stocks/default/take", &json!([]));
    assert_eq!(list.status, 400, "{list:?}");
    assert!(!list.body.contains("TakeRequest") && list.body.contains("expected an object"), "{list:?}");
    let reply = world.operate(&json!({ "action": "BUILD_IP", "cloud": "nowhere" }));
    assert!(
        reply["reason"].as_str().unwrap().contains("no cloud \"nowhere\" in the farm; there are default"),
        "{reply}"
    );
    // Times are those of every API.
    for at in [&node["created"], &node["ready_at"], &world.get("/pool/v1/status")["schedules"][0]["next_at"]] {
        assert!(http::time(at).is_some(), "{at}");
    }
    let shown = world.get(&format!("/pool/v1/nodes/{}", id(&node)));
    assert!(http::time(&shown["events"][0]["at"]).is_some(), "{shown}");
    daemon.stop();
}
