//! Routes with what is said of each in one place: method, path, who may call it, what it does.
//!
//! There is no other way to add one, so each has its guard. `/` lists them all.

use std::convert::Infallible;

use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware::{from_fn, from_fn_with_state},
    routing::{MethodFilter, MethodRouter, on},
};
use serde::Serialize;

use super::{
    auth::{Access, guard},
    idempotency, precondition,
};

/// Paths of APIs that clients of other systems know begin so; they keep the rules of those systems.
const FOREIGN: &str = "/v1/";

/// One route.
#[derive(Clone, Debug, Serialize)]
pub struct Route {
    /// `GET`, which includes `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path, its parameters in braces.
    pub path: &'static str,
    /// The least that a caller must be.
    pub access: Access,
    /// What it does, in a few words.
    pub summary: &'static str,
}

/// The routes of a room. `S` is the state of its handlers.
#[derive(Debug)]
pub struct Routes<S = ()> {
    router: Router<S>,
    described: Vec<Route>,
    /// Changes that are added now hold `If-Match` against what they change.
    conditional: bool,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), described: Vec::new(), conditional: false }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a read.
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, access: Access, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add("GET", path, access, summary, on(MethodFilter::GET, handler))
    }

    /// Adds a change that is not repeated without harm; callers make it safe with `Idempotency-Key`.
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, access: Access, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.change("POST", path, access, summary, on(MethodFilter::POST, handler))
    }

    /// Adds a replacement.
    #[must_use]
    pub fn put<H, T>(self, path: &'static str, access: Access, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.change("PUT", path, access, summary, on(MethodFilter::PUT, handler))
    }

    /// Adds a change of parts.
    #[must_use]
    pub fn patch<H, T>(self, path: &'static str, access: Access, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.change("PATCH", path, access, summary, on(MethodFilter::PATCH, handler))
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete<H, T>(self, path: &'static str, access: Access, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.change("DELETE", path, access, summary, on(MethodFilter::DELETE, handler))
    }

    /// Adds changes whose handlers take [`Preconditions`](super::Preconditions) and check them before they change anything. All other
    /// changes refuse `If-Match`: nobody's condition is passed over.
    #[must_use]
    pub fn conditional(self, add: impl FnOnce(Self) -> Self) -> Self {
        Self { conditional: false, ..add(Self { conditional: true, ..self }) }
    }

    /// Adds all routes of another.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.described.extend(other.described);
        Self { router: self.router.merge(other.router), ..self }
    }

    /// Gives the handlers their state.
    pub fn with_state(self, state: S) -> Routes {
        Routes { router: self.router.with_state(state), described: self.described, conditional: false }
    }

    /// All routes, in the order in which they were added.
    pub fn described(&self) -> &[Route] {
        &self.described
    }

    fn change(
        self,
        method: &'static str,
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: MethodRouter<S, Infallible>,
    ) -> Self {
        let once = handler.route_layer(from_fn(idempotency::once));
        let checked = match self.conditional || path.starts_with(FOREIGN) {
            true => once,
            false => once.route_layer(from_fn(precondition::refuse)),
        };
        self.add(method, path, access, summary, checked)
    }

    fn add(
        mut self,
        method: &'static str,
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: MethodRouter<S, Infallible>,
    ) -> Self {
        self.described.push(Route { method, path, access, summary });
        let guarded = handler.route_layer(from_fn_with_state(access, guard));
        Self { router: self.router.route(path, guarded), ..self }
    }
}

impl Routes {
    /// The router without what surrounds every request.
    pub(super) fn into_router(self) -> Router {
        self.router
    }
}

/// Whether a method changes something.
pub(super) fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
