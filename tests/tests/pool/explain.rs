//! `capstan explain`: what is wanted, what is seen just now, what is at work, what is in the way, what comes next.

use capstan_tests::wait_for;
use serde_json::{Value, json};

use crate::world::{Backend, FAR, Parts, World};

fn explain(world: &World, word: &str) -> Value {
    world.site.expect(0, &["explain", word, "--output", "json"]).json()
}

fn seen<'e>(explained: &'e Value, by: &str) -> &'e Value {
    let all = explained["observed"].as_array().unwrap();
    all.iter().find(|seen| seen["by"].as_str().unwrap().starts_with(by)).unwrap_or_else(|| panic!("{by}: {explained}"))
}

#[test]
fn a_node_a_stock_and_a_job_are_explained_by_all_who_know_them() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    let by_id = explain(&world, node["id"].as_str().unwrap());
    let by_name = explain(&world, node["name"].as_str().unwrap());
    assert_eq!(by_id["object"], by_name["object"]);
    assert_eq!(by_id["desired"]["state"], "ready", "{by_id}");
    assert_eq!(seen(&by_id, "cloud default")["what"]["state"], "running");
    assert_eq!(seen(&by_id, "mgm.local")["what"]["status"], "OFFLINE");
    wait_for("the next look to be known", FAR, || {
        explain(&world, node["id"].as_str().unwrap())["next"]["at"].as_str().map(drop)
    });
    assert!(by_id["events"].as_array().unwrap().iter().any(|event| event["kind"] == "ready"), "{by_id}");

    let stock = explain(&world, "default");
    assert_eq!((&stock["object"], &stock["desired"]["nodes"]), (&json!("stock/default"), &json!(1)));
    assert_eq!(seen(&stock, "cloud default")["what"]["running"], 1, "{stock}");
    assert_eq!(seen(&stock, "mgm.local")["what"]["free"], 1, "{stock}");

    let jobs = world.get("/jobs/v1/jobs?kind=pool.build");
    let job = explain(&world, jobs["jobs"][0]["id"].as_str().unwrap());
    assert_eq!(job["about"]["object"], by_id["object"], "{job}");
    assert!(job["next"]["what"].as_str().unwrap().contains("done"), "{job}");

    let told = world.site.expect(0, &["explain", node["name"].as_str().unwrap()]);
    for part in ["desired", "observed", "next", "event"] {
        assert!(told.out.lines().any(|line| line.starts_with(part)), "{part}: {told:?}");
    }
    let unknown = world.site.expect(1, &["explain", "nobody"]);
    assert!(unknown.error.contains("no node, no stock and no job \"nobody\""), "{unknown:?}");
    daemon.stop();
}

#[test]
fn what_is_in_the_way_is_told_with_the_job_that_goes_on_and_when() {
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    let node = world.stocked(1).remove(0);
    let id = node["id"].as_str().unwrap();
    let fault =
        json!({ "fault": "error", "methods": ["destroy_node"], "code": "unavailable", "message": "a lock is held" });
    world.faults(&json!([fault]));
    world.site.expect(0, &["pool", "retire", id]);
    let told = wait_for("the refusal to be told", FAR, || {
        let told = explain(&world, id);
        let is_told = told["last_error"].as_str().is_some_and(|error| error.contains("does not delete"));
        is_told.then_some(told)
    });
    assert_eq!(told["desired"]["state"], "deleted");
    assert!(told["job"]["id"].is_string() && told["next"]["what"].as_str().unwrap().contains("job"), "{told}");
    // A cloud that cannot be asked costs its own line.
    world.faults(
        &json!([{ "fault": "error", "methods": ["get_node", "list_nodes", "destroy_node"], "code": "unavailable" }]),
    );
    wait_for("the cloud to be away", FAR, || seen(&explain(&world, id), "cloud default")["error"].as_str().map(drop));
    assert_eq!(seen(&explain(&world, id), "row")["what"]["state"], "deleting");
    daemon.stop();
}

#[test]
fn a_running_job_that_was_asked_to_stop_is_explained_as_such() {
    let world = World::on(Backend::Postgres, Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    world.stocked(1);
    let job = world.get("/jobs/v1/jobs?kind=pool.build&limit=1")["jobs"][0]["id"].as_str().unwrap().to_owned();
    // As another daemon has it that is busy with it for long.
    world.sql(&format!(
        "UPDATE jobs SET kind = 'test.work', state = 'running', finished_at = NULL, lease_owner = 'another', \
         lease_until = 99999999999999, cancel_requested = 1 WHERE id = '{job}'"
    ));
    let explained = world.site.expect(0, &["explain", &job]);
    assert!(explained.out.contains("running, cancel asked for"), "{explained:?}");
    assert!(explained.out.contains("was asked to stop and ends as soon as it can"), "{explained:?}");
    daemon.stop();
}
