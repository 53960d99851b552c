//! Jobs on a real PostgreSQL: accepted, and done by the runner; the same on SQLite beside it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use capstan::store::{
    Error, Settings, Store,
    jobs::{self, NewJob, State},
    runner::{Handler, Next, Runner, Running},
};
use serde_json::Value;
use tokio::{runtime::Runtime, sync::watch, task::JoinSet};

use crate::{
    measure::median,
    postgres::Database,
    report::{Report, Row},
    scratch,
};

const ROUNDS: usize = 3;
/// Clients, and jobs of each.
const LOADS: [(usize, usize); 2] = [(1, 400), (64, 40)];
/// Jobs that run at one time.
const AT_ONCE: usize = 64;
const KIND: &str = "bench";

/// A job without work.
#[derive(Clone, Default)]
struct Empty(Arc<AtomicUsize>);

impl Handler for Empty {
    fn run(&self, _: Running) -> std::pin::Pin<Box<dyn Future<Output = Result<Next, Error>> + Send + '_>> {
        self.0.fetch_add(1, Ordering::AcqRel);
        Box::pin(async { Ok(Next::Done(Value::Null)) })
    }
}

/// Jobs accepted in a second, by so many clients one after the other.
async fn accepted(store: &Store, clients: usize, jobs: usize) -> f64 {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..jobs {
                let new = NewJob::new(KIND, format!("\"{}\"", "x".repeat(198)));
                store.write(move |tx| jobs::accept(tx, &new)).await.expect("the job is stored");
            }
        });
    }
    tasks.join_all().await;
    (clients * jobs) as f64 / begun.elapsed().as_secs_f64()
}

/// Jobs claimed, run and completed in a second, of all that wait; and how often one was begun.
async fn done(store: &Store) -> (f64, f64) {
    let queued = ended(store, State::Queued).await;
    let before = ended(store, State::Done).await;
    let (end, ends) = watch::channel(false);
    let handler = Empty::default();
    let begun = Instant::now();
    let runner = Runner::new(store.clone()).with(KIND, AT_ONCE, handler.clone());
    let runner = tokio::spawn(runner.run(ends, Duration::from_secs(10)));
    while ended(store, State::Done).await < before + queued {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    end.send_replace(true);
    runner.await.expect("the runner ends well");
    (queued as f64 / took, handler.0.load(Ordering::Acquire) as f64 / queued as f64)
}

async fn ended(store: &Store, state: State) -> u64 {
    let counts = store.read(jobs::count).await.expect("the jobs are counted");
    counts.get(&(KIND.to_owned(), state)).copied().unwrap_or_default()
}

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "Jobs on PostgreSQL",
        &format!(
            "The store on a PostgreSQL server on loopback with its {} connections, {ROUNDS} alternating rounds with the store on SQLite. Jobs of 200 \
             bytes are accepted at `Store::write` by 1 and by 64 clients; then a runner does all that wait, {AT_ONCE} at a time, with a handler \
             that does nothing.",
            Settings::postgres("").connections
        ),
    );
    let database = Database::new();
    let setting = |name: &str| database.sql(&format!("SHOW {name}"));
    report.table(&[
        ["server", "fsync", "synchronous_commit of the server", "of the store"].map(String::from),
        [
            format!("PostgreSQL {}", setting("server_version")),
            setting("fsync"),
            setting("synchronous_commit"),
            "on or remote_apply, or it does not open".to_owned(),
        ],
    ]);
    let (runtime, folder) = (Runtime::new().expect("a runtime"), scratch::folder());
    let open = |settings: Settings| runtime.block_on(Store::open(&settings, &[])).expect("the store opens");
    let stores = [open(Settings::postgres(database.url())), open(Settings::sqlite(folder.path().join("capstan.db")))];
    let mut rates: [[Vec<f64>; 3]; 2] = Default::default();
    for round in 0..ROUNDS {
        for place in 0..stores.len() {
            let which = if round % 2 == 0 { place } else { stores.len() - 1 - place };
            let (store, [one, many, runs]) = (&stores[which], &mut rates[which]);
            runtime.block_on(async {
                for (rates, (clients, jobs)) in [one, many].into_iter().zip(LOADS) {
                    rates.push(accepted(store, clients, jobs).await);
                }
                let (rate, begun) = done(store).await;
                assert!(begun < 1.01, "a job was begun {begun:.2} times");
                runs.push(rate);
            });
        }
    }
    for store in stores {
        runtime.block_on(store.close());
    }
    let [postgres, sqlite] = rates;
    let what = ["accepted, 1 client", "accepted, 64 clients", "done by the runner, 64 at a time"];
    for (place, what) in what.into_iter().enumerate() {
        let spread = |rates: &[f64]| {
            let (low, high) =
                rates.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
            format!("{:.0} jobs/s ({low:.0} to {high:.0})", median(rates))
        };
        report.row(Row {
            what: format!("jobs on PostgreSQL, {what}"),
            ours: spread(&postgres[place]),
            beside: format!("the store on SQLite {}", spread(&sqlite[place])),
            relation: String::new(),
            aim: String::new(),
            kept: None,
        });
    }
}
