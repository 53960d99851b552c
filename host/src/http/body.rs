//! JSON bodies: bounded, of the right type, and held strictly against what is expected.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{error::Category, json};

use super::{Problem, ProblemKind, context::Context};
use crate::config::nearest;

/// A body of JSON. The type denies unknown fields (`#[serde(deny_unknown_fields)]`); the caller is told which one it was and which
/// was most likely meant.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// The same where the body may be left out: no body is the type's default.
#[derive(Clone, Copy, Debug)]
pub struct OptionalJson<T>(pub T);

/// A body as it is, whatever its type, within the bounds: for APIs whose clients know other rules.
#[derive(Clone, Debug)]
pub struct Bytes(pub hyper::body::Bytes);

impl<S: Sync> FromRequest<S> for Bytes {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let context = Context::of(request.extensions())?;
        read(request.into_body(), context.limits.max_body, context.limits.body_timeout).await.map(Self)
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        match take(request).await? {
            Some(bytes) => parse(&bytes).map(Self),
            None => Err(Problem::new(ProblemKind::INVALID_BODY, "there is no body; send JSON")),
        }
    }
}

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        Ok(Self(take(request).await?.map_or_else(|| Ok(T::default()), |bytes| parse(&bytes))?))
    }
}

/// The bytes of a body of JSON; none when it is empty.
async fn take(request: Request) -> Result<Option<hyper::body::Bytes>, Problem> {
    let context = Context::of(request.extensions())?;
    let is_json = is_json(request.headers());
    let bytes = read(request.into_body(), context.limits.max_body, context.limits.body_timeout).await?;
    match (bytes.is_empty(), is_json) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(bytes)),
        (false, false) => Err(Problem::new(
            ProblemKind::UNSUPPORTED_MEDIA_TYPE,
            "the body is taken as JSON only; say `Content-Type: application/json`",
        )),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A whole body, within its bounds.
pub(super) async fn read(body: Body, limit: usize, timeout: Duration) -> Result<hyper::body::Bytes, Problem> {
    let collected = tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", timeout.as_secs());
        Problem::new(ProblemKind::REQUEST_TIMEOUT, detail)
    })?;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Problem::new(ProblemKind::TOO_LARGE, format!("a body has at most {limit} bytes here")),
        None => Problem::bad_request(format!("the body cannot be read: {error}")),
    })
}

/// JSON as what is expected, or a problem that says where it is not. It is an object, whatever serde would take for one: a struct's
/// fields without their names, as a list, have nothing that says what is meant.
///
/// # Errors
/// 400 with `line` and `column`, and for a field with `field`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let begin = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
    if bytes.get(begin) != Some(&b'{') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        let before = bytes.get(..begin).unwrap_or_default().rsplit(|byte| *byte == b'\n');
        let (line, column) = (before.clone().count(), before.take(1).map(<[u8]>::len).sum::<usize>() + 1);
        return Err(Problem::new(ProblemKind::INVALID_BODY, "the body is no object; expected an object")
            .with("line", json!(line))
            .with("column", json!(column)));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = Some(error.path().to_string()).filter(|path| path != ".");
        (path, error.into_inner())
    });
    let error = match parsed {
        Ok(value) => match json.end() {
            Ok(()) if has_nul(bytes) => {
                let detail = "a text has the character NUL (\\u0000), which cannot be kept; leave it out";
                return Err(Problem::new(ProblemKind::INVALID_BODY, detail));
            }
            Ok(()) => return Ok(value),
            Err(error) => (None, error),
        },
        Err(error) => error,
    };
    let (path, error) = error;
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let problem = match error.classify() {
        // Where a name was to come, its path is unknown.
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::bad_request(format!("the body is no JSON: {text} at line {line}, column {column}"))
        }
        Category::Data => {
            let text = &plain(text);
            let remedy = meant(text).map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let place = path.as_ref().map_or_else(String::new, |path| format!("{path}: "));
            let field = match (missing(text), path) {
                (Some(name), Some(path)) => Some(format!("{path}.{name}")),
                (Some(name), None) => Some(name.to_owned()),
                (None, path) => path,
            };
            let problem = Problem::new(ProblemKind::INVALID_BODY, format!("{place}{text}{remedy}"));
            match field {
                Some(field) => problem.with("field", json!(field)),
                None => problem,
            }
        }
    };
    Err(problem.with("line", json!(line)).with("column", json!(column)))
}

/// The name of a field that there is not, out of serde's words.
pub(super) fn missing(text: &str) -> Option<&str> {
    text.strip_prefix("missing field `")?.split('`').next()
}

/// Whether a text in this JSON has the character NUL, which no text of the store may have.
pub(super) fn has_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(at + 1..).unwrap_or_default();
        if escape.starts_with(b"u0000") {
            return true;
        }
        // What is escaped may be a backslash itself.
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

/// serde's words without the names of types, which callers do not know.
fn plain(text: &str) -> String {
    match text.split_once("expected struct ") {
        Some((before, _)) => format!("{}expected an object", before.replace("invalid length 0, ", "an empty list, ")),
        None => text.to_owned(),
    }
}

/// The name that an unknown one most likely meant, out of serde's words: ``unknown field `x`, expected one of `a`, `b` ``.
pub(super) fn meant(text: &str) -> Option<&str> {
    if !text.starts_with("unknown field") && !text.starts_with("unknown variant") {
        return None;
    }
    let mut names = text.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    nearest(unknown, names)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Wanted {
        name: String,
        nodes: Vec<Node>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Node {
        address: String,
    }

    async fn refused(text: &str) -> Value {
        let response = axum::response::IntoResponse::into_response(parse::<Wanted>(text.as_bytes()).unwrap_err());
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_faulty_body_is_told_by_line_column_and_field() {
        let body = refused("{\n \"name\": }").await;
        assert_eq!((&body["type"], &body["line"], &body["column"]), (&json!("bad_request"), &json!(2), &json!(10)));
        for broken in ["{\"name\": \"x\", ", "{nodes", "{\"name\": tru}"] {
            let body = refused(broken).await;
            assert_eq!((&body["type"], &body["field"]), (&json!("bad_request"), &Value::Null), "{broken}");
        }
        for (body, field) in [(r#"{"name": "x"}"#, "nodes"), (r#"{"name": "x", "nodes": [{}]}"#, "nodes[0].address")] {
            let body = refused(body).await;
            assert_eq!((&body["type"], &body["field"]), (&json!("invalid_body"), &json!(field)));
        }
        let body = refused(r#"{"nmae": "x"}"#).await;
        assert_eq!((&body["type"], &body["field"]), (&json!("invalid_body"), &json!("nmae")));
        assert!(body["detail"].as_str().unwrap().ends_with("did you mean \"name\"?"), "{body}");
        let body = refused(r#"{"name": "x", "nodes": [{"address": 5}]}"#).await;
        assert_eq!(body["field"], "nodes[0].address");
        let body = refused(r#"{"name": "x", "nodes": []} {}"#).await;
        assert_eq!(body["type"], "bad_request");
        let body = refused(r#"{"name": "\u0000", "nodes": []}"#).await;
        assert_eq!(body["type"], "invalid_body");
        assert!(parse::<Wanted>(br#"{"name": "\\u0000", "nodes": []}"#).is_ok());
        for body in ["[]", "7", "[\"x\"]", r#"["x", []]"#, "null", "\n \"{}\""] {
            let body = refused(body).await;
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.ends_with("expected an object"), "{detail}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refused(&deep).await["status"], 400);
    }
}
