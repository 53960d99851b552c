//! The thread that writes, with group commit.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{failure, lock::Lock, place::Place, session::Statements};
use crate::store::{
    Clock, Error, Transaction,
    handle::Reports,
    health::Way,
    work::{Boxed, Queue, Ran},
};

/// Callers that share one commit at most: the first of them waits for the work of all.
const GROUP: usize = 256;

pub(super) struct Writer {
    connection: Connection,
    place: Place,
    path: PathBuf,
    clock: Clock,
    queue: Queue,
    reports: Reports,
    /// Goes when the last change is on disk.
    _lock: Lock,
}

/// What is undone when one change of a group is not to be kept.
#[derive(Clone, Copy, PartialEq)]
enum Undo {
    /// That change: each has a savepoint of its own, which costs a copy of every page that the change touches.
    Each,
    /// The group, which is run again.
    Group,
}

/// A group that was not stored, and why.
enum Broken {
    /// The store failed.
    By(Error),
    /// One of its changes is not to be kept, and had no savepoint.
    Undone,
}

impl Writer {
    pub fn new(
        connection: Connection,
        place: Place,
        path: &Path,
        clock: Clock,
        queue: Queue,
        reports: Reports,
        lock: Lock,
    ) -> Self {
        Self { connection, place, path: path.to_owned(), clock, queue, reports, _lock: lock }
    }

    pub fn run(mut self) {
        loop {
            let group = self.queue.take_group(GROUP);
            if group.is_empty() {
                // A reader may close last, and cannot bring what is in the log into the database.
                let _done_at_the_next_start =
                    self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                return;
            }
            self.store(group);
        }
    }

    fn store(&mut self, mut group: Vec<Boxed>) {
        // What is damaged gets worse with each change.
        let damage = self.reports.pulse.damage();
        let stored = match damage {
            Some(damage) => Err(Broken::By(damage)),
            None => self.in_place(&mut group),
        };
        match stored {
            Ok(brings_jobs) => {
                group.into_iter().for_each(|work| work.answer(Ok(())));
                if brings_jobs {
                    self.reports.arrivals.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
                }
            }
            // One alone that is not to be kept: nothing is.
            Err(Broken::Undone) => group.into_iter().for_each(|work| work.answer(Ok(()))),
            // One too many for a disk that is nearly full must not cost the others their change.
            Err(Broken::By(error)) if group.len() > 1 && !matches!(error, Error::Corrupt(_)) => {
                group.into_iter().for_each(|work| self.store(vec![work]));
            }
            Err(Broken::By(error)) => {
                self.reports.pulse.failed(Way::Write, &error);
                if let Error::Full(_) = error {
                    self.place.is_full();
                    self.reports.pulse.failed(Way::Place, &error);
                }
                group.into_iter().for_each(|work| work.answer(Err(error.clone())));
            }
        }
    }

    /// Stores a group in the files that were opened, if they still are those that the next start will find.
    fn in_place(&self, group: &mut [Boxed]) -> Result<bool, Broken> {
        self.place.is_as_opened().map_err(Broken::By)?;
        let stored = match self.together(group, Undo::Group) {
            Err(Broken::Undone) if group.len() > 1 => self.together(group, Undo::Each),
            stored => stored,
        }?;
        self.place.is_as_opened().map_err(Broken::By)?;
        Ok(stored)
    }

    /// Runs all of a group in one transaction and commits it, which syncs. Says whether there are new jobs.
    fn together(&self, group: &mut [Boxed], undo: Undo) -> Result<bool, Broken> {
        if !self.connection.is_autocommit() {
            self.sql("ROLLBACK")?;
        }
        self.sql("BEGIN IMMEDIATE")?;
        let ran = self.each(group, undo).and_then(|ran| self.sql("COMMIT").map(|()| ran));
        match ran {
            Ok(brings_jobs) => {
                self.reports.pulse.well(Way::Write);
                Ok(brings_jobs)
            }
            Err(broken) => {
                // Some failures have rolled back already; what still is open is ended before the next group.
                if !self.connection.is_autocommit() {
                    let _tried_again = self.sql("ROLLBACK");
                }
                Err(broken)
            }
        }
    }

    fn each(&self, group: &mut [Boxed], undo: Undo) -> Result<bool, Broken> {
        let now = self.clock.now();
        let mut brings_jobs = false;
        for work in group {
            if undo == Undo::Each {
                self.sql("SAVEPOINT change")?;
            }
            let mut session = Statements::new(&self.connection, &self.path);
            match work.run(Transaction::new(&mut session, now, true)) {
                Ran::Keep(brings) => brings_jobs |= brings,
                Ran::Undo(None) if undo == Undo::Group => return Err(Broken::Undone),
                Ran::Undo(None) => self.sql("ROLLBACK TO change")?,
                Ran::Undo(Some(error)) | Ran::Rerun(error) => return Err(Broken::By(error)),
            }
            if undo == Undo::Each {
                self.sql("RELEASE change")?;
            }
        }
        Ok(brings_jobs)
    }

    fn sql(&self, sql: &str) -> Result<(), Broken> {
        let run = self.connection.prepare_cached(sql).and_then(|mut statement| statement.raw_execute());
        run.map(drop).map_err(|error| Broken::By(failure::of(&error, &self.path)))
    }
}
