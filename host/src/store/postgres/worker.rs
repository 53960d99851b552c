//! A thread with a connection of its own.

use std::{sync::Arc, thread, time::Duration};

use super::{Connection, Server};
use crate::{
    backoff::Backoff,
    store::{
        Clock, Error, Transaction,
        handle::Reports,
        health::Way,
        transaction::Failed,
        work::{Boxed, Mode, Queue, Ran},
    },
};

/// What closures run under.
const fn isolation(mode: Mode) -> &'static str {
    match mode {
        Mode::Locking => "ISOLATION LEVEL READ COMMITTED READ WRITE",
        // One state of the store, and nothing that others would have to wait for.
        Mode::Read => "ISOLATION LEVEL REPEATABLE READ READ ONLY",
        Mode::Serial => "ISOLATION LEVEL SERIALIZABLE READ WRITE",
    }
}

/// How often a closure is run again because another transaction came in between.
const RUNS: u32 = 40;

/// The longest wait before that.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

pub(super) struct Worker {
    server: Arc<Server>,
    connection: Option<Connection>,
    clock: Clock,
    queue: Arc<Queue>,
    reports: Reports,
}

impl Worker {
    pub fn new(
        server: Arc<Server>,
        connection: Option<Connection>,
        clock: Clock,
        queue: Arc<Queue>,
        reports: Reports,
    ) -> Self {
        Self { server, connection, clock, queue, reports }
    }

    pub fn run(mut self) {
        while let Some(mut work) = self.queue.take() {
            let ended = self.until_it_ends(&mut work);
            let way = if work.mode() == Mode::Read { Way::Read } else { Way::Write };
            match &ended {
                Ok(_) => self.reports.pulse.well(way),
                Err(error) => self.reports.pulse.failed(way, error),
            }
            if ended.as_ref().is_ok_and(|brings_jobs| *brings_jobs) {
                self.reports.arrivals.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
            }
            work.answer(ended.map(drop));
        }
    }

    /// Runs a closure until it is stored or has failed. Says whether there are new jobs.
    fn until_it_ends(&mut self, work: &mut Boxed) -> Result<bool, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(1), LONGEST_WAIT);
        let mut may_reconnect = true;
        let mut runs = 1;
        loop {
            let Failed { error, rerun } = match self.once(work) {
                Ok(brings_jobs) => return Ok(brings_jobs),
                Err(failed) => failed,
            };
            if rerun && runs < RUNS {
                runs += 1;
                thread::sleep(backoff.wait());
                continue;
            }
            // Whatever it is, another connection is better; a server that takes no more changes has handed over to another one.
            if matches!(error, Error::ReadOnly(_) | Error::Unavailable(_) | Error::Unconfirmed(_)) {
                self.connection = None;
            }
            // The server may only have ended this connection, and what was begun on it is undone.
            if may_reconnect && matches!(error, Error::Unavailable(_)) {
                may_reconnect = false;
                continue;
            }
            return Err(error);
        }
    }

    fn once(&mut self, work: &mut Boxed) -> Result<bool, Failed> {
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_closed() => connection,
            gone => gone.insert(Connection::open(&self.server)?),
        };
        let mode = work.mode();
        let now = connection.begin(isolation(mode))?;
        let now = self.clock.manual().unwrap_or(now);
        let ran = {
            let mut session = connection.session();
            work.run(Transaction::new(&mut session, now, mode != Mode::Read))
        };
        match ran {
            Ran::Keep(brings_jobs) => connection.commit().map(|()| brings_jobs),
            Ran::Undo(None) => {
                connection.rollback();
                Ok(false)
            }
            Ran::Undo(Some(error)) => {
                connection.rollback();
                Err(error.into())
            }
            Ran::Rerun(error) => {
                connection.rollback();
                connection.forget_outdated_plans(&error);
                Err(Failed { error, rerun: true })
            }
        }
    }
}
