//! An API server with many devices, of which most are others'.

use std::fs;

use capstan_tests::http::Request;
use rustix::process::Signal;
use serde_json::json;

use crate::world::{Parts, World};

/// More than one page of the pool's, with those that are removed.
const OTHERS: usize = 1100;
const REMOVED: usize = 100;

#[test]
fn spare_nodes_on_a_later_page_with_gaps_before_it_are_known_to_be_registered() {
    let pool = "[pool.stocks.first]\nnodes = 0\n[pool.stocks.second]\nnodes = 0";
    let world = World::new(Parts { pool, cloud: "" });
    let daemon = world.start();
    let token = fs::read_to_string(world.site.path().join("run/device.token")).unwrap();
    let ask = |method: &str, path: &str| Request::new(method, path).token(token.trim());
    let mut ids = Vec::new();
    for number in 0..OTHERS {
        let device = json!({
            "name": format!("other-{number}"), "publicIpAddr": "192.0.2.1", "floatingIpAddr": "192.0.2.1", "az": 1, "type": "other",
        });
        let added = ask("POST", "/v1/devices").json(&device).send(world.site.http_port);
        assert_eq!(added.status, 200, "{added:?}");
        ids.push(added.json()["id"].to_string());
    }
    for id in &ids[..REMOVED] {
        let removed = ask("DELETE", &format!("/v1/devices/{}", id.trim_matches('"'))).send(world.site.http_port);
        assert_eq!(removed.status, 200, "{removed:?}");
    }

    let text = fs::read_to_string(world.site.config()).unwrap();
    fs::write(world.site.config(), text.replacen("nodes = 0", "nodes = 2", 1)).unwrap();
    daemon.signal(Signal::HUP);
    let nodes = world.stocked(2);
    world.rounds(5, &["check_nodes"]);
    for node in nodes {
        let id = node["id"].as_str().unwrap();
        let now = world.get(&format!("/pool/v1/nodes/{id}"));
        assert_eq!((&now["node"]["state"], &now["node"]["device"]), (&json!("ready"), &node["device"]), "{now}");
        let log = world.site.log();
        assert!(!log.contains("registered_again") && !log.contains("does not know"), "{log}");
    }
    daemon.stop();
}
