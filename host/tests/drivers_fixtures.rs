//! Drivers built when epoch 1 froze: this host, and every later one, loads them and gets their answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod drivers_support;

use std::{fs, path::Path};

use capstan::drivers::{CallOptions, DriverEntry, DriverHandle, Kind, Registry};
use drivers_support::{folder, settings};
use serde_json::{Value, json};

/// A clone may be writable by a group, a fixture may not; so the driver is loaded from a copy.
async fn fixture(folder: &Path, kind: Kind, file: &str, config: Value) -> DriverHandle {
    let copy = folder.join(file);
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/epoch-1").join(file), &copy).unwrap();
    let mut settings = settings(folder);
    let mut entry = DriverEntry::new(kind, "fixture", copy);
    entry.config = config;
    settings.drivers.push(entry);
    let registry = Registry::open(settings).await.unwrap();
    assert_eq!(registry.failures(), []);
    registry.handle(kind, "fixture").unwrap()
}

async fn call(driver: &DriverHandle, method: &str, params: Value) -> Value {
    driver.call(method, &params, CallOptions::default()).await.unwrap_or_else(|error| panic!("{method}: {error}"))
}

#[tokio::test]
async fn a_cloud_of_epoch_1_builds_and_removes_nodes() {
    let folder = folder();
    let cloud = fixture(folder.path(), Kind::Cloud, "libcapstan_cloud_dummy.so", json!({})).await;
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

#[tokio::test]
async fn an_api_server_of_epoch_1_takes_devices() {
    let folder = folder();
    let config = json!({ "url": "http://127.0.0.1:1" });
    let mgm = fixture(folder.path(), Kind::Mgm, "libcapstan_mgm_minimal.so", config).await;
    assert_eq!(call(&mgm, "get_url", Value::Null).await, "http://127.0.0.1:1");
    // A field of a later host is ignored.
    let device = json!({ "name": "n", "address": "127.0.0.1", "field_of_2040": [1] });
    assert_eq!(call(&mgm, "add_node", device).await["accepted"], true);
    assert_eq!(call(&mgm, "get_free_count", Value::Null).await, 1);
}

#[tokio::test]
async fn a_database_of_epoch_1_keeps_its_state_with_the_host() {
    let folder = folder();
    let database = fixture(folder.path(), Kind::Database, "libcapstan_database_minimal.so", json!({})).await;
    call(&database, "initialise", json!({ "server": "a", "server_id": 1 })).await;
    assert_eq!(call(&database, "start", json!({ "server": "a" })).await["state"], "running");
    assert_eq!(call(&database, "status", json!({ "server": "a" })).await["state"], "running");
}

#[tokio::test]
async fn load_balancers_of_epoch_1_take_a_device() {
    for file in ["libcapstan_load_balancer_noop.so", "libcapstan_load_balancer_c.so"] {
        let folder = folder();
        let balancer = fixture(folder.path(), Kind::LoadBalancer, file, json!({})).await;
        let request = |generation| {
            json!({ "device": "node-1", "generation": generation, "idempotency_key": "k", "load_balancers": [{
                "id": "http",
                "listeners": [{ "id": "http", "protocol": "HTTP", "port": 80 }],
                "pools": [{ "id": "http", "algorithm": "ROUND_ROBIN",
                    "members": [{ "id": "1", "address": "127.0.0.1", "port": 8080 }] }],
            }] })
        };
        assert_eq!(call(&balancer, "apply", request(7)).await["load_balancers"][0]["id"], "http", "{file}");
        let observed = call(&balancer, "observe", json!({ "device": "node-1" })).await;
        assert_eq!((&observed["generation"], &observed["load_balancers"][0]["state"]), (&json!(7), &json!("running")));
        let older = balancer.call::<_, Value>("apply", &request(6), CallOptions::default()).await;
        assert_eq!(older.unwrap_err().code.as_str(), "conflict", "{file}");
        call(&balancer, "delete", json!({ "device": "node-1", "generation": 8 })).await;
    }
}
