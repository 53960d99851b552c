//! Our side: the store in this process, and the store behind an embedded job server.

use std::{path::PathBuf, time::Instant};

use capstan::{
    jobs::{Endpoint, Job, JobResult, Progress, Server, ServerOptions, Transport, Worker, WorkerOptions},
    store::{
        Error, Settings, Store,
        jobs::{self, Accepted, NewJob},
    },
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::PAYLOAD;
use crate::{
    measure::{Round, nanoseconds},
    rivals::Target,
    scratch,
};

/// Kind of the jobs, and the function behind which they are accepted.
pub(super) const KIND: &str = "bench";
/// Jobs that the worker behind the job server stores at one time.
const AT_ONCE: usize = 64;

/// What a job is to do: as JSON, as many bytes as a client of gearmand sends.
pub(super) fn spec() -> String {
    format!("\"{}\"", String::from_utf8_lossy(&PAYLOAD[2..]))
}

/// A store that takes jobs.
pub(super) struct Accepting {
    runtime: Runtime,
    store: Store,
    folder: TempDir,
}

/// The store behind a job server.
pub(super) struct Door<'a> {
    accepting: &'a Accepting,
    port: u16,
    end: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

async fn accept(store: &Store, spec: String) -> Result<Accepted, Error> {
    let new = NewJob::new(KIND, spec);
    store.write(move |tx| jobs::accept(tx, &new)).await
}

impl Accepting {
    pub fn open() -> Self {
        let (runtime, folder) = (Runtime::new().expect("a runtime"), scratch::folder());
        let settings = Settings::sqlite(folder.path().join("capstan.db"));
        let store = runtime.block_on(Store::open(&settings, &[])).expect("the store opens");
        Self { runtime, store, folder }
    }

    /// The database.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("capstan.db")
    }

    /// So many clients that store `jobs` jobs each, one after the other; with the jobs per second.
    pub fn round(&self, clients: usize, jobs: usize) -> (Round, f64) {
        self.runtime.block_on(async {
            let begun = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..clients {
                let store = self.store.clone();
                tasks.spawn(async move {
                    let mut times = Round::with_capacity(jobs);
                    for _ in 0..jobs {
                        let begun = Instant::now();
                        let accepted = accept(&store, spec()).await.expect("the job is stored");
                        assert!(matches!(accepted, Accepted::New { .. }), "{accepted:?}");
                        times.push(nanoseconds(begun.elapsed()));
                    }
                    times
                });
            }
            let round: Round = tasks.join_all().await.into_iter().flatten().collect();
            let rate = round.len() as f64 / begun.elapsed().as_secs_f64();
            (round, rate)
        })
    }

    /// Commits so far that brought jobs.
    pub fn commits(&self) -> u64 {
        *self.store.job_arrivals().borrow()
    }

    /// How many jobs share a commit.
    pub fn group(&self, clients: usize, jobs: usize) -> f64 {
        let before = self.commits();
        self.round(clients, jobs);
        (clients * jobs) as f64 / (self.commits() - before) as f64
    }

    /// Puts a job server before it.
    pub fn door(&self) -> Door<'_> {
        let (end, ended) = watch::channel(false);
        let tasks = self.runtime.block_on(async {
            let loopback = "127.0.0.1:0".parse().expect("an address");
            let server = Server::bind(loopback, ServerOptions::default()).await.expect("the job server");
            let port = server.local_addr().port();
            let endpoint = Endpoint::new("127.0.0.1", port);
            let options = WorkerOptions { concurrency: AT_ONCE, ..WorkerOptions::new("bench", KIND) };
            let worker = Worker::new(&[endpoint], &Transport::plain(), options).expect("a worker");
            let store = self.store.clone();
            let handler = move |job: Job, _: Progress| {
                let store = store.clone();
                async move {
                    let payload = String::from_utf8_lossy(&job.payload).into_owned();
                    let accepted = accept(&store, format!("{payload:?}")).await;
                    accepted.map_or(JobResult::Fail, |accepted| JobResult::Complete(accepted.id().into()))
                }
            };
            let mut state = worker.state();
            let tasks = [tokio::spawn(server.run(ended.clone())), tokio::spawn(worker.run(handler, ended))];
            state.wait_for(|state| !state.connected.is_empty()).await.expect("the worker registers");
            (port, tasks)
        });
        let (port, tasks) = tasks;
        Door { accepting: self, port, end, tasks }
    }

    pub fn close(self) {
        self.runtime.block_on(self.store.close());
    }
}

impl Door<'_> {
    pub fn target<'p>(&self, payload: &'p [u8]) -> Target<'p> {
        Target { port: self.port, function: KIND, payload }
    }

    pub fn close(self) {
        self.end.send_replace(true);
        for task in self.tasks {
            self.accepting.runtime.block_on(task).expect("job server and worker end well");
        }
    }
}
