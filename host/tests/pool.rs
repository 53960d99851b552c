//! The pool manager over the dummy cloud, in this process: how a node is built, and what becomes of it when things go wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use capstan::{
    config,
    drivers::{DriverEntry, Kind, Registry, Settings},
    pool::{
        Api, Cloud, Pool, Server,
        records::{MIGRATIONS, Node, State},
    },
    store::{
        self, Store,
        jobs::{self, Filter},
        runner::Runner,
    },
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

/// A pool with its parts.
struct World {
    folder: tempfile::TempDir,
    registry: Registry,
    store: Store,
    pool: Pool,
    end: watch::Sender<bool>,
    runner: JoinHandle<()>,
}

fn library(name: &str) -> PathBuf {
    let build = Path::new(env!("CARGO_BIN_EXE_capstan")).parent().unwrap();
    build.join(format!("libcapstan_{name}.so"))
}

fn folder() -> tempfile::TempDir {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(base).unwrap();
    tempfile::Builder::new().prefix("pool-").tempdir_in(base).unwrap()
}

/// The `[pool]` section of this text, with quick times.
fn settings(folder: &Path, text: &str) -> config::Pool {
    let path = folder.join("capstan.toml");
    let quick = "diagnostics = false\npoll_interval_seconds = 0.02\nsearch_seconds = 0.4\nbuild_timeout_seconds = 2\n\
                 calls_per_second = 10000\nimage = \"debian-12\"\nsize = \"small\"\n";
    fs::write(&path, format!("[pool]\n{quick}{text}")).unwrap();
    config::load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}")).config.pool
}

impl World {
    async fn new(pool: &str, mut cloud: Value, mgm: Value) -> Self {
        let folder = folder();
        let mut drivers = Settings::new(folder.path().join("state"), folder.path());
        drivers.trust_own_files = true;
        drivers.probe_executable = env!("CARGO_BIN_EXE_capstan").into();
        cloud["file"] = json!(folder.path().join("cloud"));
        cloud["call_log"] = json!(folder.path().join("calls"));
        let mut entry = DriverEntry::new(Kind::Cloud, "dummy@default", library("cloud_dummy"));
        entry.config = json!({ "extra_params": cloud });
        drivers.drivers.push(entry);
        let mut entry = DriverEntry::new(Kind::Mgm, "dummy", library("mgm_dummy"));
        entry.config = mgm;
        drivers.drivers.push(entry);
        let registry = Registry::open(drivers).await.unwrap();
        let failures = registry.failures();
        assert!(failures.is_empty(), "{failures:?}");
        let store =
            Store::open(&store::Settings::sqlite(folder.path().join("capstan.db")), &migrations()).await.unwrap();
        let settings = settings(folder.path(), pool);
        let cloud = registry.handle(Kind::Cloud, "dummy@default").unwrap();
        let cloud = Cloud::new("default", cloud, settings.calls_per_second);
        let api = Api::new(registry.handle(Kind::Mgm, "dummy").unwrap());
        let pool = Pool::new(store.clone(), api, [cloud], settings, None, BTreeMap::new(), None);
        let (end, ending) = watch::channel(false);
        let runner = pool.handlers(Runner::new(store.clone()));
        let runner = tokio::spawn(runner.run(ending, Duration::from_secs(1)));
        Self { folder, registry, store, pool, end, runner }
    }

