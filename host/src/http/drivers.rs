//! `/drivers/v1`: what is loaded, in which state, and how it does; and the changes that an operator asks for. A driver is loaded
//! from the configuration only: no request names a file.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{Access, Problem, ProblemKind, Routes};
use crate::drivers::{DriverInfo, Kind, Registry, ReloadError, Reloaded};

pub(super) fn routes(registry: Registry) -> Routes {
    Routes::new()
        .get("/drivers/v1", Access::Viewer, "the drivers and how they do", list)
        .get("/drivers/v1/{kind}/{name}", Access::Viewer, "one driver", info)
        .post("/drivers/v1/{kind}/{name}/reload", Access::Operator, "load a driver's file anew", reload)
        .post("/drivers/v1/{kind}/{name}/rollback", Access::Operator, "bring back the file before", rollback)
        .post("/drivers/v1/{kind}/{name}/restart", Access::Operator, "start a driver again", restart)
        .with_state(registry)
}

async fn list(State(registry): State<Registry>) -> Json<Value> {
    Json(json!({ "drivers": registry.list() }))
}

/// Kind and name, from the path.
type Named = Path<(String, String)>;

async fn info(State(registry): State<Registry>, Path((kind, name)): Named) -> Result<Json<DriverInfo>, Problem> {
    registry.info(known(&kind)?, &name).map(Json).map_err(|error| Problem::not_found(error.to_string()))
}

type Changed = Result<Json<Reloaded>, Problem>;

async fn reload(State(registry): State<Registry>, Path((kind, name)): Named) -> Changed {
    answer(registry.reload(known(&kind)?, &name).await)
}

async fn rollback(State(registry): State<Registry>, Path((kind, name)): Named) -> Changed {
    answer(registry.rollback(known(&kind)?, &name).await)
}

async fn restart(State(registry): State<Registry>, Path((kind, name)): Named) -> Changed {
    answer(registry.restart(known(&kind)?, &name).await)
}

fn known(kind: &str) -> Result<Kind, Problem> {
    Kind::from_name(kind)
        .ok_or_else(|| Problem::not_found(format!("{kind:?} is no kind of driver; /drivers/v1 lists all")))
}

const REFUSED: ProblemKind =
    ProblemKind { word: "driver_refused", title: "The next generation of the driver was refused", status: 422 };
const NOTHING_BEFORE: ProblemKind =
    ProblemKind { word: "conflict", title: "There is nothing to roll back to", status: 409 };

fn answer(changed: Result<Reloaded, ReloadError>) -> Changed {
    changed.map(Json).map_err(|error| {
        let kind = match &error {
            ReloadError::Unknown(_) => ProblemKind::NOT_FOUND,
            ReloadError::Refused(_) => REFUSED,
            ReloadError::NothingBefore { .. } => NOTHING_BEFORE,
            ReloadError::NotRestarted { .. } | ReloadError::Unavailable { .. } => ProblemKind::UNAVAILABLE,
        };
        Problem::new(kind, error.to_string())
    })
}
