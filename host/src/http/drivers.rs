//! `/drivers/v1`: what is loaded, in which state, and how it does; and the changes that an operator asks for. A driver is loaded
//! from the configuration only: no request names a file.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, header::ORIGIN},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{Problem, RequestId};
use crate::drivers::{DriverInfo, Kind, Registry, ReloadError, Reloaded};

pub(super) fn routes(registry: Registry) -> Router {
    Router::new()
        .route("/drivers/v1", get(list))
        .route("/drivers/v1/{kind}/{name}", get(info))
        .route("/drivers/v1/{kind}/{name}/reload", post(reload))
        .route("/drivers/v1/{kind}/{name}/rollback", post(rollback))
        .route("/drivers/v1/{kind}/{name}/restart", post(restart))
        .with_state(registry)
}

async fn list(State(registry): State<Registry>) -> Json<Value> {
    Json(json!({ "drivers": registry.list() }))
}

/// Kind and name, from the path.
type Named = Path<(String, String)>;

async fn info(
    State(registry): State<Registry>,
    Path((kind, name)): Named,
    RequestId(id): RequestId,
) -> Result<Json<DriverInfo>, Problem> {
    let kind = known(&kind, &id)?;
    registry.info(kind, &name).map(Json).map_err(|error| Problem::not_found(error.to_string(), id))
}

type Changed = Result<Json<Reloaded>, Problem>;

async fn reload(registry: State<Registry>, named: Named, headers: HeaderMap, RequestId(id): RequestId) -> Changed {
    let (kind, name) = changeable(named, &headers, &id)?;
    answer(registry.reload(kind, &name).await, id)
}

async fn rollback(registry: State<Registry>, named: Named, headers: HeaderMap, RequestId(id): RequestId) -> Changed {
    let (kind, name) = changeable(named, &headers, &id)?;
    answer(registry.rollback(kind, &name).await, id)
}

async fn restart(registry: State<Registry>, named: Named, headers: HeaderMap, RequestId(id): RequestId) -> Changed {
    let (kind, name) = changeable(named, &headers, &id)?;
    answer(registry.restart(kind, &name).await, id)
}

fn known(kind: &str, id: &str) -> Result<Kind, Problem> {
    Kind::from_name(kind).ok_or_else(|| {
        Problem::not_found(format!("{kind:?} is no kind of driver; /drivers/v1 lists all"), id.to_owned())
    })
}

/// Which driver is to be changed. A web page that somebody on this machine looks at could send such a request as well, and there
/// is no authentication; its browser adds where it comes from.
fn changeable(Path((kind, name)): Named, headers: &HeaderMap, id: &str) -> Result<(Kind, String), Problem> {
    if headers.contains_key(ORIGIN) {
        return Err(Problem {
            kind: "forbidden",
            title: "Forbidden",
            status: 403,
            detail: "the request comes from a web page; use `capstan driver` or a client that sends no Origin"
                .to_owned(),
            request_id: id.to_owned(),
        });
    }
    Ok((known(&kind, id)?, name))
}

fn answer(changed: Result<Reloaded, ReloadError>, id: String) -> Changed {
    changed.map(Json).map_err(|error| {
        let (kind, title, status) = match &error {
            ReloadError::Unknown(_) => ("not_found", "Not found", 404),
            ReloadError::Refused(_) => ("driver_refused", "The next generation of the driver was refused", 422),
            ReloadError::NothingBefore { .. } => ("conflict", "There is nothing to roll back to", 409),
            ReloadError::NotRestarted { .. } | ReloadError::Unavailable { .. } => ("unavailable", "Not available", 503),
        };
        Problem { kind, title, status, detail: error.to_string(), request_id: id }
    })
}
