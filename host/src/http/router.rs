//! All routes of a daemon in one router, with what surrounds every request.

use std::sync::Arc;

use axum::{Json, Router, extract::Request, middleware::from_fn_with_state, response::Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Access, Gate, HoldTargets, Limits, Metrics, Problem, ProblemKind, Readiness, Retries, Routes, Tokens,
    auth::{self, refuse_strangers},
    context::Context,
    drivers, health,
    holds::{self, Holds},
    idempotency, jobs, layers, metrics,
    routes::Route,
};
use crate::{
    config::Role,
    drivers::Registry,
    store::{Migration, Store},
};

/// What the routes of the daemon itself need.
pub struct Daemon {
    /// The drivers.
    pub registry: Registry,
    /// Whether the daemon can serve.
    pub readiness: Readiness,
    /// The figures.
    pub metrics: Metrics,
    /// Who may call.
    pub gate: Gate,
    /// Where state is kept, if the daemon keeps any. Without it there are neither tokens nor jobs.
    pub store: Option<Store>,
    /// What can be held, by the services that run.
    pub hold_targets: Vec<Arc<dyn HoldTargets>>,
    /// Who is asked before a job is queued again, by the services that run.
    pub retries: Vec<Arc<dyn Retries>>,
    /// Bounds of a request.
    pub limits: Limits,
    /// True once the listeners end.
    pub ending: watch::Receiver<bool>,
}

/// Tables of this room.
pub fn migrations() -> Vec<Migration> {
    auth::migrations().into_iter().chain(idempotency::migrations()).collect()
}

/// The routes that belong to no single service, and those of the services that run.
pub fn router(daemon: Daemon, services: Routes) -> Router {
    let figures = daemon.metrics.figures().clone();
    let mut routes = Routes::new()
        .merge(metrics::routes(daemon.metrics))
        .merge(health::routes(daemon.readiness))
        .merge(drivers::routes(daemon.registry));
    if let Some(store) = &daemon.store {
        let holds = Holds { store: store.clone(), targets: daemon.hold_targets };
        routes = routes
            .merge(auth::routes(Tokens::new(store.clone())))
            .merge(jobs::routes(store.clone(), daemon.retries))
            .merge(holds::routes(holds));
    }
    let routes = routes.merge(services);
    let index = Arc::new(index(routes.described()));
    let unserved: Arc<[_]> = unserved(routes.described()).collect();
    let routes = routes.get("/", Access::Viewer, "what is here", async move || Json((*index).clone()));
    let context =
        Context { limits: daemon.limits, gate: daemon.gate, store: daemon.store, figures, ending: daemon.ending };
    routes
        .into_router()
        .fallback(async move |request| no_such_path(request, &unserved).await)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(Arc::new(context), layers::surround))
}

/// The APIs that come with a role, by how their paths begin, and the roles that have them.
const OF_ROLES: [(&str, &[Role]); 4] = [
    ("/pool/v1", &[Role::PoolManager]),
    ("/clouds/v1", &[Role::Orchestrator, Role::PoolManager]),
    ("/v1/devices", &[Role::Lbaas]),
    ("/identity/v1", &[Role::Lbaas, Role::PoolManager]),
];

/// Those of them that this daemon does not serve.
fn unserved(routes: &[Route]) -> impl Iterator<Item = (&'static str, &'static [Role])> {
    OF_ROLES.into_iter().filter(|(api, _)| !routes.iter().any(|route| is_of(route.path, api)))
}

fn is_of(path: &str, api: &str) -> bool {
    path.strip_prefix(api).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn no_such_path(request: Request, unserved: &[(&str, &[Role])]) -> Response {
    let path = request.uri().path();
    let needs_store = ["/auth/v1", "/jobs/v1", "/holds/v1"].iter().any(|api| is_of(path, api));
    let detail = match (Context::of(request.extensions()), unserved.iter().find(|(api, _)| is_of(path, api))) {
        (_, Some((_, roles))) => {
            let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            format!("this daemon does not run the role {}; set daemon.roles", roles.join(" or "))
        }
        (Ok(context), None) if needs_store && context.store.is_none() => {
            "this daemon keeps no state, so neither tokens nor jobs nor holds; give it a role that does, such as \
             lbaas, or set http.anonymous = \"none\""
                .to_owned()
        }
        _ => "there is no such path; / lists what is here".to_owned(),
    };
    refuse_strangers(request, Problem::not_found(detail)).await
}

async fn no_such_method(request: Request) -> Response {
    let detail = format!("the path has no {}; Allow says what it has", request.method());
    refuse_strangers(request, Problem::new(ProblemKind::METHOD_NOT_ALLOWED, detail)).await
}

fn index(routes: &[Route]) -> Value {
    json!({
        "name": "capstan",
        "version": env!("CARGO_PKG_VERSION"),
        "links": { "live": "/livez", "ready": "/readyz", "metrics": "/metrics", "drivers": "/drivers/v1" },
        "routes": routes,
    })
}
