//! Two daemons on one PostgreSQL: they share the work, and either may end at any moment.

use std::time::Duration;

use capstan_tests::random::Random;
use rustix::process::Signal;
use serde_json::json;

use crate::world::{Backend, FAR, Parts, World};

/// Each daemon has a device API of its own on the same tables, so either may be asked.
const PARTS: Parts<'_> = Parts { pool: "nodes = 3", cloud: "build_time = { ms = 50 }" };

#[test]
fn two_daemons_keep_one_stock_and_go_on_with_what_the_other_began() {
    let first = World::on(Backend::Postgres, PARTS);
    let second = first.second(PARTS);
    let one = first.start();
    let two = second.start();
    first.settled(3);
    assert_eq!(first.calls("create_node").len(), 3, "two daemons built for one stock");
    // Each sees what the other does.
    let taken = first.post("/pool/v1/stocks/default/take", &json!({ "owner": "a" })).json();
    let again = second.post("/pool/v1/stocks/default/take", &json!({ "owner": "a" })).json();
    assert_eq!(taken["node"]["id"], again["node"]["id"]);
    one.kill();
    let id = second.nodes()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(second.post(&format!("/pool/v1/nodes/{id}/retire"), &json!({})).status, 200);
    second.settled(3);
    two.stop();
}

#[test]
fn daemons_killed_at_random_moments_leak_and_double_nothing() {
    let is_long = std::env::var_os("CAPSTAN_LONG").is_some_and(|value| value != "0");
    let mut random = Random::seeded(1);
    let first = World::on(Backend::Postgres, PARTS);
    let second = first.second(PARTS);
    let sites = [&first.site, &second.site];
    let mut running = [None, None];
    let rounds = if is_long { 150 } else { 10 };
    for round in 0..rounds {
        let which = usize::try_from(random.below(2)).unwrap();
        if let Some(mut daemon) = running[which].take() {
            let daemon: &mut capstan_tests::process::Process = &mut daemon;
            daemon.signal(Signal::KILL);
            daemon.wait(FAR);
        }
        running[which] = Some(sites[which].spawn(&[]));
        std::thread::sleep(Duration::from_millis(100 + random.below(900)));
        // Something to do: a node is given back, past whichever daemon answers.
        if round % 3 == 0 {
            for world in [&first, &second] {
                let nodes = capstan_tests::http::get(world.site.http_port, "/pool/v1/nodes?state=ready", "");
                let id = nodes.ok().and_then(|nodes| nodes.json()["nodes"][0]["id"].as_str().map(str::to_owned));
                if let Some(id) = id {
                    let _dies_perhaps = capstan_tests::http::send(
                        world.site.http_port,
                        "POST",
                        &format!("/pool/v1/nodes/{id}/retire"),
                        &json!({}),
                    );
                    break;
                }
            }
        }
    }
    for mut daemon in running.into_iter().flatten() {
        daemon.signal(Signal::KILL);
        daemon.wait(FAR);
    }
    println!("two daemons on one PostgreSQL: {rounds} kills");
    let daemon = first.start();
    first.settled(3);
    daemon.stop();
    first.checked();
}
