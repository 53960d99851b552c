//! The error body of today's APIs: RFC 9457 problem details, with the request's id and, where a driver's error is behind it, that
//! driver's.
//!
//! A handler answers `Err(Problem)`; the request's id, and for an operator the driver's inner message, are filled in on the way out
//! by [`super::layers`].

use std::time::Duration;

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use capstan_plugin_api::{DriverError, ErrorCode, Retry};
use serde_json::{Map, Value, json};

use crate::store::Error;

/// The type of a problem's body.
pub(super) const CONTENT: &str = "application/problem+json";

/// The body of a problem that was kept, as the answer to a request of this id.
pub(super) fn renamed(body: String, request_id: &str) -> String {
    match serde_json::from_str(&body) {
        Ok(Value::Object(mut members)) => {
            members.insert("request_id".to_owned(), json!(request_id));
            Value::Object(members).to_string()
        }
        _ => body,
    }
}

/// Word, title and status of one kind of failure. A room may have kinds of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// A word, stable over versions: the body's `type`.
    pub word: &'static str,
    /// The same for people.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident = $status:literal $word:literal $title:literal;)*) => {
        impl ProblemKind {
            $($(#[$meta])* pub const $name: Self = Self { word: $word, title: $title, status: $status };)*
        }
    };
}

kinds! {
    /// The request is not what it claims to be: its JSON, a parameter, a cursor.
    BAD_REQUEST = 400 "bad_request" "The request cannot be read";
    /// The JSON is well formed and is not what is expected there.
    INVALID_BODY = 400 "invalid_body" "The body is not what is expected";
    /// No credentials, or none that are accepted.
    UNAUTHORIZED = 401 "unauthorized" "Credentials are needed";
    /// The credentials are good and do not suffice.
    FORBIDDEN = 403 "forbidden" "Forbidden";
    /// Nothing is there.
    NOT_FOUND = 404 "not_found" "Not found";
    /// The path is there, the method is not.
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "Method not allowed";
    /// The client was too slow.
    REQUEST_TIMEOUT = 408 "request_timeout" "The request did not arrive in time";
    /// The state of things forbids it.
    CONFLICT = 409 "conflict" "Conflict";
    /// There is such a thing already.
    ALREADY_EXISTS = 409 "already_exists" "It exists already";
    /// `If-Match` or `If-None-Match` does not hold.
    PRECONDITION_FAILED = 412 "precondition_failed" "A condition of the request does not hold";
    /// The body is too long.
    TOO_LARGE = 413 "too_large" "The body is too large";
    /// The body is of another type.
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type" "The body is of another type";
    /// The request can be read and cannot be done.
    UNPROCESSABLE = 422 "unprocessable" "It cannot be done as asked";
    /// Too many requests.
    TOO_MANY_REQUESTS = 429 "too_many_requests" "Too many requests";
    /// A fault of this program.
    INTERNAL = 500 "internal" "A fault of capstan";
    /// Not to be had now.
    UNAVAILABLE = 503 "unavailable" "Not available";
    /// It took too long.
    TIMEOUT = 504 "timeout" "It took too long";
}

