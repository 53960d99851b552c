//! The store in PostgreSQL, shared by several daemons.
//!
//! A few threads with a connection each take what callers hand in. Closures run under SERIALIZABLE, so that they see what they
//! would on SQLite, where one runs after the other; where two meet, PostgreSQL refuses one of them, and it is run again.

mod connection;
mod failure;
mod server;
mod session;
mod worker;

use std::{sync::Arc, thread};

use super::{
    Backend, Clock, Error, Location, Migration, Transaction, access,
    handle::{Lanes, Opened, Reports},
    leases, meta, migrations, tables,
    work::Queue,
};
use connection::Connection;
use server::Server;

/// Anything that no other program takes for its advisory lock: "capstan", as bytes.
const MIGRATION_LOCK: i64 = 0x0063_6170_7374_616e;

/// Opens the database, makes the schema and its tables where there are none, and starts the threads.
pub(super) fn open(
    location: &Location,
    clock: &Clock,
    rooms: &[Migration],
    reports: Reports,
    connections: u32,
) -> Result<Opened, Error> {
    let steps = migrations::in_order(rooms)?;
    let server = Arc::new(Server::new(location)?);
    let mut connection = Connection::open(&server)?;
    let facts = connection.alone(clock, |transaction| {
        migrations::migrate(transaction, &steps, None)?;
        // One that starts meanwhile is present already and does not get here before this is committed.
        if connection::is_the_only_one(transaction)? {
            leases::forget_holders(transaction)?;
        }
        meta::facts(transaction)
    })?;

    let (sender, queue) = Queue::new();
    let queue = Arc::new(queue);
    let mut threads = Vec::new();
    let mut first = Some(connection);
    for _ in 0..connections.max(1) {
        let worker =
            worker::Worker::new(Arc::clone(&server), first.take(), clock.clone(), Arc::clone(&queue), reports.clone());
        let thread = thread::Builder::new().name("store-postgres".to_owned()).spawn(move || worker.run());
        threads.push(thread.map_err(|error| Error::Unavailable(format!("no thread is to be had: {error}")))?);
    }
    Ok(Opened {
        lanes: Lanes { reads: sender.clone(), writes: sender },
        threads,
        facts,
        backend: Backend::Postgres,
        look: Box::new(|| Ok(())),
    })
}

/// Runs a closure on a database that is there, whoever else uses it.
pub(super) fn look<T>(
    location: &Location,
    clock: &Clock,
    closure: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let server = Server::new(location)?;
    let mut connection = Connection::open(&server)?;
    if !connection.has_schema()? {
        return Err(Error::NotFound(format!("store in {}; a daemon makes it when it starts", server.place())));
    }
    let now = connection.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY").map_err(|failed| failed.error)?;
    let now = clock.manual().unwrap_or(now);
    let mut session = connection.session();
    closure(&mut Transaction::new(&mut session, now, false))
}

/// Fills a database without tables, while no daemon uses it.
pub(super) fn replace(
    location: &Location,
    clock: &Clock,
    force: bool,
    fill: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let server = Server::new(location)?;
    let mut connection = Connection::open(&server)?;
    connection.expect_to_be_the_only_one()?;
    connection.alone(clock, |transaction| {
        if !force && !tables::are_empty(transaction)? {
            return Err(access::not_empty(server.place()));
        }
        tables::drop_all(transaction)?;
        fill(transaction)
    })
}

impl Connection {
    /// Runs a change of the tables themselves, while no other daemon does the same.
    pub(super) fn alone<T>(
        &mut self,
        clock: &Clock,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.make_schema()?;
        // Each statement sees what was committed before it: also what the daemon before us did while we waited for the lock.
        let now = self.begin("ISOLATION LEVEL READ COMMITTED READ WRITE").map_err(|failed| failed.error)?;
        let now = clock.manual().unwrap_or(now);
        self.batch(&format!("SET LOCAL lock_timeout TO '300s'; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))?;
        let done = {
            let mut session = self.session();
            change(&mut Transaction::new(&mut session, now, true))
        };
        match done {
            Ok(value) => {
                self.commit().map_err(|failed| failed.error)?;
                Ok(value)
            }
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }
}
