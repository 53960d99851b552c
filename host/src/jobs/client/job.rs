//! What is asked of a job and what comes of it.

use std::time::Duration;

use crate::config::Endpoint;
use crate::jobs::packet::Priority;

/// Called with numerator and denominator whenever the worker tells its progress.
pub type OnStatus = Box<dyn FnMut(u32, u32) + Send>;

/// How a job is submitted. The default: foreground, normal priority, a fresh unique id, no limit of time.
#[derive(Default)]
pub struct SubmitOptions {
    /// Jobs of one function with equal ids are one job while it waits or runs. A random UUID when none is given: without
    /// an id gearmand's persistent queues let jobs overwrite each other.
    pub unique: Option<String>,
    /// Only the acknowledgement is waited for.
    pub background: bool,
    /// Which queue.
    pub priority: Priority,
    /// For everything together: connecting, waiting for a worker, the work.
    pub timeout: Option<Duration>,
    /// Told of progress.
    pub on_status: Option<OnStatus>,
}

impl std::fmt::Debug for SubmitOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SubmitOptions")
            .field("unique", &self.unique)
            .field("background", &self.background)
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Where a job is and how it is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobHandle {
    /// The server that took it.
    pub server: Endpoint,
    /// That server's name for it.
    pub handle: String,
    /// Our name for it.
    pub unique: String,
}

/// What came of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The server has the job.
    Background(JobHandle),
    /// The job is done.
    Completed(Completed),
}

/// A job that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Where it was.
    pub job: JobHandle,
    /// Partial results sent while it ran (WORK_DATA), in order.
    pub data: Vec<Vec<u8>>,
    /// Warnings sent while it ran (WORK_WARNING), in order.
    pub warnings: Vec<Vec<u8>>,
    /// The final result.
    pub result: Vec<u8>,
}

impl Completed {
    /// The partial results and the final one in a row, as the `gearman` tool prints them.
    pub fn whole(self) -> Vec<u8> {
        if self.data.is_empty() {
            return self.result;
        }
        let mut all = self.data.concat();
        all.extend_from_slice(&self.result);
        all
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// The server knows the job: it waits or runs.
    pub is_known: bool,
    /// A worker has it.
    pub is_running: bool,
    /// Progress, if the worker told any.
    pub numerator: u32,
    /// Out of this.
    pub denominator: u32,
}
