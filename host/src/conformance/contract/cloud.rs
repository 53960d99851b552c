//! A cloud: what is created is there, once; what is destroyed is gone.

use std::time::{Duration, Instant};

use capstan_plugin_api::{
    DriverError, ErrorCode,
    cloud::{Image, Node, Page, Size},
};
use serde_json::{Value, json};

use super::{Bench, Report, is, typed};

/// A real cloud takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn check(bench: &Bench, report: &mut Report<'_>) {
    report.judge("lists", lists(bench).await);
    let node = match create(bench).await {
        Ok(node) => node,
        Err(error) => return report.fail("create", format!("create_node: {}: {error}", error.code)),
    };
    report.judge("create", created(bench, &node).await);
    report.judge("create-once", once(bench, &node).await);
    report.judge("destroy", destroyed(bench, &node).await);
    report.judge("not-found", not_found(bench).await);
}

async fn lists(bench: &Bench) -> Result<String, String> {
    let images: Page<Image> = typed(bench, "list_images", &json!({})).await?;
    let sizes: Page<Size> = typed(bench, "list_sizes", &json!({})).await?;
    if images.items.is_empty() || sizes.items.is_empty() {
        return Err("without an image and a size no node can be created".to_owned());
    }
    Ok(format!("{} images, {} sizes", images.items.len(), sizes.items.len()))
}

fn request(image: &Value, size: &Value) -> Value {
    json!({ "name": "capstan-conformance", "image": image, "size": size, "client_token": "capstan-conformance-1" })
}

async fn wanted(bench: &Bench) -> Result<Value, DriverError> {
    let images = bench.call("list_images", &json!({})).await?;
    let sizes = bench.call("list_sizes", &json!({})).await?;
    Ok(request(&images["items"][0]["id"], &sizes["items"][0]["id"]))
}

/// Creates a node of the first image and size.
pub(super) async fn create(bench: &Bench) -> Result<Node, DriverError> {
    let answer = bench.call_within("create_node", &wanted(bench).await?, PATIENCE).await?;
    serde_json::from_value(answer.clone())
        .map_err(|error| DriverError::internal(format!("create_node answered {answer}, which is no node: {error}")))
}

async fn listed(bench: &Bench) -> Result<Vec<Node>, String> {
    let mut nodes = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page: Page<Node> = typed(bench, "list_nodes", &json!({ "cursor": cursor })).await?;
        nodes.extend(page.items);
        match page.next {
            Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
            Some(_) => return Err("list_nodes gives the same cursor again, so a list has no end".to_owned()),
            None => return Ok(nodes),
        }
    }
}

async fn created(bench: &Bench, node: &Node) -> Result<String, String> {
    if node.id.is_empty() {
        return Err("create_node answered a node without an id".to_owned());
    }
    if !listed(bench).await?.iter().any(|listed| listed.id == node.id) {
        return Err(format!("the node {} was created but is not listed", node.id));
    }
    if bench.manifest().has("get_node") {
        let same: Node = typed(bench, "get_node", &json!({ "id": node.id })).await?;
        if same.id != node.id {
            return Err(format!("get_node of {} answered {}", node.id, same.id));
        }
    }
    Ok(format!("{} is listed, state {}", node.id, node.state))
}

async fn once(bench: &Bench, node: &Node) -> Result<String, String> {
    let again = create(bench)
        .await
        .map_err(|error| format!("create_node with the same client_token: {}: {error}", error.code))?;
    if again.id != node.id {
        let _best_effort = bench.call("destroy_node", &json!({ "id": again.id })).await;
        return Err(format!("the same client_token made a second node, {} beside {}", again.id, node.id));
    }
    Ok("the same client_token gives the same node".to_owned())
}

async fn destroyed(bench: &Bench, node: &Node) -> Result<String, String> {
    let destroy = async || bench.call_within("destroy_node", &json!({ "id": node.id }), PATIENCE).await;
    is(&destroy().await, &[]).map_err(|said| format!("destroy_node: {said}"))?;
    let until = Instant::now() + PATIENCE;
    while listed(bench).await?.iter().any(|listed| listed.id == node.id && listed.state != "terminated") {
        if Instant::now() > until {
            return Err(format!("{} is still listed {} s after it was destroyed", node.id, PATIENCE.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    match destroy().await {
        Ok(_) => Ok("gone; destroying it again is a success".to_owned()),
        Err(error) if error.code == ErrorCode::NOT_FOUND => Ok("gone; destroying it again is not_found".to_owned()),
        Err(error) => Err(format!("destroying it again must be a success or not_found, not {}: {error}", error.code)),
    }
}

async fn not_found(bench: &Bench) -> Result<String, String> {
    let id = json!({ "id": "capstan-conformance-no-such-node" });
    for method in ["get_node", "reboot_node", "start_node", "stop_node", "console_output"] {
        if bench.manifest().has(method) {
            // A cloud may refuse the form of the id before it looks for it.
            is(&bench.call(method, &id).await, &[ErrorCode::NOT_FOUND, ErrorCode::INVALID_ARGUMENT])
                .map_err(|said| format!("{method} of a node that is not there must be not_found, not {said}"))?;
        }
    }
    Ok("a node that is not there is not_found".to_owned())
}
