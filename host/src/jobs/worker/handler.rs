//! What does the work.

use std::future::Future;
use std::sync::{Arc, Weak};

use crate::jobs::outbox::Outbox;
use crate::jobs::packet::{Magic, Packet};

/// A job that this worker was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which of the registered functions.
    pub function: String,
    /// The submitter's id; a job that is delivered twice carries the same. Empty when the submitter gave none.
    pub unique: String,
    /// The server's name for it.
    pub handle: String,
    /// What was sent.
    pub payload: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// Done, with the result.
    Complete(Vec<u8>),
    /// Failed; the protocol carries no reason.
    Fail,
    /// Failed with a reason, which goes to clients that asked for exceptions; to others it is a plain failure.
    Exception(Vec<u8>),
}

/// Does jobs. May be called again for the same unique id: servers and clients deliver at least once.
///
/// A panic costs that job alone: it is reported as failed. Blocking work belongs on a thread of its own
/// (`tokio::task::spawn_blocking`), or the connection's other duties wait for it.
pub trait Handler: Send + Sync + 'static {
    /// Does one job.
    fn handle(&self, job: Job, progress: Progress) -> impl Future<Output = JobResult> + Send;
}

impl<Function, Work> Handler for Function
where
    Function: Fn(Job, Progress) -> Work + Send + Sync + 'static,
    Work: Future<Output = JobResult> + Send,
{
    fn handle(&self, job: Job, progress: Progress) -> impl Future<Output = JobResult> + Send {
        self(job, progress)
    }
}

/// Tells the submitter of a running job how far it is. Does nothing once the connection is lost, nor where there is none (its default).
#[derive(Clone, Default)]
pub struct Progress {
    outbox: Weak<Outbox>,
    handle: Arc<[u8]>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Progress({})", String::from_utf8_lossy(&self.handle))
    }
}

impl Progress {
    pub(super) fn new(outbox: &Arc<Outbox>, handle: &str) -> Progress {
        Progress { outbox: Arc::downgrade(outbox), handle: handle.as_bytes().into() }
    }

    /// So many parts of so many are done.
    pub fn status(&self, numerator: u32, denominator: u32) {
        let (numerator, denominator) = (numerator.to_string(), denominator.to_string());
        self.send(&Packet::WorkStatus {
            handle: &self.handle,
            numerator: numerator.as_bytes(),
            denominator: denominator.as_bytes(),
        });
    }

    /// A part of the result, ahead of its end.
    pub fn data(&self, data: &[u8]) {
        self.send(&Packet::WorkData { handle: &self.handle, data });
    }

    /// Something the submitter should know although the job goes on.
    pub fn warning(&self, data: &[u8]) {
        self.send(&Packet::WorkWarning { handle: &self.handle, data });
    }

    fn send(&self, packet: &Packet<'_>) {
        if let Some(outbox) = self.outbox.upgrade() {
            outbox.append(|bytes| packet.encode(Magic::Request, bytes));
            outbox.flush();
        }
    }
}
