//! The worker as it runs: registered with the job servers, one message at a time, for ever.

use tokio::sync::watch;

use super::{Controller, Job, Verdict};
use crate::jobs::{self, Handler, JobResult, Progress, WorkerState};

/// A worker that has not begun.
pub struct Server {
    jobs: jobs::Worker,
    controller: Controller,
}

impl Server {
    /// A worker that serves the messages which `jobs` takes with `controller`.
    pub fn new(jobs: jobs::Worker, controller: Controller) -> Self {
        Self { jobs, controller }
    }

    /// How it stands with the job servers.
    pub fn state(&self) -> watch::Receiver<WorkerState> {
        self.jobs.state()
    }

    /// Serves until `shutdown`; lost job servers are tried again for ever. Returns when the message at hand is answered.
    pub async fn main(self, shutdown: watch::Receiver<bool>) {
        self.jobs.run(self.controller, shutdown).await;
    }
}

impl Handler for Controller {
    async fn handle(&self, job: jobs::Job, _progress: Progress) -> JobResult {
        match self.run(Job { unique: &job.unique, payload: &job.payload }).await {
            Verdict::Reply(reply) => JobResult::Complete(reply),
            // No exception: gearmand 1.1.20 makes of it, for a client that did not ask for exceptions, a failure whose handle
            // ends in a NUL, which libgearman does not know again and waits for ever. The log has the reason.
            Verdict::Failure { .. } => JobResult::Fail,
        }
    }
}
