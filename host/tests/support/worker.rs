//! A worker of ours that runs beside a test.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use capstan::jobs::{Endpoint, Handler, Job, JobResult, Progress, Transport, Worker, WorkerOptions, WorkerState};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::within;

pub struct Running {
    pub state: watch::Receiver<WorkerState>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(
        endpoints: &[Endpoint],
        transport: &Transport,
        options: WorkerOptions,
        handler: impl Handler,
    ) -> Running {
        let worker = Worker::new(endpoints, transport, options).unwrap();
        let state = worker.state();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(worker.run(handler, stopped));
        Running { state, stop, task }
    }

    /// A worker on plain connections that is back quickly, once it is connected to all of them.
    pub async fn ready(endpoints: &[Endpoint], function: &str, handler: impl Handler) -> Running {
        let mut worker = Running::start(endpoints, &Transport::plain(), quick(function), handler);
        worker.connected(endpoints.len()).await;
        worker
    }

    pub async fn connected(&mut self, count: usize) {
        let arrived = self.state.wait_for(|state| state.connected.len() == count);
        within("the worker is connected", arrived).await.unwrap();
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(self) {
        self.ask_to_stop();
        within("the worker stops", self.task).await.unwrap();
    }

    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Options of a worker that is back quickly.
pub fn quick(function: &str) -> WorkerOptions {
    let mut options = WorkerOptions::new(format!("test-{function}"), function);
    options.reconnect_sleep = Duration::from_millis(200);
    options
}

/// Answers with what it got.
pub async fn echo(job: Job, _progress: Progress) -> JobResult {
    JobResult::Complete(job.payload)
}

/// Counts how many jobs are at work in the same moment, and what the most ever was.
#[derive(Clone, Default)]
pub struct Crowd {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Crowd {
    pub async fn count<T>(&self, work: impl Future<Output = T>) -> T {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let value = work.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        value
    }

    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}
