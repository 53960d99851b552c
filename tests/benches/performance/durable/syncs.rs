//! How both sides bring a job to the disk: what their files say of themselves, and how often they sync, counted by strace.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rusqlite::{Connection, OpenFlags};

use super::{ACCEPT, Accepting, PAYLOAD, Queue};
use crate::{report::Report, rivals::Rivals, scratch};

/// Jobs whose syncs are counted.
const JOBS: usize = 50;

/// Prints the table.
pub(super) fn tell(report: &Report, rivals: &Rivals, accepting: &Accepting) {
    let folder = scratch::folder();
    let ours = (counted(JOBS, folder.path()) - counted(0, folder.path())) / JOBS as f64;
    let trace = folder.path().join("gearmand.trace");
    let queue = Queue::traced(&trace);
    rivals.gearman_submitter(&queue.target(&PAYLOAD), 1, 1, JOBS);
    let before = syncs(&trace);
    rivals.gearman_submitter(&queue.target(&PAYLOAD), 1, 1, JOBS);
    let theirs = (syncs(&trace) - before) / (JOBS + 1) as f64;
    let row = |name: &str, file: &Path, synchronous: &str, syncs: f64| {
        [name.to_owned(), journal_mode(file), synchronous.to_owned(), format!("{syncs:.1}"), file_system(file)]
    };
    report.table(&[
        ["", "journal_mode", "synchronous", "syncs per job, 1 client", "file system"].map(String::from),
        row("store", &accepting.file(), "FULL; it opens with nothing else", ours),
        row("gearmand", &queue.file(), "sets nothing: FULL, SQLite's default", theirs),
    ]);
}

/// Syncs of a process that accepts so many jobs, one after the other.
fn counted(jobs: usize, folder: &Path) -> f64 {
    let trace = folder.join(format!("{jobs}.trace"));
    let program = std::env::current_exe().expect("this program");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(program)
        .args([ACCEPT, &jobs.to_string()])
        .stdin(Stdio::null())
        .status()
        .expect("strace runs; `.ci/setup bench` installs it");
    assert!(status.success(), "accepting jobs under strace ended with {status}");
    syncs(&trace)
}

fn syncs(trace: &Path) -> f64 {
    let text = fs::read_to_string(trace).expect("what strace wrote");
    // A call that another thread's call cuts in two has a second line.
    text.lines().filter(|line| line.contains("sync(")).count() as f64
}

/// What the file says; a rollback journal is not written down in it, it is what a file is read with that says nothing.
fn journal_mode(file: &Path) -> String {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens");
    connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("its journal mode")
}

fn file_system(file: &Path) -> String {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(file).output().expect("stat runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
