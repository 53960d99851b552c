//! A store that came out of a backup: it is older than the cloud, and what it does not know may be in use.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use capstan_tests::wait_for;
use serde_json::{Value, json};

use crate::world::{Backend, FAR, Parts, World};

fn backup_of(world: &World) -> PathBuf {
    let file = world.site.path().join("backup.jsonl");
    world.site.expect(0, &["store", "backup", file.to_str().unwrap()]);
    file
}

fn restore(world: &World, backup: &Path) {
    world.site.expect(0, &["store", "restore", backup.to_str().unwrap(), "--force"]);
}

/// A node with our tags that no row knows.
fn plant_orphan(world: &World) -> String {
    let mut tags = world.cloud()[0]["tags"].clone();
    tags["capstan-node"] = json!("0000");
    let made = world.call_cloud(
        "create_node",
        &json!({ "name": "stray", "image": "image-1", "size": "size-1", "tags": tags, "client_token": "stray" }),
    );
    text(&made, "id")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key}: {value}")).to_owned()
}

fn all<'v>(values: impl IntoIterator<Item = &'v Value>, key: &str) -> BTreeSet<String> {
    values.into_iter().map(|value| text(value, key)).collect()
}

/// What is told to nobody's account.
fn orphans(world: &World) -> BTreeSet<String> {
    all(world.get("/pool/v1/status")["orphans"].as_array().unwrap(), "node")
}

fn a_restored_pool_deletes_nothing_younger_than_its_backup(backend: Backend) {
    let world = World::on(backend, Parts { pool: "nodes = 3", cloud: "" })
        .changed("orphan_age_seconds = 0.5", "orphan_age_seconds = 600");
    let daemon = world.start();
    let before = world.stocked(3);
    let old_orphan = plant_orphan(&world);
    // Older than the backup by more than a cloud's clock is trusted, which is orphan_age_seconds of the restored daemon.
    std::thread::sleep(Duration::from_millis(600));
    let backup = backup_of(&world);

    // One goes, one comes in its place, and one is handed to somebody who asked for it.
    world.post(&format!("/pool/v1/nodes/{}/retire", text(&before[0], "id")), &json!({}));
    let ids = all(&before, "id");
    let came = wait_for("another node in stock", FAR, || {
        let ready = world.in_state("ready");
        let came = ready.iter().find(|node| !ids.contains(&text(node, "id"))).cloned();
        came.filter(|_| ready.len() == 3 && world.in_state("deleting").is_empty())
    });
    let handed_over = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    assert_eq!(handed_over["response"], "PASS", "{handed_over}");
    let handed_over =
        world.cloud().iter().find(|node| node["name"] == handed_over["name"]).map(|node| text(node, "id"));
    let younger = BTreeSet::from([text(&came, "node"), handed_over.unwrap()]);
    daemon.stop();

    restore(&world, &backup);
    let world = world.changed("orphan_age_seconds = 600", "orphan_age_seconds = 0.5");
    let daemon = world.start();
    let kept = all(&before[1..], "id");
    let is_right = || {
        let (ready, nodes) = (world.in_state("ready"), world.nodes());
        assert!(kept.is_subset(&all(&ready, "id")), "{ready:?} lacks some of {kept:?}");
        let is_stocked = ready.len() == 3 && nodes.len() == 3 && all(&world.devices(), "name") == all(&ready, "name");
        let is_cleaned = all(&world.cloud(), "id") == &all(&ready, "node") | &younger;
        (is_stocked && is_cleaned && orphans(&world) == younger).then_some(())
    };
    wait_for("the stock of the backup, the orphan's end and the younger nodes to be told of", FAR, || {
        assert!(younger.is_subset(&all(&world.cloud(), "id")), "a node that is younger than the backup was deleted");
        is_right()
    });
    for node in &before[1..] {
        let row = world.get(&format!("/pool/v1/nodes/{}", text(node, "id")));
        assert_eq!(row["node"]["node"], node["node"], "what the cloud has was kept");
    }
    let gone = world.get(&format!("/pool/v1/nodes/{}", text(&before[0], "id")));
    assert_eq!(gone["node"]["state"], "deleted", "{gone}");
    assert!(!all(&world.cloud(), "id").contains(&old_orphan));
    world.rounds(5, &["reconcile", "check_nodes"]);
    assert!(is_right().is_some(), "it does not stay so: {:?}, orphans {:?}", world.nodes(), orphans(&world));
    let status = world.site.expect(0, &["pool", "status"]);
    for node in &younger {
        let told = format!("orphan: {node} in default carries this deployment's tags: no row knows it");
        assert!(status.out.contains(&told), "{told} is not in {status:?}");
        let told = |line: &Value| {
            line["id"] == node.as_str()
                && line["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("between the restored backup and its restore"))
        };
        assert!(world.site.log_lines().iter().any(|line| told(line) || told(&line["fields"])), "{node} is not told of");
    }
    // Whoever ran the schedules when the backup was taken ended well since.
    assert!(!world.site.log().contains("ended without warning"));
    // What nobody accounts for later on is no child of that time.
    let later = plant_orphan(&world);
    wait_for("an orphan of later to be deleted", FAR, || (!all(&world.cloud(), "id").contains(&later)).then_some(()));
    assert!(younger.is_subset(&all(&world.cloud(), "id")), "what may be in use was deleted with it");
    daemon.stop();
    world.checked();
}

#[test]
fn a_restored_pool_deletes_nothing_younger_than_its_backup_on_sqlite() {
    a_restored_pool_deletes_nothing_younger_than_its_backup(Backend::Sqlite);
}

#[test]
fn a_restored_pool_deletes_nothing_younger_than_its_backup_on_postgres() {
    a_restored_pool_deletes_nothing_younger_than_its_backup(Backend::Postgres);
}

/// Takes a backup when one node is being built and another is to be built, lets both be finished, and brings the backup back.
fn restored_in_the_middle_of_builds() -> (World, BTreeSet<String>) {
    let world = World::new(Parts { pool: "nodes = 2\nbuilds_at_once = 1", cloud: "" });
    // As long as the cloud does not say how the first one does, it is being built.
    world.faults(&json!([{ "fault": "error", "methods": ["get_node"], "code": "unavailable" }]));
    let daemon = world.start();
    wait_for("one that is being built, and one that is to be", FAR, || {
        (world.in_state("building").len() == 1 && world.in_state("planned").len() == 1).then_some(())
    });
    let backup = backup_of(&world);
    world.faults(&json!([]));
    world.stocked(2);
    daemon.stop();
    restore(&world, &backup);
    let nodes = all(&world.cloud(), "id");
    (world, nodes)
}

#[test]
fn a_build_that_ended_after_the_backup_is_found_in_the_cloud_and_goes_on() {
    let (world, nodes) = restored_in_the_middle_of_builds();
    let daemon = world.start();
    let ready = wait_for("two nodes in stock", FAR, || Some(world.in_state("ready")).filter(|ready| ready.len() == 2));
    assert!(all(&ready, "node").intersection(&nodes).next().is_some(), "the one that was being built is kept");
    assert!(nodes.is_subset(&all(&world.cloud(), "id")));
    daemon.stop();
}

#[test]
fn a_build_that_began_after_the_backup_is_not_built_again_beside_the_node_that_the_cloud_has() {
    let (world, _) = restored_in_the_middle_of_builds();
    let daemon = world.start();
    world.settled(2);
    assert_eq!(world.calls("create_node").len(), 2);
    daemon.stop();
}
