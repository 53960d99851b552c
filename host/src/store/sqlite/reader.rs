//! A thread that reads.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::Connection;

use super::{failure, session::Statements};
use crate::store::{
    Clock, Error, Transaction,
    health::{Pulse, Way},
    work::{Boxed, Queue, Ran},
};

pub(super) struct Reader {
    connection: Connection,
    path: PathBuf,
    clock: Clock,
    queue: Arc<Queue>,
    pulse: Pulse,
}

impl Reader {
    pub fn new(connection: Connection, path: &Path, clock: Clock, queue: Arc<Queue>, pulse: Pulse) -> Self {
        Self { connection, path: path.to_owned(), clock, queue, pulse }
    }

    pub fn run(self) {
        while let Some(mut work) = self.queue.take() {
            let ended = self.one(&mut work);
            if let Err(error) = &ended {
                self.pulse.failed(Way::Read, error);
            }
            work.answer(ended);
        }
    }

    /// All statements of a closure see one state of the store.
    fn one(&self, work: &mut Boxed) -> Result<(), Error> {
        let failed = |error: rusqlite::Error| failure::of(&error, &self.path);
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(failed)?;
        }
        self.connection.execute_batch("BEGIN").map_err(failed)?;
        let mut session = Statements::new(&self.connection, &self.path);
        let ran = work.run(Transaction::new(&mut session, self.clock.now(), false));
        if let Ran::Undo(Some(error)) | Ran::Rerun(error) = ran {
            self.pulse.failed(Way::Read, &error);
        }
        // Nothing was changed; what ends badly here is ended before the next one begins.
        let _tried_again = self.connection.execute_batch("ROLLBACK");
        Ok(())
    }
}