/// A failed request.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    retry_after: Option<Duration>,
    operator_message: Option<String>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of any kind. `detail`: what happened to this request and what to do about it.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None, operator_message: None, members: Map::new() }
    }

    /// The request cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::BAD_REQUEST, detail)
    }

    /// Nothing is there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::NOT_FOUND, detail)
    }

    /// The state of things forbids it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::CONFLICT, detail)
    }

    /// The caller may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::FORBIDDEN, detail)
    }

    /// The request can be read and cannot be done.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::UNPROCESSABLE, detail)
    }

    /// Not to be had now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::UNAVAILABLE, detail)
    }

    /// A fault of this program. What it was goes to the log, not to the caller.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed by a fault of this program");
        Self::new(ProblemKind::INTERNAL, "the log has the cause under this request_id; please report it")
    }

    /// What a driver answered. `driver` is its `kind.name`.
    pub fn of_driver(driver: &str, error: &DriverError) -> Self {
        let (status, title) = match error.code.as_str() {
            "not_found" => (404, "The provider has no such object"),
            "already_exists" => (409, "The provider has it already"),
            "conflict" => (409, "The provider's state forbids it"),
            "cancelled" => (409, "The call was cancelled"),
            "quota_exceeded" => (409, "The provider's quota is used up"),
            "invalid_argument" => (422, "The provider refuses what was asked"),
            "not_supported" => (501, "The driver cannot do this"),
            "rate_limited" => (503, "The provider asks for patience"),
            "unavailable" => (503, "The provider is not available"),
            "timeout" => (504, "The provider took too long"),
            "auth_failed" => (502, "The provider refuses the daemon's credentials"),
            _ => (502, "The driver failed"),
        };
        let mut problem = Self::new(ProblemKind { word: "driver_error", title, status }, error.message.clone())
            .with("code", json!(error.code))
            .with("driver", json!(driver));
        if !error.operator_message.is_empty() {
            problem.operator_message = Some(error.operator_message.clone());
        }
        match error.retry {
            Retry::After(time) => problem.retry_after(time),
            Retry::Now => problem.retry_after(Duration::ZERO),
            _ if error.code == ErrorCode::RATE_LIMITED => problem.retry_after(Duration::from_secs(30)),
            _ => problem,
        }
    }

    /// Adds a member to the body, such as `line` or `field`.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Says when the same request may be made again: in the body and as `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// What happened and what to do about it.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body. The operator's message is for an operator only.
    fn body(&self, request_id: Option<&str>, for_operator: bool) -> String {
        let mut body = self.members.clone();
        body.insert("type".to_owned(), json!(self.kind.word));
        body.insert("title".to_owned(), json!(self.kind.title));
        body.insert("status".to_owned(), json!(self.kind.status));
        body.insert("detail".to_owned(), json!(self.detail));
        body.extend(request_id.map(|id| ("request_id".to_owned(), json!(id))));
        body.extend(self.retry_seconds().map(|seconds| ("retry_after".to_owned(), json!(seconds))));
        let message = self.operator_message.as_ref().filter(|_| for_operator);
        body.extend(message.map(|text| ("operator_message".to_owned(), json!(text))));
        Value::Object(body).to_string()
    }

    /// Whole seconds, rounded up: a client that comes back on time is not early.
    fn retry_seconds(&self) -> Option<u64> {
        self.retry_after.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0))
    }

    /// Completes the body of an answer that came out of a problem.
    pub(super) fn complete(response: &mut Response, request_id: &str, for_operator: bool) {
        if let Some(problem) = response.extensions_mut().remove::<Self>() {
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = Body::from(problem.body(Some(request_id), for_operator));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body(None, false)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        headers.extend(self.retry_seconds().map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
        response.extensions_mut().insert(self);
        response
    }
}

/// What the store says. What it is to do about a failing store is the operator's business, and in `/readyz`.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(what) => Self::not_found(format!("there is no {what}")),
            Error::Contended(_) | Error::LeaseLost { .. } => {
                Self::unavailable("other changes came in between; ask again").retry_after(Duration::from_secs(1))
            }
            error if error.is_of_the_store() || error == Error::Closed => {
                let mut problem = Self::unavailable("the daemon's store cannot be used now; nothing was changed")
                    .retry_after(Duration::from_secs(5));
                if matches!(error, Error::Unconfirmed(_)) {
                    problem.detail =
                        "whether the change was stored is not known; look before it is done again".to_owned();
                }
                problem.operator_message = Some(error.to_string());
                problem
            }
            error => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_is_told_again_names_the_request_that_it_answers() {
        let told = renamed(Problem::not_found("it is gone").body(None, false), "r2");
        let body: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&body["request_id"], &body["detail"]), (&json!("r2"), &json!("it is gone")));
    }

    #[test]
    fn the_operators_message_is_shown_to_an_operator_alone() {
        let error = DriverError {
            code: ErrorCode::RATE_LIMITED,
            message: "too many requests".to_owned(),
            operator_message: "429 from nova.example.org".to_owned(),
            retry: Retry::After(Duration::from_millis(1500)),
        };
        let problem = Problem::of_driver("cloud.nova", &error);
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!problem.body(Some("r1"), false).contains("nova.example.org"));
        let body: Value = serde_json::from_str(&problem.body(Some("r1"), true)).unwrap();
        assert_eq!(body["operator_message"], "429 from nova.example.org");
        assert_eq!((&body["retry_after"], &body["request_id"]), (&json!(2), &json!("r1")));
        assert_eq!((&body["code"], &body["driver"]), (&json!("rate_limited"), &json!("cloud.nova")));
        assert_eq!(problem.into_response().headers()[RETRY_AFTER], "2");
    }
}
