//! `Idempotency-Key`: a request that may arrive twice is done once, and the second time gets the first answer.
//!
//! What is kept for a day: the key, by whom, method, path, the body's hash, the answer. A request whose daemon ended before it had
//! answered is done again when it comes again; what it makes is found by its own name or by the job's id.

use std::sync::{Arc, LazyLock};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use super::{
    Problem, RequestId,
    auth::{Caller, Credential},
    body,
    context::{Context, Limits},
    problem,
};
use crate::store::{Backend, Error, Migration, Row, Store};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long an answer is kept, in milliseconds.
const KEPT: i64 = 86_400_000;
/// A longer answer is not kept; who asks again is told so.
const LONGEST_ANSWER: usize = 1 << 20;
/// Old answers that one new key clears away.
const CLEARED: u32 = 50;

/// Differs with each start of a daemon: what another one has in flight and never finished is told by it.
static PROCESS: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().to_string());

/// On an answer whose body must not be kept, as it holds a secret.
#[derive(Clone, Copy, Debug)]
pub struct Confidential;

/// The key of the request at hand, for handlers that name by it what they make; an extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

/// Tables of this room.
pub fn migrations() -> Vec<Migration> {
    vec![Migration { room: "http", version: 1, sql: include_str!("idempotency.sql") }]
}

impl IdempotencyKey {
    /// The key of a request: 1 to 255 visible characters; with or without the quotes of the draft standard.
    ///
    /// # Errors
    /// 400 for what is no key.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let fault = |detail: &str| Problem::bad_request(format!("Idempotency-Key: {detail}"));
        if values.next().is_some() {
            return Err(fault("found several; expected one"));
        }
        let text = value.to_str().map_err(|_| fault("found other characters than ASCII; expected visible ones"))?;
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if !(1..=255).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fault("expected 1 to 255 visible characters without spaces, such as a UUID"));
        }
        Ok(Some(Self(text.to_owned())))
    }
}

/// Does a change once for each key; without a key, as often as it comes.
///
/// Somebody of whom nothing is known leaves nothing in the store; what is open to them is safe to repeat by itself.
pub(super) async fn once(request: Request, next: Next) -> Response {
    if request.extensions().get::<Caller>().is_none_or(|caller| caller.credential == Credential::None) {
        return next.run(request).await;
    }
    match IdempotencyKey::of(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(key)) => keyed(key, request, next).await.unwrap_or_else(IntoResponse::into_response),
        Err(problem) => problem.into_response(),
    }
}

async fn keyed(IdempotencyKey(key): IdempotencyKey, request: Request, next: Next) -> Result<Response, Problem> {
    let context = Context::of(request.extensions())?;
    let Some(store) = context.store.clone() else {
        return Err(Problem::unavailable("this daemon keeps no state, so no key either; ask without Idempotency-Key"));
    };
    let caller = request.extensions().get::<Caller>().map(|caller| caller.name.clone()).unwrap_or_default();
    let Limits { max_body, body_timeout, request_timeout } = context.limits;
    let (mut parts, body) = request.into_parts();
    let bytes = body::read(body, max_body, body_timeout).await?;
    let asked = Asked {
        scope: format!("{caller}\n{key}"),
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        lasts: i64::try_from(request_timeout.as_millis()).unwrap_or(i64::MAX / 2).saturating_add(10_000),
    };
    if let Some(kept) = asked.begin(&store).await? {
        let id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        return asked.again(kept, &id);
    }
    parts.extensions.insert(IdempotencyKey(key));
    let in_flight = InFlight { store, scope: asked.scope, is_over: false };
    // In a task of its own: it is done and its answer kept also when the client goes away, who will come again for it.
    let done = async move {
        let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
        in_flight.finish(response).await
    };
    tokio::spawn(done.in_current_span())
        .await
        .map_err(|error| Problem::internal(format!("a handler panicked: {error}")))?
}

/// A request under a key.
#[derive(Clone)]
struct Asked {
    scope: String,
    method: String,
    path: String,
    sha256: String,
    /// How long it may be in flight, in milliseconds.
    lasts: i64,
}

