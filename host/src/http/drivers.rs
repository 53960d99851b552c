//! `/drivers/v1`: what is loaded, in which state, and how it does.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use serde_json::{Value, json};

use super::{Problem, RequestId};
use crate::drivers::{DriverInfo, Kind, Registry};

pub(super) fn routes(registry: Registry) -> Router {
    Router::new().route("/drivers/v1", get(list)).route("/drivers/v1/{kind}/{name}", get(info)).with_state(registry)
}

async fn list(State(registry): State<Registry>) -> Json<Value> {
    Json(json!({ "drivers": registry.list() }))
}

async fn info(
    State(registry): State<Registry>,
    Path((kind, name)): Path<(String, String)>,
    RequestId(id): RequestId,
) -> Result<Json<DriverInfo>, Problem> {
    let kind = Kind::from_name(&kind).ok_or_else(|| {
        Problem::not_found(format!("{kind:?} is no kind of driver; /drivers/v1 lists all"), id.clone())
    })?;
    registry.info(kind, &name).map(Json).map_err(|error| Problem::not_found(error.to_string(), id))
}
