//! `/jobs/v1`.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{JobView, Operations, Retries, Wait, events};
use crate::{
    http::{Access, Caller, ETag, Listing, OptionalJson, Order, Preconditions, Problem, Routes, Why},
    store::{
        Error, Store, Transaction,
        jobs::{self, Cancelled, Filter, State as JobState},
    },
};

pub(in crate::http) fn routes(store: Store, retries: Vec<Arc<dyn Retries>>) -> Routes {
    Routes::new()
        .get(
            "/jobs/v1/jobs",
            Access::Viewer,
            "jobs, oldest first, with order=desc newest first; by state, kind, object",
            list,
        )
        .get("/jobs/v1/jobs/{id}", Access::Viewer, "one job; ?wait=N waits for its end", show)
        .get("/jobs/v1/jobs/{id}/events", Access::Viewer, "how a job goes, as server-sent events", events::stream)
        .conditional(|routes| {
            routes
                .post(
                    "/jobs/v1/jobs/{id}/cancel",
                    Access::Operator,
                    "end a job that waits, ask a running one to stop",
                    cancel,
                )
                .post(
                    "/jobs/v1/jobs/{id}/retry",
                    Access::Operator,
                    "queue a job again that failed or was cancelled",
                    retry,
                )
        })
        .with_state(Operations::new(store).asking(retries))
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    state: Option<String>,
    kind: Option<String>,
    object: Option<String>,
    #[serde(default)]
    order: Order,
}

async fn list(State(operations): State<Operations>, listing: Listing<Filters>) -> Result<Response, Problem> {
    let state = listing.filters.state.as_deref().map(known_state).transpose()?;
    let Filters { kind, object, order, .. } = listing.filters.clone();
    let filter = Filter { state, kind, object, newest_first: order == Order::Desc, after: listing.after()? };
    let rows = u32::try_from(listing.rows()).unwrap_or(u32::MAX);
    let found = operations.store().read(move |transaction| jobs::list(transaction, &filter, rows)).await?;
    let found = found.into_iter().map(JobView::from).collect();
    Ok(listing.page("jobs", found, |job: &JobView| job.id.clone()))
}

fn known_state(name: &str) -> Result<JobState, Problem> {
    JobState::from_name(name).ok_or_else(|| {
        let known: Vec<_> = JobState::ALL.iter().map(|state| state.as_str()).collect();
        let found: String = name.chars().take(80).collect();
        Problem::bad_request(format!("the parameter state: found {found:?}; expected one of {}", known.join(", ")))
            .with("parameter", json!("state"))
    })
}

async fn show(
    State(operations): State<Operations>,
    Path(id): Path<String>,
    wait: Wait,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    let job = operations.ended(&id, wait).await?;
    Ok(preconditions.answer(&ETag::of_content(&job), &job))
}

/// Before a job is changed: whether the change is meant for it as it is now.
fn meant(transaction: &mut Transaction<'_>, id: &str, preconditions: &Preconditions) -> Result<(), Problem> {
    match jobs::get(transaction, id)? {
        Some(job) => preconditions.check(Some(&ETag::of_content(&JobView::from(job)))),
        None => Ok(()),
    }
}

async fn cancel(
    State(operations): State<Operations>,
    Path(id): Path<String>,
    caller: Caller,
    wait: Wait,
    preconditions: Preconditions,
    OptionalJson(Why { reason }): OptionalJson<Why>,
) -> Result<Response, Problem> {
    let reason = match reason {
        Some(reason) => format!("cancelled by {}: {}", caller.name, reason.into_text()),
        None => format!("cancelled by {}", caller.name),
    };
    let job = id.clone();
    let cancelled = operations
        .store()
        .write(move |transaction| {
            meant(transaction, &job, &preconditions)?;
            Ok::<_, Problem>(jobs::cancel(transaction, &job, &reason)?)
        })
        .await?;
    match cancelled {
        Cancelled::AlreadyEnded(state) => {
            Err(Problem::conflict(format!("the job has ended: it is {}; there is nothing to cancel", state.as_str())))
        }
        Cancelled::AtOnce | Cancelled::Requested => operations.accepted(&id, wait).await,
    }
}

async fn retry(
    State(operations): State<Operations>,
    Path(id): Path<String>,
    wait: Wait,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    let (job, asked) = (id.clone(), operations.clone());
    operations
        .store()
        .write(move |transaction| {
            meant(transaction, &job, &preconditions)?;
            let queued = jobs::retry(transaction, &job).map_err(|error| match error {
                Error::Invalid(detail) => Problem::conflict(detail),
                error => error.into(),
            })?;
            // A refusal takes the transaction back.
            asked.refusal(transaction, &queued)?.map_or(Ok(()), |why| Err(Problem::conflict(why)))
        })
        .await?;
    operations.accepted(&id, wait).await
}
