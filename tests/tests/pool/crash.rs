//! The crash matrix: the daemon is killed at each numbered place in the life of a node, with and without faults of the cloud, and started
//! again. Nothing is leaked, nothing is doubled, nothing is stuck, and what was acknowledged is there.

use std::{collections::BTreeMap, panic, sync::Mutex, thread, time::Duration};

use capstan::failpoint::POINTS;
use capstan_tests::{process::Process, random::Random, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{Backend, FAR, Parts, World, tail};

/// What is done to a pool, so that a place is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// The stock is filled.
    Fill,
    /// A node is taken and another one retired.
    TakeAndRetire,
    /// An answer is lost, and a node vanishes from the stock.
    GoWrong,
    /// Nodes take longer than they may, and are tested again.
    Slow,
    /// An orphan is found.
    Orphan,
    /// The cloud answers slowly, by tokens.
    Pending,
    /// Messages.
    Messages,
}

fn scene(point: &str) -> Scene {
    match point {
        "pool.create.pending" => Scene::Pending,
        "pool.retest.recorded" => Scene::Slow,
        "pool.create.found" | "pool.reconcile.lost_recorded" => Scene::GoWrong,
        "pool.reconcile.orphan_seen" | "pool.reconcile.orphan_adopted" => Scene::Orphan,
        point if point.starts_with("pool.take") || point.starts_with("pool.delete") => Scene::TakeAndRetire,
        point if point.starts_with("pool.message") || point.starts_with("pool.ip") => Scene::Messages,
        _ => Scene::Fill,
    }
}

