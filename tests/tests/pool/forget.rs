//! What the pool forgets in time, through the daemon: time passes for rows, past it.

use capstan_tests::{http, wait_for};
use serde_json::json;

use crate::world::{Backend, FAR, Parts, World};

const DAY_MS: i64 = 86_400_000;

#[test]
fn a_node_that_was_deleted_a_month_ago_is_forgotten_and_one_in_stock_never_is() {
    let world = World::on(Backend::Postgres, Parts { pool: "nodes = 2", cloud: "" });
    let daemon = world.start();
    let nodes = world.stocked(2);
    let ids: Vec<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    world.post(&format!("/pool/v1/nodes/{}/retire", ids[0]), &json!({}));
    let shown = |id: &str| http::get(world.site.http_port, &format!("/pool/v1/nodes/{id}"), "").unwrap();
    wait_for("the node to be deleted", FAR, || (shown(ids[0]).json()["node"]["state"] == "deleted").then_some(()));
    world.stocked(2);
    // A day before its time, and as long as the other one is in stock.
    world.sql(&format!("UPDATE pool_nodes SET updated = updated - {} WHERE id = '{}'", 29 * DAY_MS, ids[0]));
    world.sql(&format!("UPDATE pool_nodes SET updated = updated - {} WHERE id = '{}'", 400 * DAY_MS, ids[1]));
    world.rounds(3, &["reconcile"]);
    assert_eq!(shown(ids[0]).json()["node"]["state"], "deleted");
    world.sql(&format!("UPDATE pool_nodes SET updated = updated - {DAY_MS} WHERE id = '{}'", ids[0]));
    wait_for("the node to be forgotten", FAR, || (shown(ids[0]).status == 404).then_some(()));
    assert_eq!(shown(ids[1]).json()["node"]["state"], "ready");

    // Its jobs go sooner, and not before.
    let jobs = || world.get("/jobs/v1/jobs?state=done&kind=pool.delete")["jobs"].as_array().unwrap().len();
    assert_eq!(jobs(), 1);
    world.sql(&format!("UPDATE jobs SET finished_at = finished_at - {} WHERE finished_at IS NOT NULL", 7 * DAY_MS));
    daemon.stop();
    let daemon = world.start();
    wait_for("the job to be forgotten", FAR, || (jobs() == 0).then_some(()));
    world.settled(2);
    daemon.stop();
    world.checked();
}
