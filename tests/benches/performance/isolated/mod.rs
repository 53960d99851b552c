//! Drivers in processes of their own, beside go-plugin's plugins: calls, start, memory, and twenty of them.

mod calls;
mod start;
mod twenty;

use capstan::drivers::{CallOptions, DriverEntry, DriverHandle, Isolation, Kind};
use capstan_plugin_api::cloud::{CreateNode, Node};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::hosted;

pub use calls::run as calls;
pub use start::run as start;
pub use twenty::run as twenty;

/// The driver `dummy` in this mode.
pub fn dummy(isolation: Isolation) -> DriverEntry {
    DriverEntry { isolation, ..hosted::entry(Kind::Cloud, "dummy", json!({})) }
}

/// `create_node` with a token that was used answers the node that it made: its tags come back, the driver does next to nothing.
pub fn request(size: usize) -> CreateNode {
    let tags = [("x".to_owned(), "v".repeat(size))].into();
    CreateNode {
        name: "bench".into(),
        image: "image-1".into(),
        size: "size-1".into(),
        client_token: format!("bench-{size}"),
        tags,
        ..CreateNode::default()
    }
}

/// Makes that call.
pub async fn call(handle: &DriverHandle, request: &CreateNode) -> Node {
    handle.call("create_node", request, CallOptions::default()).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A runtime as the daemon has it.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("a runtime")
}