impl Asked {
    /// Takes the key; gives what is kept under it when somebody has it already.
    async fn begin(&self, store: &Store) -> Result<Option<Row>, Problem> {
        let asked = self.clone();
        // One daemon at a time has a SQLite file, so whatever another process has in flight there is over.
        let others_are_over = store.backend() == Backend::Sqlite;
        let taken = store.write(move |transaction| {
            let now = transaction.now();
            transaction.execute(
                "DELETE FROM idempotency WHERE scope IN (SELECT scope FROM idempotency WHERE expires_at <= $1 LIMIT $2)",
                &[&now, &CLEARED],
            )?;
            // An answer of yesterday, and what a daemon that has ended left in flight, give the key free.
            transaction.execute(
                "DELETE FROM idempotency WHERE scope = $1 AND (expires_at <= $2 \
                 OR (status IS NULL AND (in_flight_until <= $2 OR ($3 = 1 AND process <> $4))))",
                &[&asked.scope, &now, &others_are_over, &*PROCESS],
            )?;
            let stored = transaction.execute(
                "INSERT INTO idempotency (scope, method, path, sha256, process, in_flight_until, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                &[
                    &asked.scope,
                    &asked.method,
                    &asked.path,
                    &asked.sha256,
                    &*PROCESS,
                    &now.saturating_add(asked.lasts),
                    &(now + KEPT),
                ],
            )?;
            if stored == 1 {
                return Ok::<_, Error>(None);
            }
            transaction.query_one("SELECT * FROM idempotency WHERE scope = $1", &[&asked.scope])
        });
        Ok(taken.await?)
    }

    /// The answer to who comes again, with a request of this id.
    fn again(&self, kept: Row, request_id: &str) -> Result<Response, Problem> {
        let column = |name: &str| kept.get::<String>(name);
        if (column("method")?, column("path")?, column("sha256")?)
            != (self.method.clone(), self.path.clone(), self.sha256.clone())
        {
            return Err(Problem::unprocessable(
                "this Idempotency-Key was used for another request; take a new key for each thing that is to be done",
            ));
        }
        let Some(status) = kept.get::<Option<i64>>("status")? else {
            return Err(Problem::conflict(
                "the first request with this Idempotency-Key is not answered yet; ask again later",
            )
            .retry_after(std::time::Duration::from_secs(1)));
        };
        let Some(body) = kept.get::<Option<String>>("body")? else {
            let location: Option<String> = kept.get("location")?;
            let detail =
                "this was done, and its answer is not kept; look at what it made, or undo it and take a new key";
            return Err(Problem::conflict(detail)
                .with("location", json!(location))
                .with("first_status", json!(status)));
        };
        let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let kind: Option<String> = kept.get("content_type")?;
        let body = if kind.as_deref() == Some(problem::CONTENT) { problem::renamed(body, request_id) } else { body };
        let mut response = (status.unwrap_or(StatusCode::OK), body).into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        for (name, value) in
            [(header::CONTENT_TYPE, kind), (header::LOCATION, kept.get("location")?), (header::ETAG, kept.get("etag")?)]
        {
            headers.extend(value.and_then(|value| Some((name, HeaderValue::try_from(value).ok()?))));
        }
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// A request that is being done. One that is dropped, because its handler panicked, gives its key free.
struct InFlight {
    store: Store,
    scope: String,
    is_over: bool,
}

impl InFlight {
    /// Keeps the answer before it is given. What the caller could do again with success is not kept: 5xx, 408, 429.
    async fn finish(mut self, response: Response) -> Result<Response, Problem> {
        let status = response.status();
        if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::TOO_MANY_REQUESTS
        {
            self.is_over = true;
            forget(self.store.clone(), self.scope.clone()).await;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(Problem::internal)?;
        let is_confidential = parts.extensions.get::<Confidential>().is_some();
        let text =
            String::from_utf8(bytes.to_vec()).ok().filter(|text| text.len() <= LONGEST_ANSWER && !is_confidential);
        let value = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (kind, location, etag) = (value(header::CONTENT_TYPE), value(header::LOCATION), value(header::ETAG));
        let (scope, number) = (self.scope.clone(), i64::from(status.as_u16()));
        let kept = self.store.write(move |transaction| {
            transaction.execute(
                "UPDATE idempotency SET status = $1, content_type = $2, location = $3, etag = $4, body = $5 WHERE scope = $6",
                &[&number, &kind, &location, &etag, &text, &scope],
            )
        });
        kept.await?;
        self.is_over = true;
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(forget(self.store.clone(), self.scope.clone()));
        }
    }
}

async fn forget(store: Store, scope: String) {
    let scope = Arc::new(scope);
    let forgotten = store.write(move |transaction| {
        let process = &*PROCESS;
        transaction.execute(
            "DELETE FROM idempotency WHERE scope = $1 AND status IS NULL AND process = $2",
            &[&scope.as_str(), process],
        )
    });
    if let Err(error) = forgotten.await {
        tracing::warn!(%error, "an Idempotency-Key stays in flight until its time is over");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_short_visible_and_alone() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, value.parse().unwrap());
            }
            IdempotencyKey::of(&headers)
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["8e03978e"]).unwrap(), of(&["\"8e03978e\""]).unwrap());
        for bad in [&["a b"][..], &[""], &["a", "a"], &[&"x".repeat(256)]] {
            assert_eq!(of(bad).unwrap_err().status(), 400, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_a_key_or_a_problem(bytes: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(KEY, value);
                let _ = IdempotencyKey::of(&headers);
            }
        }
    }
}
