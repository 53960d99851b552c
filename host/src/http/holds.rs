//! `/holds/v1`: what is held, so that nothing is repaired, replaced, retired or deleted there by itself.

use std::{future::Future, pin::Pin, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Access, Caller, ETag, JsonBody, Listing, NoFilters, Preconditions, Problem, Reason, RequestId, Routes, Time,
};
use crate::store::{
    Error, Store, Transaction,
    events::{self, NewEvent},
    holds::{self, Hold},
};

/// What a service knows that can be held. A hold of nothing would be no hold, so a word that nobody knows is refused.
pub trait HoldTargets: Send + Sync {
    /// The scope that a word means (the service's name, an object's id or name), as `store::holds` has it; none for a word that is
    /// not the service's.
    fn scope<'a>(&'a self, word: &'a str) -> Pin<Box<dyn Future<Output = Result<Option<String>, Error>> + Send + 'a>>;

    /// A hold was lifted, in this transaction: what waited for that need not wait for its time.
    ///
    /// # Errors
    /// The store's.
    fn lifted(&self, transaction: &mut Transaction<'_>) -> Result<(), Error>;
}

/// What is held, and what can be.
#[derive(Clone)]
pub(super) struct Holds {
    pub store: Store,
    pub targets: Vec<Arc<dyn HoldTargets>>,
}

/// A hold as callers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // as in the store's hold
pub struct HoldView {
    pub scope: String,
    pub reason: String,
    pub by: String,
    pub at: Time,
}

impl From<Hold> for HoldView {
    fn from(Hold { scope, reason, by, at }: Hold) -> Self {
        Self { scope, reason, by, at: Time(at) }
    }
}

pub(super) fn routes(holds: Holds) -> Routes {
    Routes::new()
        .get("/holds/v1/holds", Access::Viewer, "what is held", list)
        .post("/holds/v1/holds", Access::Operator, "hold everything, a service or an object", put)
        .get("/holds/v1/holds/{target}", Access::Viewer, "one hold", show)
        .conditional(|routes| routes.delete("/holds/v1/holds/{target}", Access::Operator, "lift a hold", lift))
        .with_state(holds)
}

async fn list(State(holds): State<Holds>, listing: Listing<NoFilters>) -> Result<Response, Problem> {
    let (after, rows) = (listing.after::<String>()?.unwrap_or_default(), listing.rows());
    let found = holds.store.read(move |transaction| holds::list(transaction, &after, rows)).await?;
    let found = found.into_iter().map(HoldView::from).collect();
    Ok(listing.page("holds", found, |hold: &HoldView| hold.scope.clone()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// A service, an object's id or its name; nothing for everything.
    target: Option<String>,
    reason: Reason,
}

async fn put(
    State(holds): State<Holds>,
    caller: Caller,
    RequestId(request_id): RequestId,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Response, Problem> {
    let reason = wanted.reason.into_text();
    let target = wanted.target.as_deref().unwrap_or(holds::ALL);
    let missing = || {
        Problem::not_found(format!(
            "there is no service and no object {target:?} on this daemon that could be held; say nothing to hold everything"
        ))
    };
    let scope = holds.scope(target).await?.ok_or_else(missing)?;
    let by = caller.name.clone();
    let hold = holds
        .store
        .write(move |transaction| {
            let hold = holds::put(transaction, &scope, &reason, &by)?;
            note(transaction, &hold, "held", &by, &request_id)?;
            Ok::<_, Error>(hold)
        })
        .await?;
    tracing::warn!(scope = hold.scope, by = hold.by, reason = hold.reason, "held: nothing is done there by itself");
    Ok((StatusCode::CREATED, Json(HoldView::from(hold))).into_response())
}

async fn show(
    State(holds): State<Holds>,
    Path(target): Path<String>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    // What is held may be gone by now, so the word is tried as the scope that it was.
    let of = async |scope: String| holds.store.read(move |transaction| holds::get(transaction, &scope)).await;
    let mut found = of(target.clone()).await?;
    if found.is_none()
        && let Some(scope) = holds.scope(&target).await?
    {
        found = of(scope).await?;
    }
    let hold = HoldView::from(found.ok_or_else(|| not_held(&target))?);
    Ok(preconditions.answer(&ETag::of_content(&hold), &hold))
}

fn not_held(target: &str) -> Problem {
    Problem::not_found(format!("{target} is not held; `capstan hold list` shows what is"))
}

async fn lift(
    State(holds): State<Holds>,
    caller: Caller,
    RequestId(request_id): RequestId,
    Path(target): Path<String>,
    preconditions: Preconditions,
) -> Result<Json<HoldView>, Problem> {
    // As in `show`.
    let (by, word, targets) = (caller.name.clone(), target.clone(), holds.targets.clone());
    let lift = move |transaction: &mut Transaction<'_>, scope: &str| {
        let lifted = holds::lift(transaction, scope)?;
        if let Some(hold) = &lifted {
            // A refusal takes the transaction back.
            preconditions.check(Some(&ETag::of_content(&HoldView::from(hold.clone()))))?;
            note(transaction, hold, "lifted", &by, &request_id)?;
            targets.iter().try_for_each(|target| target.lifted(transaction))?;
        }
        Ok::<_, Problem>(lifted)
    };
    let as_scope = lift.clone();
    let mut lifted = holds.store.write(move |transaction| as_scope(transaction, &word)).await?;
    if lifted.is_none()
        && let Some(scope) = holds.scope(&target).await?
    {
        lifted = holds.store.write(move |transaction| lift(transaction, &scope)).await?;
    }
    let hold = lifted.ok_or_else(|| not_held(&target))?;
    tracing::warn!(scope = hold.scope, by = caller.name, "a hold is lifted");
    Ok(Json(hold.into()))
}

impl Holds {
    /// The scope that a word means; none when nobody knows it.
    async fn scope(&self, word: &str) -> Result<Option<String>, Error> {
        if word == holds::ALL {
            return Ok(Some(word.to_owned()));
        }
        for target in &self.targets {
            if let Some(scope) = target.scope(word).await? {
                return Ok(Some(scope));
            }
        }
        Ok(None)
    }
}

fn note(transaction: &mut Transaction<'_>, hold: &Hold, kind: &str, by: &str, request_id: &str) -> Result<(), Error> {
    let detail = json!({ "reason": hold.reason, "by": by }).to_string();
    let event = NewEvent { request_id: Some(request_id.to_owned()), ..NewEvent::new(&hold.scope, kind, detail) };
    events::append(transaction, &event)
}
