//! The HTTP server: listeners, the error body, health, figures, and the routes about drivers. Each service brings its own.

mod drivers;
mod health;
mod metrics;
mod problem;
mod request_id;
mod server;

pub use health::{Check, Readiness};
pub use metrics::Metrics;
pub use problem::Problem;
pub use request_id::RequestId;
pub use server::{BindError, Listeners, Server};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::{self, Next},
    response::Response,
    routing::get,
};

use crate::{
    drivers::Registry,
    telemetry::{Figures, names},
};

/// What the routes of the daemon itself need.
#[derive(Clone)]
pub struct Daemon {
    /// The drivers.
    pub registry: Registry,
    /// Whether the daemon can serve.
    pub readiness: Readiness,
    /// The figures.
    pub metrics: Metrics,
}

/// The routes that belong to no single service.
pub fn router(daemon: Daemon) -> Router {
    let figures = daemon.metrics.figures().clone();
    Router::new()
        .route("/", get(links))
        .merge(metrics::routes(daemon.metrics))
        .merge(health::routes(daemon.readiness))
        .merge(drivers::routes(daemon.registry))
        .fallback(async |RequestId(id): RequestId| {
            Problem::not_found("there is no such path; / lists what is here", id)
        })
        .layer(middleware::from_fn(request_id::tag))
        .layer(middleware::from_fn_with_state(figures, count))
}

/// Counts requests by their route, not by their path, which is the caller's to choose.
async fn count(State(figures): State<Figures>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let is_known = [Method::GET, Method::HEAD, Method::POST].contains(&method);
    let method = if is_known { method.as_str() } else { "other" };
    figures.counter(&names::HTTP_REQUESTS, [&route, method, response.status().as_str()]).increment();
    response
}

async fn links() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({
        "name": "capstan",
        "version": env!("CARGO_PKG_VERSION"),
        "links": { "live": "/livez", "ready": "/readyz", "metrics": "/metrics", "drivers": "/drivers/v1" },
    }))
}
