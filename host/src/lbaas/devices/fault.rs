//! libra's three ways to say that something failed, one for each kind of method.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{http::Problem, store::Error};

/// In which words a method fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wording {
    /// GET: `{"status", "message"}`.
    Read,
    /// POST and PUT: `{"message", "details"}`.
    Change,
    /// DELETE: `{"faultcode", "faultstring"}`.
    Delete,
}

/// A failed request.
#[derive(Debug)]
pub(super) struct Fault {
    wording: Wording,
    status: StatusCode,
    text: String,
}

impl Wording {
    pub(super) fn fault(self, status: StatusCode, text: impl Into<String>) -> Fault {
        Fault { wording: self, status, text: text.into() }
    }

    pub(super) fn bad_request(self, text: impl Into<String>) -> Fault {
        self.fault(StatusCode::BAD_REQUEST, text)
    }

    /// What the store says goes to the log and into `/readyz`.
    pub(super) fn store(self, error: &Error) -> Fault {
        tracing::error!(%error, "the device API cannot use the store");
        self.fault(StatusCode::SERVICE_UNAVAILABLE, "the device store cannot be used now; ask again later")
    }

    pub(super) fn problem(self, problem: &Problem) -> Fault {
        self.fault(problem.status(), problem.detail())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body: Value = match self.wording {
            Wording::Read => json!({ "status": self.status.as_u16(), "message": self.text }),
            Wording::Change if self.status.is_client_error() => {
                json!({ "message": "Bad Request", "details": self.text })
            }
            Wording::Change => json!({ "message": "Load Balancer Fault", "details": self.text }),
            Wording::Delete => {
                let code = if self.status.is_client_error() { "Client" } else { "Server" };
                json!({ "faultcode": code, "faultstring": self.text })
            }
        };
        (self.status, Json(body)).into_response()
    }
}
