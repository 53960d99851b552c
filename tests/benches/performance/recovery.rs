//! A daemon that was killed at work, on a store with 100,000 jobs: from its start to the first job done.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use capstan::store::{
    Error, Settings, Store,
    jobs::{self, Claim, NewJob},
};
use capstan_tests::process::Process;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::{
    measure::{Round, Series},
    pool,
    report::{Report, Row, median_and_longest, time},
    start::start,
};

const STORED: usize = 100_000;
/// Jobs that wait where the others are finished.
const WAITING: usize = 50_000;
const KILLS: usize = 5;
/// How long the daemon works before it is killed.
const WORKS: Duration = Duration::from_millis(500);
/// Rows that are written in one change.
const AT_ONCE: usize = 1000;
/// The aim: nanoseconds to the first job done.
const AIM: f64 = 1e9;
/// A kind that the daemon does: each asks the cloud's driver for a node, which the cloud does not have, and is done.
const KIND: &str = "cloud.delete_node";

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "A daemon killed at work",
        &format!(
            "Roles lbaas and pool-manager, store in SQLite, jobs of the kind {KIND}, which ask the dummy cloud for a node that is not there and are done. The \
             daemon works for {} ms, is killed with SIGKILL and started again, {KILLS} times; by the times that the jobs in the store carry, in \
             milliseconds.",
            WORKS.as_millis()
        ),
    );
    for (what, finished, waiting) in [("wait", 0, STORED), ("are finished", STORED, WAITING)] {
        let site = pool::site(0, "", "");
        let file = site.path().join("state/capstan.db");
        Runtime::new().expect("a runtime").block_on(fill(&file, finished, waiting));
        let mut done = Series::new(format!("{STORED} jobs {what}: to the first job done"));
        let mut ready = Series::new(format!("{STORED} jobs {what}: to READY"));
        let mut rates = Vec::new();
        let (mut first, mut readies) = (Round::new(), Round::new());
        let mut daemon = start(&site).0;
        for _ in 0..KILLS {
            rates.push(works(&file));
            end(daemon);
            let before = last_done(&file);
            let begun_at = pool::now();
            let (next, nanoseconds) = start(&site);
            readies.push(nanoseconds);
            first.push(
                u64::try_from(first_done(&file, before) - begun_at).expect("it is done after the start") * 1_000_000,
            );
            daemon = next;
        }
        end(daemon);
        done.add(first);
        ready.add(readies);
        report.series(&[&done, &ready]);
        let others = if finished == 0 { String::new() } else { format!(", {WAITING} wait") };
        let rate = rates.iter().sum::<f64>() / rates.len() as f64;
        report.row(Row {
            what: format!("killed and started again, {STORED} jobs {what}{others}: to the first job done"),
            ours: median_and_longest(&done),
            beside: format!("READY {}", time(ready.p50())),
            relation: format!("{rate:.0} jobs/s before the kill"),
            aim: "1 s".into(),
            kept: Some(done.max() <= AIM),
        });
    }
}

/// Ends it as a crash would.
fn end(mut daemon: Process) {
    daemon.signal(Signal::KILL);
    daemon.wait(Duration::from_secs(5));
}

/// Makes a store with jobs, to which the daemon brings the tables of its other rooms.
async fn fill(file: &Path, finished: usize, waiting: usize) {
    let store = Store::open(&Settings::sqlite(file), &[]).await.expect("the store opens");
    for (left, finish) in [(finished, true), (waiting, false)] {
        for begin in (0..left).step_by(AT_ONCE) {
            let specs: Vec<String> = (begin..left.min(begin + AT_ONCE))
                .map(|number| format!("{{\"cloud\":\"default\",\"node\":\"gone-{number}\"}}"))
                .collect();
            let written = store.write(move |tx| {
                for spec in &specs {
                    jobs::accept(tx, &NewJob::new(KIND, spec.clone()))?;
                }
                if finish {
                    let (owner, kinds) = ("bench".to_owned(), vec![KIND.to_owned()]);
                    let limit = u32::try_from(specs.len()).unwrap_or(u32::MAX);
                    for job in jobs::claim(tx, &Claim { owner, kinds, limit, lease: Duration::from_secs(60) })? {
                        jobs::complete(tx, &job.lease(), Some("null"))?;
                    }
                }
                Ok::<_, Error>(())
            });
            written.await.expect("the jobs are stored");
        }
    }
    store.close().await;
}

fn look<T: rusqlite::types::FromSql>(file: &Path, sql: &str, after: i64) -> T {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the store is read");
    connection.busy_timeout(Duration::from_secs(5)).expect("a time limit");
    connection.query_row(sql, [after], |row| row.get(0)).expect("an answer of the store")
}

/// When the last job was done.
fn last_done(file: &Path) -> i64 {
    look(file, "SELECT COALESCE(MAX(finished_at), 0) FROM jobs WHERE finished_at > ?1", 0)
}

/// When the first job after a time was done, which is waited for.
fn first_done(file: &Path, after: i64) -> i64 {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let found: Option<i64> = look(file, "SELECT MIN(finished_at) FROM jobs WHERE finished_at > ?1", after);
        if let Some(found) = found {
            return found;
        }
        assert!(Instant::now() < end, "no job is done");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Lets the daemon work; answers how many jobs it did in a second.
fn works(file: &Path) -> f64 {
    let (begun, since) = (Instant::now(), pool::now());
    thread::sleep(WORKS);
    let number: i64 = look(file, "SELECT COUNT(*) FROM jobs WHERE finished_at > ?1", since);
    number as f64 / begun.elapsed().as_secs_f64()
}