/// Faults that lie over a run.
const FAULTS: &[(&str, &str)] = &[
    ("none", "[]"),
    ("reply lost", r#"[{ "fault": "reply_lost", "calls": [1] }]"#),
    ("late list", r#"[{ "fault": "eventually_consistent", "methods": ["create_node"], "delay_ms": 300 }]"#),
    ("rate limit", r#"[{ "fault": "rate_limited", "every": 5, "retry_after_ms": 50 }]"#),
    ("error", r#"[{ "fault": "node_error", "calls": [2] }]"#),
];

fn is_long() -> bool {
    std::env::var_os("CAPSTAN_LONG").is_some_and(|value| value != "0")
}

/// Waits for the death that was ordered, or for the time in which it should have come.
fn died(process: &mut Process, limit: Duration) -> bool {
    let end = std::time::Instant::now() + limit;
    loop {
        if process.child().try_wait().expect("the daemon can be waited for").is_some() {
            return true;
        }
        if std::time::Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// One cell of the matrix; tells whether the place was reached.
fn cell(backend: Backend, point: &str, nth: usize, faults: &str) -> bool {
    let scene = scene(point);
    let cloud = match scene {
        Scene::Pending => "pending = true\nbuild_time = { ms = 300 }",
        Scene::Slow => "build_time = { ms = 600 }",
        _ => "build_time = { ms = 20 }",
    };
    let pool = if scene == Scene::Slow { "nodes = 2\nbuild_timeout_seconds = 0.3" } else { "nodes = 2" };
    let world = World::on(backend, Parts { pool, cloud });
    let faults: Value = serde_json::from_str(faults).expect("the faults are JSON");
    world.faults(&faults);
    let prepared = !matches!(scene, Scene::Fill | Scene::Pending | Scene::Slow);
    if prepared {
        let daemon = world.start();
        world.stocked(2);
        daemon.kill();
    }
    if scene == Scene::Orphan {
        plant_orphan(&world);
    }
    let mut daemon = world.site.spawn(&[("CAPSTAN_FAILPOINT", &format!("{point}:{nth}"))]);
    let taken = act(&world, &mut daemon, scene);
    let reached = died(&mut daemon, Duration::from_secs(if prepared { 4 } else { 6 }));
    if !reached {
        daemon.signal(Signal::KILL);
        daemon.wait(FAR);
    }
    world.faults(&json!([]));
    let daemon = world.start();
    if scene == Scene::Messages && reached {
        // The submitter sends again what was not answered.
        act_messages(&world);
    }
    world.settled(2);
    if scene != Scene::GoWrong {
        let deleted = world.get("/pool/v1/nodes?state=deleted&limit=1000");
        assert!(
            !deleted.to_string().contains("vanished"),
            "a node is gone that nobody removed: {deleted}; {}",
            world.evidence()
        );
    }
    if let Some(id) = taken {
        let node = world.get(&format!("/pool/v1/nodes/{id}"));
        assert_eq!(node["node"]["state"], "taken", "a node that was handed out is not taken any more: {node}");
    }
    daemon.stop();
    world.checked();
    reached
}

/// A node with our tags that no row knows: created by the driver past the daemon.
fn plant_orphan(world: &World) {
    let known = world.cloud();
    let tags = known[0]["tags"].clone();
    let mut tags = tags.as_object().cloned().expect("tags");
    tags.insert("capstan-node".to_owned(), json!("0000"));
    let request = json!({ "name": "stray", "image": "image-1", "size": "size-1", "tags": tags });
    let config = json!({ "extra_params": { "file": world.path("cloud") } }).to_string();
    let library = capstan_tests::paths::build().join("libcapstan_cloud_dummy.so");
    world.site.expect(
        0,
        &[
            "driver",
            "call",
            library.to_str().unwrap(),
            "create_node",
            &request.to_string(),
            "--driver-config",
            &config,
            "--trust-own-files",
        ],
    );
}

/// Does what leads to the place; answers the id of a node that was handed out before the daemon died.
fn act(world: &World, daemon: &mut Process, scene: Scene) -> Option<String> {
    if matches!(scene, Scene::Fill | Scene::Pending | Scene::Slow | Scene::Orphan) {
        return None;
    }
    let port = world.site.http_port;
    let up = wait_for("the daemon to listen or to die", FAR, || {
        if daemon.child().try_wait().ok()?.is_some() {
            return Some(false);
        }
        capstan_tests::http::get(port, "/pool/v1/status", "").ok().map(|_| true)
    });
    if !up {
        return None;
    }
    match scene {
        Scene::TakeAndRetire => {
            let answer = capstan_tests::http::send(
                port,
                "POST",
                "/pool/v1/stocks/default/take",
                &json!({ "owner": "tenant-1" }),
            );
            let taken = answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.json());
            let taken = taken.and_then(|taken| taken["node"]["id"].as_str().map(str::to_owned));
            let nodes =
                capstan_tests::http::get(port, "/pool/v1/nodes?state=ready", "").ok().map(|answer| answer.json());
            if let Some(id) = nodes.and_then(|nodes| nodes["nodes"][0]["id"].as_str().map(str::to_owned)) {
                let _dies_perhaps =
                    capstan_tests::http::send(port, "POST", &format!("/pool/v1/nodes/{id}/retire"), &json!({}));
            }
            taken
        }
        Scene::GoWrong => {
            world.faults(&json!([
                { "fault": "reply_lost", "calls": [1] },
                { "fault": "vanish", "calls": [2], "delay_ms": 700 },
            ]));
            for _ in 0..2 {
                let nodes =
                    capstan_tests::http::get(port, "/pool/v1/nodes?state=ready", "").ok().map(|answer| answer.json());
                if let Some(id) = nodes.and_then(|nodes| nodes["nodes"][0]["id"].as_str().map(str::to_owned)) {
                    let _dies_perhaps =
                        capstan_tests::http::send(port, "POST", &format!("/pool/v1/nodes/{id}/retire"), &json!({}));
                }
            }
            None
        }
        Scene::Messages => {
            act_messages(world);
            None
        }
        _ => None,
    }
}

/// Every node operation once, each under a unique id that stays the same when it is sent again.
fn act_messages(world: &World) {
    let send = |unique: &str, message: &Value| {
        let payload = message.to_string();
        let reply =
            capstan_tests::gearman::submit_as(world.site.job_server_port, "libra_pool_mgm", unique, payload.as_bytes());
        reply.ok().and_then(|outcome| match outcome {
            capstan_tests::gearman::Outcome::Complete(reply) => serde_json::from_slice::<Value>(&reply).ok(),
            _ => None,
        })
    };
    let Some(device) = send("m-1", &json!({ "action": "BUILD_DEVICE" })) else { return };
    let Some(ip) = send("m-2", &json!({ "action": "BUILD_IP" })) else { return };
    let (name, address) = (device["name"].clone(), ip["ip"].clone());
    for (unique, action) in [("m-3", "ASSIGN_IP"), ("m-4", "REMOVE_IP"), ("m-5", "DELETE_IP"), ("m-6", "DELETE_DEVICE")]
    {
        if send(unique, &json!({ "action": action, "name": name, "ip": address })).is_none() {
            return;
        }
    }
}

/// One cell: where the state is, the place, how often it is reached before the kill, the faults that lie over the run.
type Cell = (Backend, &'static str, usize, &'static (&'static str, &'static str));

fn cells(random: &mut Random) -> (Vec<Cell>, usize) {
    let backends = [Backend::Sqlite, Backend::Postgres];
    let whole = backends.len() * POINTS.len() * 2 * FAULTS.len();
    let mut cells = Vec::new();
    let wanted = std::env::var("CAPSTAN_CELL").ok();
    if is_long() || wanted.is_some() {
        for backend in backends {
            for point in POINTS {
                for nth in [1, 2] {
                    cells.extend(FAULTS.iter().map(|faults| (backend, *point, nth, faults)));
                }
            }
        }
        // One cell again and again, by what was printed of it.
        if let Some(wanted) = wanted {
            cells.retain(|cell| told(cell) == wanted);
            cells = cells.repeat(50);
        }
        return (cells, whole);
    }
    // A part of the places, each with a fault and a turn that the seed chooses.
    for (number, point) in POINTS.iter().enumerate() {
        if random.below(3) != 0 {
            continue;
        }
        let faults = &FAULTS[usize::try_from(random.below(FAULTS.len() as u64)).unwrap()];
        cells.push((backends[number % 2], *point, if random.below(4) == 0 { 2 } else { 1 }, faults));
    }
    (cells, whole)
}

fn told((backend, point, nth, (name, _)): &Cell) -> String {
    format!("{backend:?} {point}:{nth} with {name}")
}

/// Cells that go on beside each other: each waits most of its time.
const LANES: usize = 4;

#[test]
fn a_kill_at_any_place_leaks_nothing_and_doubles_nothing() {
    let (cells, whole) = cells(&mut Random::seeded(1));
    let began = std::time::Instant::now();
    let total = cells.len();
    let left = Mutex::new(cells.into_iter());
    let (reached, failed) = (Mutex::new(BTreeMap::<&str, usize>::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(next) = next else { return };
                    let told = told(&next);
                    println!("{told}");
                    let (backend, point, nth, (_, faults)) = next;
                    match panic::catch_unwind(|| cell(backend, point, nth, faults)) {
                        Ok(true) => *reached.lock().unwrap().entry(point).or_default() += 1,
                        Ok(false) => {}
                        Err(_) => failed.lock().unwrap().push(told),
                    }
                }
            });
        }
    });
    let (reached, failed) = (reached.into_inner().unwrap(), failed.into_inner().unwrap());
    let kills: usize = reached.values().sum();
    println!(
        "crash matrix: {total} of {whole} cells, {kills} kills at {} of {} places, {:.0} s",
        reached.len(),
        POINTS.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "cells that failed, each told of above: {failed:#?}");
    let missed: Vec<_> = POINTS.iter().filter(|point| !reached.contains_key(*point)).collect();
    if is_long() {
        assert!(missed.is_empty(), "places that no cell reached: {missed:?}");
    }
}

#[test]
fn a_daemon_killed_at_random_moments_keeps_its_stock() {
    let mut random = Random::seeded(1);
    let world = World::new(Parts { pool: "nodes = 3", cloud: "build_time = { ms = 30 }" });
    let rounds = if is_long() { 100 } else { 8 };
    for round in 0..rounds {
        let mut daemon = world.site.spawn(&[]);
        thread::sleep(Duration::from_millis(50 + random.below(600)));
        assert!(
            daemon.child().try_wait().unwrap().is_none(),
            "round {round}: it ended; the log:\n{}",
            tail(&world.site)
        );
        daemon.signal(Signal::KILL);
        daemon.wait(FAR);
    }
    let daemon = world.start();
    world.settled(3);
    daemon.stop();
    world.checked();
}
