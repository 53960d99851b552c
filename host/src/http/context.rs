//! What every request of a daemon can reach: bounds, who may call, where answers are kept, the end.

use std::{sync::Arc, time::Duration};

use axum::http::Extensions;
use tokio::sync::watch;

use super::{Problem, auth::Gate};
use crate::{store::Store, telemetry::Figures};

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body.
    pub max_body: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request may take to be answered.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body: 1 << 20, body_timeout: Duration::from_secs(30), request_timeout: Duration::from_secs(180) }
    }
}

/// What every request can reach. The outermost layer puts it there; without it nothing is admitted.
pub(super) struct Context {
    pub(super) limits: Limits,
    pub(super) gate: Gate,
    pub(super) store: Option<Store>,
    pub(super) figures: Figures,
    /// True once the listeners end: streams end with it.
    pub(super) ending: watch::Receiver<bool>,
}

impl Context {
    pub(super) fn of(extensions: &Extensions) -> Result<Arc<Self>, Problem> {
        let missing = || Problem::internal("a request without the daemon's context");
        extensions.get::<Arc<Self>>().cloned().ok_or_else(missing)
    }
}
