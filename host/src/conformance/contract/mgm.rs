//! An API server: what it counts and takes.

use serde_json::{Value, json};

use super::{Bench, Report, typed};

pub(super) async fn check(bench: &Bench, report: &mut Report<'_>) {
    report.judge("reads", reads(bench).await);
    report.judge("add-node", added(bench).await);
}

async fn reads(bench: &Bench) -> Result<String, String> {
    let free: u64 = typed(bench, "get_free_count", &json!({})).await?;
    let online: bool = typed(bench, "is_online", &json!({})).await?;
    let url: String = typed(bench, "get_url", &json!({})).await?;
    if url.is_empty() {
        return Err("get_url answered an empty text".to_owned());
    }
    Ok(format!("{free} free, online: {online}, at {url}"))
}

async fn added(bench: &Bench) -> Result<String, String> {
    let node =
        json!({ "name": "capstan-conformance", "address": "127.0.0.1", "az": 1, "type": "basename: conformance" });
    let answer: Value = typed(bench, "add_node", &node).await?;
    if !answer["accepted"].is_boolean() {
        return Err(format!("add_node answered {answer}, where `accepted` says whether it was taken"));
    }
    if bench.manifest().has("list_nodes") {
        let listed: Value = typed(bench, "list_nodes", &json!({})).await?;
        let found = listed["devices"].as_array().into_iter().flatten().find(|device| device["name"] == node["name"]);
        if answer["accepted"] == true && found.is_none() {
            return Err("the node was accepted but is not listed".to_owned());
        }
        if let Some(device) = found.filter(|_| bench.manifest().has("delete_node")) {
            typed::<Value>(bench, "delete_node", &json!({ "id": device["id"] })).await?;
        }
    }
    Ok(format!("accepted: {}", answer["accepted"]))
}
