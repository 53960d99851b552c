//! Drivers built when epoch 1 froze: this host, and every later one, loads them and gets their answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod drivers_support;

use std::{fs, path::Path};

use capstan::drivers::{CallOptions, DriverEntry, DriverHandle, Isolation, Kind, Registry};
use drivers_support::{ISOLATIONS, folder, settings};
use serde_json::{Value, json};

/// Recorded once, never built again: what stands there is what runs somewhere.
const RECORDED: [(&str, &str); 5] = [
    ("libcapstan_cloud_dummy.so", "c86be8be7de732d5321f2b57a3a55ea372e07e78a78e06a60ce35356e4227e21"),
    ("libcapstan_database_minimal.so", "dbf434637a4f8785d2728cdbbf93f4df1d3ccc9462db7d3f928bc5931554ecfe"),
    ("libcapstan_load_balancer_c.so", "f6daebe7f489847fee88580315c9073b74015a7eb0b8882d4532b4ab7f83f14b"),
    ("libcapstan_load_balancer_noop.so", "9f8519926bed64a4cc92a0e10ff31b014adcd1aa7e728abd16bcf8a0b29875eb"),
    ("libcapstan_mgm_minimal.so", "05074245bb3d01ba9c48c80b0d7050a83fa8a3da2be3b139868f0d88cd085fec"),
];

/// A clone may be writable by a group, a fixture may not; so the driver is loaded from a copy.
async fn fixture(folder: &Path, isolation: Isolation, kind: Kind, file: &str, config: Value) -> DriverHandle {
    let copy = folder.join(file);
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/epoch-1").join(file), &copy).unwrap();
    let mut settings = settings(folder);
    let mut entry = DriverEntry::new(kind, "fixture", copy);
    entry.sha256 = RECORDED.iter().find(|(name, _)| *name == file).map(|(_, hash)| (*hash).to_owned());
    entry.isolation = isolation;
    entry.config = config;
    settings.drivers.push(entry);
    let registry = Registry::open(settings).await.unwrap();
    assert_eq!(registry.failures(), []);
    registry.handle(kind, "fixture").unwrap()
}

async fn call(driver: &DriverHandle, method: &str, params: Value) -> Value {
    driver.call(method, &params, CallOptions::default()).await.unwrap_or_else(|error| panic!("{method}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_of_epoch_1_builds_and_removes_nodes() {
    for isolation in ISOLATIONS {
        let folder = folder();
        let cloud = fixture(folder.path(), isolation, Kind::Cloud, "libcapstan_cloud_dummy.so", json!({})).await;
        let image = call(&cloud, "list_images", json!({})).await["items"][0]["id"].clone();
        let size = call(&cloud, "list_sizes", json!({})).await["items"][0]["id"].clone();
        let node = call(&cloud, "create_node", json!({ "name": "n", "image": image, "size": size })).await;
        assert_eq!(call(&cloud, "list_nodes", json!({})).await["items"][0]["name"], "n");
        call(&cloud, "destroy_node", json!({ "id": node["id"] })).await;
        let gone = cloud.call::<_, Value>("get_node", &json!({ "id": "no-such" }), CallOptions::default()).await;
        assert_eq!(gone.unwrap_err().code.as_str(), "not_found");
        let later = cloud.call::<_, Value>("a_method_of_2040", &json!({}), CallOptions::default()).await;
        assert_eq!(later.unwrap_err().code.as_str(), "not_supported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_of_epoch_1_takes_devices() {
    for isolation in ISOLATIONS {
        let folder = folder();
        let config = json!({ "url": "http://127.0.0.1:1" });
        let mgm = fixture(folder.path(), isolation, Kind::Mgm, "libcapstan_mgm_minimal.so", config).await;
        assert_eq!(call(&mgm, "get_url", Value::Null).await, "http://127.0.0.1:1");
        // A field of a later host is ignored.
        let device = json!({ "name": "n", "address": "127.0.0.1", "field_of_2040": [1] });
        assert_eq!(call(&mgm, "add_node", device).await["accepted"], true);
        assert_eq!(call(&mgm, "get_free_count", Value::Null).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_epoch_1_keeps_its_state_with_the_host() {
    for isolation in ISOLATIONS {
        let folder = folder();
        let database =
            fixture(folder.path(), isolation, Kind::Database, "libcapstan_database_minimal.so", json!({})).await;
        call(&database, "initialise", json!({ "server": "a", "server_id": 1 })).await;
        assert_eq!(call(&database, "start", json!({ "server": "a" })).await["state"], "running");
        assert_eq!(call(&database, "status", json!({ "server": "a" })).await["state"], "running");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_of_epoch_1_take_a_device() {
    let files = ["libcapstan_load_balancer_noop.so", "libcapstan_load_balancer_c.so"];
    for (file, isolation) in files.iter().flat_map(|file| ISOLATIONS.map(|isolation| (*file, isolation))) {
        let folder = folder();
        let balancer = fixture(folder.path(), isolation, Kind::LoadBalancer, file, json!({})).await;
        let request = |generation| {
            json!({ "device": "node-1", "generation": generation, "idempotency_key": "k", "load_balancers": [{
                "id": "http",
                "listeners": [{ "id": "http", "protocol": "HTTP", "port": 80 }],
                "pools": [{ "id": "http", "algorithm": "ROUND_ROBIN",
                    "members": [{ "id": "1", "address": "127.0.0.1", "port": 8080 }] }],
            }] })
        };
        assert_eq!(
            call(&balancer, "apply", request(7)).await["load_balancers"][0]["id"],
            "http",
            "{file} {isolation:?}"
        );
        let observed = call(&balancer, "observe", json!({ "device": "node-1" })).await;
        assert_eq!((&observed["generation"], &observed["load_balancers"][0]["state"]), (&json!(7), &json!("running")));
        let older = balancer.call::<_, Value>("apply", &request(6), CallOptions::default()).await;
        assert_eq!(older.unwrap_err().code.as_str(), "conflict", "{file} {isolation:?}");
        call(&balancer, "delete", json!({ "device": "node-1", "generation": 8 })).await;
    }
}