    /// Waits until the pool's nodes are as wanted.
    async fn until(&self, what: &str, is_so: impl Fn(&[Node]) -> bool) -> Vec<Node> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut nodes = self.pool.nodes(None, None, "", 1000).await.unwrap();
            let deleted = self.pool.nodes(Some(State::Deleted), None, "", 1000).await.unwrap();
            // One may have been deleted between the two looks.
            nodes.retain(|node| deleted.iter().all(|deleted| deleted.id != node.id));
            nodes.extend(deleted);
            if is_so(&nodes) {
                return nodes;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}: {nodes:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until no job is left that could go on.
    async fn idle(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let jobs = || self.store.read(|tx| jobs::list(tx, &Filter::default(), 1000));
        while jobs().await.unwrap().iter().any(|job| !job.state.is_final()) {
            assert!(tokio::time::Instant::now() < deadline, "jobs do not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often a method of the cloud was called.
    fn calls(&self, method: &str) -> usize {
        let log = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        log.lines().filter(|line| line.contains(&format!("\"method\":\"{method}\""))).count()
    }

    async fn end(self) {
        self.end.send_replace(true);
        self.runner.await.unwrap();
        self.registry.close(Duration::from_secs(2)).await;
        self.store.close().await;
    }
}

fn migrations() -> Vec<store::Migration> {
    [capstan::identity::MIGRATIONS, MIGRATIONS].concat()
}

fn count(nodes: &[Node], state: State) -> usize {
    nodes.iter().filter(|node| node.state == state).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_p20_nodes_are_built_named_and_registered() {
    let world =
        World::new("nodes = 3\nnode_basename = \"a_b\"", json!({ "build_time": { "ms": 50 } }), json!({ "free": 0 }))
            .await;
    Server::new(world.pool.clone(), Duration::from_secs(30)).check_nodes().await.unwrap();
    let nodes = world.until("three nodes in stock", |nodes| count(nodes, State::Ready) == 3).await;
    for node in &nodes {
        // P20: no underscore in a host's name.
        assert!(node.name.starts_with("a-b-") && node.name.ends_with(&node.id), "{}", node.name);
        assert!(node.address.is_some() && node.node.is_some() && node.host.is_some(), "{node:?}");
    }
    assert_eq!(world.calls("create_node"), 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_p23_with_as_many_free_as_wanted_nothing_is_built() {
    let world = World::new("nodes = 5", json!({}), json!({})).await;
    Server::new(world.pool.clone(), Duration::from_secs(30)).check_nodes().await.unwrap();
    let status = world.pool.status().await.unwrap();
    assert_eq!(status.stocks[0].record.free, Some(5));
    assert_eq!(world.calls("create_node"), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q08_a_lost_reply_makes_no_second_node_even_when_the_list_lags() {
    let faults = json!([
        { "fault": "reply_lost", "calls": [1] },
        { "fault": "eventually_consistent", "methods": ["create_node"], "calls": [1], "delay_ms": 150 },
    ]);
    let world =
        World::new("nodes = 1", json!({ "client_tokens": false, "faults": faults }), json!({ "free": 0 })).await;
    Server::new(world.pool.clone(), Duration::from_secs(30)).check_nodes().await.unwrap();
    world.until("a node in stock", |nodes| count(nodes, State::Ready) == 1).await;
    assert_eq!(world.calls("create_node"), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_bug04_a_node_in_error_is_deleted_at_once() {
    let faults = json!([{ "fault": "node_error", "calls": [1], "message": "no valid host" }]);
    let world = World::new("nodes = 1", json!({ "faults": faults }), json!({ "free": 0 })).await;
    Server::new(world.pool.clone(), Duration::from_secs(30)).check_nodes().await.unwrap();
    let nodes = world.until("a deleted node", |nodes| count(nodes, State::Deleted) == 1).await;
    assert!(nodes[0].reason.contains("Error spawning node") && nodes[0].reason.contains("no valid host"), "{nodes:?}");
    assert_eq!(world.calls("destroy_node"), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_node_that_the_api_server_refuses_is_tested_again() {
    let refused = json!({ "free": 0, "faults": { "add_node": { "answer": "refused", "times": 1 } } });
    let world = World::new("nodes = 1", json!({}), refused).await;
    let server = Server::new(world.pool.clone(), Duration::from_secs(30));
    server.check_nodes().await.unwrap();
    world.until("a failed node", |nodes| count(nodes, State::Failed) == 1).await;
    world.idle().await;
    server.failed_nodes().await.unwrap();
    world.until("the node in stock", |nodes| count(nodes, State::Ready) == 1).await;
    assert_eq!(world.calls("create_node"), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_node_that_is_being_built_is_looked_at_until_it_runs() {
    let world = World::new("nodes = 1", json!({ "build_time": { "ms": 300 } }), json!({ "free": 0 })).await;
    Server::new(world.pool.clone(), Duration::from_secs(30)).check_nodes().await.unwrap();
    world.until("a node in stock", |nodes| count(nodes, State::Ready) == 1).await;
    assert!(world.calls("get_node") >= 3, "{}", world.calls("get_node"));
    assert_eq!(world.calls("create_node"), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_without_the_count_nothing_is_built_and_the_next_check_looks_again() {
    let faults = json!({ "get_free_count": { "answer": "unavailable", "times": 1 } });
    let world = World::new("nodes = 1", json!({}), json!({ "free": 0, "faults": faults })).await;
    let server = Server::new(world.pool.clone(), Duration::from_secs(30));
    server.check_nodes().await.unwrap();
    let stock = world.pool.status().await.unwrap().stocks.remove(0);
    assert!(stock.why.contains("does not tell how many devices are free"), "{}", stock.why);
    assert_eq!(world.calls("create_node"), 0);
    server.check_nodes().await.unwrap();
    world.until("a node in stock", |nodes| count(nodes, State::Ready) == 1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bug43_an_api_server_that_is_away_is_told_and_nothing_is_built() {
    let world = World::new("nodes = 1", json!({}), json!({ "free": 0, "online": false })).await;
    Server::new(world.pool.clone(), Duration::from_secs(30)).check_nodes().await.unwrap();
    let stock = world.pool.status().await.unwrap().stocks.remove(0);
    assert!(stock.why.contains("no API server is online"), "{}", stock.why);
    assert_eq!(world.calls("create_node"), 0);
    world.end().await;
}

// libra aborted the batch; here builds go on beside each other, and a failed one costs itself.
#[tokio::test(flavor = "multi_thread")]
async fn p13_one_build_of_seven_that_fails_costs_itself() {
    let faults = json!([{ "fault": "node_error", "calls": [2] }]);
    let world = World::new("nodes = 7", json!({ "faults": faults }), json!({ "free": 0 })).await;
    Server::new(world.pool.clone(), Duration::from_secs(30)).check_nodes().await.unwrap();
    let nodes = world.until("six nodes in stock and one deleted", |nodes| {
        (count(nodes, State::Ready), count(nodes, State::Deleted)) == (6, 1)
    });
    assert_eq!(nodes.await.len(), 7);
    assert_eq!(world.calls("create_node"), 7);
    world.end().await;
}
