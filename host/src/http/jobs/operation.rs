//! The answer to a request that long work comes of.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{JobView, Retries, Wait};
use crate::{
    http::Problem,
    store::{Error, Store, Transaction, jobs},
};
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How soon a job is looked at again; each time later, up to the second.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(300);

/// Jobs as operations.
#[derive(Clone)]
pub struct Operations {
    store: Store,
    /// Asked before a job is queued again.
    retries: Vec<Arc<dyn Retries>>,
}

impl Operations {
    /// Those of this store.
    pub fn new(store: Store) -> Self {
        Self { store, retries: Vec::new() }
    }

    /// Asks these rooms before a job is queued again.
    #[must_use]
    pub(super) fn asking(self, retries: Vec<Arc<dyn Retries>>) -> Self {
        Self { retries, ..self }
    }

    /// Why a job is not queued again, if a room knows a reason.
    pub(super) fn refusal(&self, transaction: &mut Transaction<'_>, job: &jobs::Job) -> Result<Option<String>, Error> {
        for room in &self.retries {
            if let Some(why) = room.refusal(transaction, job)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// The answer to a request of which this job came: 202 with its `Location`, or, when it ends while the caller waits, 200. The
    /// body is the job either way; whether it went well its `state` says.
    ///
    /// # Errors
    /// 404 when there is no such job, 503 when the store is not to be had.
    pub async fn accepted(&self, id: &str, wait: Wait) -> Result<Response, Problem> {
        let preferred = wait.is_preference.then(|| format!("wait={}", wait.time.as_secs()));
        let job = self.ended(id, wait).await?;
        let status = if job.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
        let mut response = (status, Json(&job)).into_response();
        let location = HeaderValue::try_from(format!("/jobs/v1/jobs/{}", job.id));
        response.headers_mut().extend(location.ok().map(|location| (LOCATION, location)));
        let applied = preferred.and_then(|preferred| HeaderValue::try_from(preferred).ok());
        response.headers_mut().extend(applied.map(|applied| (PREFERENCE_APPLIED, applied)));
        Ok(response)
    }

    /// A job.
    ///
    /// # Errors
    /// As [`accepted`](Self::accepted).
    pub async fn show(&self, id: &str) -> Result<JobView, Problem> {
        let id = id.to_owned();
        let job = self.store.read(move |transaction| jobs::get(transaction, &id)).await?;
        let missing = || Problem::not_found("there is no job of this id; `capstan job list` shows all that are kept");
        job.map(JobView::from).ok_or_else(missing)
    }

    /// A job once it has ended, or as it is when the time is over.
    pub(super) async fn ended(&self, id: &str, mut wait: Wait) -> Result<JobView, Problem> {
        let begun = Instant::now();
        let mut pause = FIRST_LOOK;
        loop {
            let job = self.show(id).await?;
            let left = wait.time.saturating_sub(begun.elapsed());
            if job.is_final() || left.is_zero() {
                return Ok(job);
            }
            wait.pause(pause.min(left)).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }
}
