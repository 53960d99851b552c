//! Every request has an id: the caller's `X-Request-Id` when it is well formed, else a new one. The answer carries it.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, for handlers.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(String::new())))
    }
}

impl RequestId {
    /// The caller's, or a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|id| is_well_formed(id));
        Self(given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned))
    }
}

// The id goes into log lines, so it is short and plain.
fn is_well_formed(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_id_is_taken_only_when_it_is_plain() {
        assert!(is_well_formed("req-1.a_B"));
        for bad in ["", "a b", "a\nb", &"x".repeat(65), "é"] {
            assert!(!is_well_formed(bad), "{bad:?}");
        }
    }
}
