//! `ETag`, `If-Match`, `If-None-Match`: a client that changes what it has read does not overwrite what it has not.

use std::convert::Infallible;

use axum::{
    Json,
    extract::{FromRequestParts, Request},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{ETAG, IF_MATCH, IF_NONE_MATCH},
        request::Parts,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Problem, ProblemKind};

/// The version of a thing. Strong: equal tags mean equal bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// Of a thing whose changes are counted.
    pub fn of_version(version: i64) -> Self {
        Self(format!("\"{version}\""))
    }

    /// Of a thing that is what it shows.
    pub fn of_content(content: &impl Serialize) -> Self {
        let hash = Sha256::digest(serde_json::to_vec(content).unwrap_or_default());
        let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("\"{hex}\""))
    }

    /// Sets the header of an answer.
    pub fn set(&self, response: &mut Response) {
        response.headers_mut().extend(HeaderValue::try_from(&self.0).ok().map(|value| (ETAG, value)));
    }
}

/// The conditions under which a request is meant.
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl Preconditions {
    fn of(headers: &HeaderMap) -> Self {
        let list = |name: &HeaderName| {
            let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
            (!values.is_empty()).then(|| values.join(","))
        };
        Self { if_match: list(&IF_MATCH), if_none_match: list(&IF_NONE_MATCH) }
    }

    /// Before a change: whether it is meant for the thing as it is now; `None` when there is none yet.
    ///
    /// # Errors
    /// 412.
    pub fn check(&self, current: Option<&ETag>) -> Result<(), Problem> {
        let failed = |detail: &str| Err(Problem::new(ProblemKind::PRECONDITION_FAILED, detail));
        match (&self.if_match, &self.if_none_match) {
            (Some(list), _) if !current.is_some_and(|tag| names(list, tag, false)) => {
                failed("it is no longer what If-Match names; read it again and decide anew")
            }
            (_, Some(list)) if current.is_some_and(|tag| names(list, tag, true)) => {
                failed("there is already what If-None-Match excludes")
            }
            _ => Ok(()),
        }
    }

    /// Answers a read: the thing and its tag, or 304 when the caller has it already.
    pub fn answer(&self, tag: &ETag, body: &impl Serialize) -> Response {
        let mut response = match &self.if_none_match {
            Some(list) if names(list, tag, true) => StatusCode::NOT_MODIFIED.into_response(),
            _ => Json(body).into_response(),
        };
        tag.set(&mut response);
        response
    }
}

/// Refuses a change under `If-Match` to what has no `ETag`: a condition that cannot be held is not passed over.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    if !request.headers().contains_key(IF_MATCH) {
        return next.run(request).await;
    }
    let detail =
        "what this changes has no ETag, so If-Match cannot be held against it; nothing was done. Ask without If-Match";
    Problem::new(ProblemKind::PRECONDITION_FAILED, detail).into_response()
}

/// Whether a list of tags names this one. The weak comparison of `If-None-Match` looks past `W/`; a weak tag matches no `If-Match`.
fn names(list: &str, tag: &ETag, weak: bool) -> bool {
    list.split(',').map(str::trim).any(|one| {
        let one = if weak { one.strip_prefix("W/").unwrap_or(one) } else { one };
        one == "*" || one == tag.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> Preconditions {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Preconditions::of(&headers)
    }

    #[test]
    fn a_change_is_made_only_to_what_it_is_meant_for() {
        let tag = ETag::of_version(3);
        for good in ["\"3\"", "*", "\"1\", \"3\""] {
            assert!(with("if-match", good).check(Some(&tag)).is_ok(), "{good}");
        }
        for bad in ["\"2\"", "W/\"3\"", "3", ""] {
            assert_eq!(with("if-match", bad).check(Some(&tag)).unwrap_err().status(), 412, "{bad}");
        }
        assert!(with("if-match", "*").check(None).is_err() && with("if-none-match", "*").check(None).is_ok());
        assert!(with("if-none-match", "*").check(Some(&tag)).is_err());
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again() {
        let tag = ETag::of_content(&"x");
        let response = with("if-none-match", &format!("W/{}", tag.0)).answer(&tag, &"x");
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(response.headers().contains_key(ETAG));
        assert_eq!(with("if-none-match", "\"other\"").answer(&tag, &"x").status(), StatusCode::OK);
    }
}
