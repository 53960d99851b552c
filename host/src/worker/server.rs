//! The worker as it runs: registered with the job servers, one message at a time, for ever.

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;

use super::{Controller, Job, Verdict};
use crate::{
    jobs::{self, Handler, JobResult, Progress, WorkerState},
    telemetry::{Figures, names},
};

/// A worker that has not begun.
pub struct Server {
    jobs: jobs::Worker,
    task: Task,
}

impl Server {
    /// A worker that serves the messages which `jobs` takes with `controller`.
    pub fn new(jobs: jobs::Worker, controller: Controller, figures: Figures) -> Self {
        Self { jobs, task: Task { controller: Arc::new(controller), figures } }
    }

    /// How it stands with the job servers.
    pub fn state(&self) -> watch::Receiver<WorkerState> {
        self.jobs.state()
    }

    /// Serves until `shutdown`; lost job servers are tried again for ever. Returns when the message at hand is answered.
    pub async fn main(self, shutdown: watch::Receiver<bool>) {
        self.jobs.run(self.task, shutdown).await;
    }
}

/// What is done with each message.
struct Task {
    controller: Arc<Controller>,
    figures: Figures,
}

impl Handler for Task {
    async fn handle(&self, job: jobs::Job, _progress: Progress) -> JobResult {
        let begun = Instant::now();
        let verdict = self.controller.run(Job { unique: &job.unique, payload: &job.payload }).await;
        let (response, result) = match verdict {
            Verdict::Reply(reply) => ("reply", JobResult::Complete(reply)),
            // No exception: gearmand 1.1.20 makes of it, for a client that did not ask for exceptions, a failure whose handle
            // ends in a NUL, which libgearman does not know again and waits for ever. The log has the reason.
            Verdict::Failure { .. } => ("failure", JobResult::Fail),
        };
        self.figures.counter(&names::WORKER_MESSAGES, ["-", response]).increment();
        self.figures.histogram(&names::WORKER_MESSAGE_SECONDS, ["-"]).record(begun.elapsed());
        result
    }
}
