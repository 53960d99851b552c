//! A job, and the node that it is about.

use serde_json::json;

use super::{EVENTS, Explanation, Happening, Observation, Step};
use crate::{
    http::{JobView, Retries, Time},
    pool::Pool,
    store::{Error, events, jobs::Job},
};

impl Pool {
    pub(super) async fn explain_job(&self, job: Job) -> Result<Explanation, Error> {
        let about = match job.object.as_deref().and_then(|object| object.strip_prefix("node/")) {
            Some(id) => match self.show(id).await? {
                Some((node, live)) => Some(Box::new(self.explain_node(node, live).await?)),
                None => None,
            },
            None => None,
        };
        let id = format!("job/{}", job.id);
        let object = id.clone();
        let (pool, asked) = (self.clone(), job.clone());
        let (events, refusal) = self
            .store()
            .read(move |tx| {
                Ok::<_, Error>((events::latest(tx, Some(&object), None, EVENTS)?, pool.refusal(tx, &asked)?))
            })
            .await?;
        let lease = job.lease_owner.clone().map(|owner| json!({ "owner": owner, "until": job.lease_until.map(Time) }));
        let job = JobView::from(job);
        Ok(Explanation {
            object: id,
            name: job.kind.clone(),
            desired: job.spec.clone(),
            observed: vec![Observation::of(
                "row",
                Ok(json!({
                    "state": job.state, "cancel_requested": job.cancel_requested.then_some(true), "attempt": job.attempt, "progress": job.progress.text, "lease": lease,
                    "result": job.result,
                })),
            )],
            last_error: job.error.clone(),
            hold: about.as_ref().and_then(|about| about.hold.clone()),
            next: match refusal {
                Some(why) if ["failed", "cancelled"].contains(&job.state) => Step::never(format!("nothing: {why}")),
                _ => next_of_job(&job),
            },
            job: Some(job),
            events: events.into_iter().map(Happening::from).collect(),
            about,
        })
    }
}

/// What becomes of a job by itself.
pub(super) fn next_of_job(job: &JobView) -> Step {
    match (job.state, job.next_run) {
        ("queued", at) => Step { what: format!("the job {} goes on", job.id), at },
        ("running", _) => {
            let text = job.progress.text.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            let is = if job.cancel_requested { "was asked to stop and ends as soon as it can" } else { "is at it" };
            Step::never(format!("the job {} {is}{text}", job.id))
        }
        ("done", _) => Step::never("nothing: it is done"),
        _ => Step::never("nothing: `capstan job retry` queues it again"),
    }
}
