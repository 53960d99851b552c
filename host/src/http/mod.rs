//! The HTTP server and the conventions of every API: listeners, who calls, the error body, lists, conditions, repeated requests, long
//! work, health, figures, and the routes about drivers. Each service brings its own; `docs/services/http.md` says how.

mod address;
mod auth;
mod body;
mod context;
mod drivers;
mod health;
mod holds;
mod idempotency;
mod jobs;
mod layers;
mod listing;
mod metrics;
mod peer;
mod precondition;
mod problem;
mod reason;
mod request_id;
mod router;
mod routes;
mod server;
mod time;

pub(crate) use auth::Attempts;
pub use auth::{Access, Caller, CertificateRoles, Credential, Gate, OwnToken, Role, TokenText, Tokens, presented};
pub use body::{Bytes, JsonBody, OptionalJson, parse};
pub use context::Limits;
pub use health::{Check, Readiness};
pub use holds::{HoldTargets, HoldView};
pub use idempotency::{Confidential, IdempotencyKey};
pub use jobs::{JobView, Operations, Retries, Wait};
pub use listing::{Listing, NoFilters, Order, Parameters, decode};
pub use metrics::Metrics;
pub use peer::Peer;
pub use precondition::{ETag, Preconditions};
pub use problem::{Problem, ProblemKind};
pub use reason::{Reason, Why};
pub use request_id::RequestId;
pub use router::{Daemon, migrations, router};
pub use routes::{Route, Routes};
pub use server::{BindError, Certificates, ClientCertificates, ConnectionLimits, Listeners, Server, ServerFiles};
pub use time::{Time, millis, optional_millis};
