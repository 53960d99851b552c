//! The error body of today's APIs: RFC 9457 problem details, with the request's id.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// A failed request.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// The kind of failure; a word, stable over versions.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The same for people.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened to this request and what to do about it.
    pub detail: String,
    /// The id that the log lines about this request carry.
    pub request_id: String,
}

impl Problem {
    /// Nothing is there.
    pub fn not_found(detail: impl Into<String>, request_id: String) -> Self {
        Self { kind: "not_found", title: "Not found", status: 404, detail: detail.into(), request_id }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        (status, [("content-type", "application/problem+json")], body).into_response()
    }
}
