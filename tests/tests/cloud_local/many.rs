//! Many creates at once, by one host.

use std::{collections::HashSet, time::Duration};

use capstan::drivers::{CallOptions, DriverEntry, Isolation, Kind, Registry, Settings};
use capstan_tests::paths;
use serde_json::{Value, json};

use crate::support;

/// Together more than the driver's places and its queue.
const NODES: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_creates_at_once_get_as_many_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    support::image(&folder.path().join("images"), "plain", "exec tail -F @DIR@/x", "");
    let config: Value = {
        let mut config: toml::Table = toml::from_str(&support::settings(root, "", &[8080])).unwrap();
        config.insert("max_nodes".into(), i64::try_from(NODES).unwrap().into());
        serde_json::to_value(config).unwrap()
    };
    let mut settings = Settings::new(folder.path().join("state"), "/");
    settings.trust_own_files = true;
    settings.probe_executable = paths::capstan();
    let mut entry = DriverEntry::new(Kind::Cloud, "local", paths::driver("cloud_local"));
    entry.isolation = Isolation::Process;
    entry.config = config;
    settings.drivers.push(entry);
    let registry = Registry::open(settings).await.unwrap();
    assert!(registry.failures().is_empty(), "{:?}", registry.failures());
    let handle = registry.handle(Kind::Cloud, "local").unwrap();
    let call = |method: &'static str, params: Value| {
        let handle = handle.clone();
        tokio::spawn(async move {
            let options = CallOptions { deadline: Some(Duration::from_secs(120)), ..CallOptions::default() };
            handle.call::<_, Value>(method, &params, options).await
        })
    };
    let wanted = |number: usize| json!({ "name": format!("n-{number}"), "image": "plain", "size": "small", "client_token": number.to_string() });
    let calls: Vec<_> = (0..NODES).map(|number| call("create_node", wanted(number))).collect();
    let mut addresses = HashSet::new();
    let mut ids = Vec::new();
    for made in calls {
        let node = made.await.unwrap().unwrap();
        assert!(["pending", "running"].contains(&node["state"].as_str().unwrap()), "{node}");
        addresses.insert(node["private_ips"][0].to_string());
        ids.push(node["id"].clone());
    }
    assert_eq!((addresses.len(), ids.len()), (NODES, NODES));
    let one_more = call("create_node", wanted(NODES)).await.unwrap().unwrap_err();
    assert_eq!(one_more.code.as_str(), "quota_exceeded", "{one_more}");
    let quotas = call("quotas", json!({})).await.unwrap().unwrap();
    assert_eq!(quotas["quotas"][0], json!({ "name": "nodes", "used": NODES, "limit": NODES }));

    let page = call("list_nodes", json!({ "limit": 60 })).await.unwrap().unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 60);
    let rest = call("list_nodes", json!({ "cursor": page["next"] })).await.unwrap().unwrap();
    assert_eq!(rest["items"].as_array().unwrap().len(), NODES - 60);
    assert_eq!(rest.get("next"), None);

    let calls: Vec<_> = ids.into_iter().map(|id| call("destroy_node", json!({ "id": id }))).collect();
    for gone in calls {
        gone.await.unwrap().unwrap();
    }
    assert_eq!(capstan_tests::process::with_command_line(&format!("{root}/cloud/nodes/")), Vec::<u32>::new());
    registry.close(Duration::from_secs(5)).await;
}
