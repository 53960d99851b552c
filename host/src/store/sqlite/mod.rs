//! The store in one SQLite file.
//!
//! One thread writes: it takes what callers have handed in meanwhile into one transaction and answers all of them after the one
//! commit that brought it to the disk. Where one of them is not to be kept it does so again, each in a savepoint of its own. A few
//! threads read, each on a state of its own.

mod connection;
mod exchange;
mod failure;
mod lock;
mod place;
mod reader;
mod session;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use super::{
    Backend, Clock, Error, Migration, Transaction, access,
    handle::{Lanes, Opened, Reports},
    leases, meta, migrations, tables,
    work::Queue,
};
use session::Statements;

/// Threads that read. Reads are short; more would only wait for the same two or four cores.
const READERS: usize = 3;

/// Opens the file, makes it where there is none, and starts the threads.
pub(super) fn open(path: &Path, clock: &Clock, rooms: &[Migration], reports: Reports) -> Result<Opened, Error> {
    let steps = migrations::in_order(rooms)?;
    connection::refuse_folder(path)?;
    let lock = lock::Lock::take(path)?;
    connection::create(path)?;
    let connection = connection::open(path)?;
    let facts = prepare(&connection, path, clock, &steps)?;
    let place = place::Place::of(path)?;

    let (writes, queue) = Queue::new();
    let writer = writer::Writer::new(connection, place.clone(), path, clock.clone(), queue, reports.clone(), lock);
    let mut threads = vec![start("store-writer", move || writer.run())?];
    let (reads, queue) = Queue::new();
    let queue = Arc::new(queue);
    for _ in 0..READERS {
        let connection = connection::open_reader(path)?;
        let reader = reader::Reader::new(connection, path, clock.clone(), Arc::clone(&queue), reports.pulse.clone());
        threads.push(start("store-reader", move || reader.run())?);
    }
    let look = Box::new(move || place.look());
    Ok(Opened { lanes: Lanes { reads, writes }, threads, facts, backend: Backend::Sqlite, look })
}

/// Runs a closure on a file that is there, whoever else uses it.
pub(super) fn look<T>(
    path: &Path,
    clock: &Clock,
    closure: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    if !path.exists() {
        return Err(Error::NotFound(format!("store at {}; a daemon makes it when it starts", path.display())));
    }
    connection::refuse_folder(path)?;
    let connection = connection::open_reader(path)?;
    connection.execute_batch("BEGIN").map_err(|error| failure::of(&error, path))?;
    let mut session = Statements::new(&connection, path);
    closure(&mut Transaction::new(&mut session, clock.now(), false))
}

/// Fills a new file, which then takes the place of the one that is there; that one is kept beside it.
pub(super) fn replace(
    path: &Path,
    clock: &Clock,
    force: bool,
    fill: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), Error>,
) -> Result<Option<PathBuf>, Error> {
    connection::refuse_folder(path)?;
    let _lock = lock::Lock::take(path)?;
    if path.exists() && !force {
        let is_empty = look(path, clock, tables::are_empty);
        match is_empty {
            Ok(true) => {}
            Ok(false) => return Err(access::not_empty(&path.display().to_string())),
            Err(error) => {
                return Err(Error::Invalid(format!(
                    "{} cannot be looked into ({error}); give --force to put the backup in its place, the file is kept beside it",
                    path.display()
                )));
            }
        }
    }
    let fresh = exchange::named(path, ".restoring");
    exchange::remove(&fresh)?;
    connection::create(&fresh)?;
    let filled = fill_file(&fresh, clock, fill);
    let placed = filled.and_then(|()| exchange::put_in_place(&fresh, path, clock.now()));
    if placed.is_err() {
        let _of_no_use = exchange::remove(&fresh);
    }
    placed
}

fn fill_file(
    path: &Path,
    clock: &Clock,
    fill: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |error: rusqlite::Error| failure::of(&error, path);
    let connection = connection::open(path)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let mut session = Statements::new(&connection, path);
    fill(&mut Transaction::new(&mut session, clock.now(), true))?;
    connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed)?;
    // The last connection that closes removes the write-ahead log, so that the file is whole by itself.
    connection.close().map_err(|(_, error)| failed(error))
}

fn prepare(
    connection: &rusqlite::Connection,
    path: &Path,
    clock: &Clock,
    steps: &[Migration],
) -> Result<meta::Facts, Error> {
    let failed = |error: &rusqlite::Error| failure::of(error, path);
    connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| failed(&error))?;
    let mut session = Statements::new(connection, path);
    let mut transaction = Transaction::new(&mut session, clock.now(), true);
    let done = migrations::migrate(&mut transaction, steps, None)
        // The file's lock is ours.
        .and_then(|()| leases::forget_holders(&mut transaction))
        .and_then(|()| meta::facts(&mut transaction));
    match done {
        Ok(facts) => {
            connection.execute_batch("COMMIT").map_err(|error| failed(&error))?;
            Ok(facts)
        }
        Err(error) => {
            // The connection is dropped with the error, which undoes what a rollback would.
            let _undone_by_closing = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, Error> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| Error::Unavailable(format!("no thread is to be had: {error}")))
}
