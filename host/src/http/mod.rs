//! The HTTP server: listeners, the error body, health, figures, and the routes about drivers. Each service brings its own.

mod drivers;
mod health;
mod problem;
mod request_id;
mod server;

pub use health::{Check, Readiness};
pub use problem::Problem;
pub use request_id::RequestId;
pub use server::{BindError, Listeners, Server};

use std::sync::Arc;

use axum::{Router, middleware, response::IntoResponse, routing::get};

use crate::drivers::Registry;

/// Renders the figures in Prometheus' text form.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the routes of the daemon itself need.
#[derive(Clone)]
pub struct Daemon {
    /// The drivers.
    pub registry: Registry,
    /// Whether the daemon can serve.
    pub readiness: Readiness,
    /// The figures.
    pub metrics: RenderMetrics,
}

/// The routes that belong to no single service.
pub fn router(daemon: Daemon) -> Router {
    let metrics = Arc::clone(&daemon.metrics);
    Router::new()
        .route("/", get(links))
        .route(
            "/metrics",
            get(async move || {
                ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], metrics()).into_response()
            }),
        )
        .merge(health::routes(daemon.readiness))
        .merge(drivers::routes(daemon.registry))
        .fallback(async |RequestId(id): RequestId| {
            Problem::not_found("there is no such path; / lists what is here", id)
        })
        .layer(middleware::from_fn(request_id::tag))
}

async fn links() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({
        "name": "capstan",
        "version": env!("CARGO_PKG_VERSION"),
        "links": { "live": "/livez", "ready": "/readyz", "metrics": "/metrics", "drivers": "/drivers/v1" },
    }))
}
