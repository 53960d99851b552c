//! What surrounds every request: its id, its time, its figures, a panic that costs this request alone, and the completion of problems.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use super::{
    Problem, ProblemKind, RequestId, address,
    auth::{Caller, Role},
    context::Context,
    request_id,
};
use crate::telemetry::names;

/// The outermost layer.
pub(super) async fn surround(State(context): State<Arc<Context>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let span = tracing::info_span!("http", request_id = id.0);
    // By its route, not by its path, which is the caller's to choose.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(Arc::clone(&context));

    let limit = context.limits.request_timeout;
    let answered = match address::check(request.uri()) {
        Ok(()) => tokio::time::timeout(limit, unwound(next.run(request))).instrument(span.clone()).await,
        Err(problem) => Ok(Ok(problem.into_response())),
    };
    let mut response = span.in_scope(|| match answered {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Problem::internal(format!("a handler panicked: {}", said(&*panic))).into_response(),
        Err(_) => {
            let detail =
                format!("the request was given up after {} s; what it began may still be done", limit.as_secs());
            Problem::new(ProblemKind::TIMEOUT, detail).into_response()
        }
    });

    let caller = response.extensions_mut().remove::<Caller>();
    let for_operator = caller.is_some_and(|caller| matches!(caller.role, Role::Operator | Role::Admin));
    Problem::complete(&mut response, &id.0, for_operator);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(request_id::HEADER, value);
    }
    let is_known =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&method);
    let method = if is_known { method.as_str() } else { "other" };
    context.figures.counter(&names::HTTP_REQUESTS, [&route, method, response.status().as_str()]).increment();
    response
}

/// Runs a future whose panic becomes a value.
async fn unwound<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    // After a panic the future is not polled again, so nobody sees what it left half done.
    poll_fn(|polled| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(polled))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}
