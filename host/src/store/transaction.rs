//! What a closure works on.

use super::{Bind, Error, Parameter, Row};

/// One open transaction of a database. It is begun and ended by whoever made the session.
pub(super) trait Session {
    fn dialect(&self) -> Dialect;

    fn query(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failed>;

    fn execute(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, Failed>;

    /// Hands over row after row, so that a whole table need not fit into memory.
    fn each(&mut self, sql: &str, take: &mut dyn FnMut(Row) -> Result<(), Error>) -> Result<(), Failed>;

    /// Several statements without parameters.
    fn batch(&mut self, sql: &str) -> Result<(), Failed>;
}

/// A statement that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub error: Error,
    /// The same closure may succeed when it is run again.
    pub rerun: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, rerun: false }
    }
}

/// Whose SQL is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// One transaction. All that is done in it is stored together or not at all.
pub struct Transaction<'s> {
    session: &'s mut dyn Session,
    now: i64,
    may_write: bool,
    failed: Option<Failed>,
    brings_jobs: bool,
}

impl<'s> Transaction<'s> {
    pub(super) fn new(session: &'s mut dyn Session, now: i64, may_write: bool) -> Self {
        Self { session, now, may_write, failed: None, brings_jobs: false }
    }

    /// The time of this transaction, in milliseconds since 1970; by one clock for all daemons that share the store.
    #[must_use]
    pub const fn now(&self) -> i64 {
        self.now
    }

    /// All rows that a statement gives. `INSERT`, `UPDATE` and `DELETE` with `RETURNING` are asked this way too.
    ///
    /// # Errors
    /// The statement failed. The transaction is over: what follows fails as well, and nothing of it is stored.
    pub fn query(&mut self, sql: &str, parameters: &[&dyn Bind]) -> Result<Vec<Row>, Error> {
        self.statement(parameters, |session, parameters| session.query(sql, parameters))
    }

    /// The row that a statement gives, if it gives one.
    ///
    /// # Errors
    /// As [`query`](Self::query); or there are several rows.
    pub fn query_one(&mut self, sql: &str, parameters: &[&dyn Bind]) -> Result<Option<Row>, Error> {
        let mut rows = self.query(sql, parameters)?;
        if rows.len() > 1 {
            return Err(Error::Invalid(format!("found {} rows; expected one at most from: {sql}", rows.len())));
        }
        Ok(rows.pop())
    }

    /// Runs a statement and says how many rows it changed.
    ///
    /// # Errors
    /// As [`query`](Self::query); or this is a read.
    pub fn execute(&mut self, sql: &str, parameters: &[&dyn Bind]) -> Result<u64, Error> {
        if !self.may_write {
            return Err(Error::Invalid(format!("a change inside a read: {sql}")));
        }
        self.statement(parameters, |session, parameters| session.execute(sql, parameters))
    }

    /// To end a `SELECT` with whose rows are to be changed by nobody else until this transaction ends; rows that somebody else
    /// has so are left out. Empty on SQLite, which has one writer at a time.
    #[must_use]
    pub fn for_update_skip_locked(&self) -> &'static str {
        match self.session.dialect() {
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
            Dialect::Sqlite => "",
        }
    }

    /// To end a `SELECT` with whose rows are to be changed by nobody else until this transaction ends; waits for who has them.
    /// Empty on SQLite, which has one writer at a time.
    #[must_use]
    pub fn for_update(&self) -> &'static str {
        match self.session.dialect() {
            Dialect::Postgres => " FOR UPDATE",
            Dialect::Sqlite => "",
        }
    }

    /// Wakes whoever waits for jobs, once this transaction is stored.
    pub(super) fn brings_jobs(&mut self) {
        self.brings_jobs = true;
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.session.dialect()
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.statement(&[], |session, _| session.batch(sql))
    }

    pub(super) fn each(&mut self, sql: &str, take: &mut dyn FnMut(Row) -> Result<(), Error>) -> Result<(), Error> {
        self.statement(&[], |session, _| session.each(sql, take))
    }

    /// What the closure left behind: the first failure, and whether there are new jobs.
    pub(super) fn into_end(self) -> (Option<Failed>, bool) {
        (self.failed, self.brings_jobs)
    }

    // On PostgreSQL a failed statement ends the transaction; SQLite would go on. What the closures see is the same on both.
    fn statement<T>(
        &mut self,
        parameters: &[&dyn Bind],
        run: impl FnOnce(&mut dyn Session, &[Parameter<'_>]) -> Result<T, Failed>,
    ) -> Result<T, Error> {
        if let Some(failed) = &self.failed {
            return Err(failed.error.clone());
        }
        let parameters: Vec<_> = parameters.iter().map(|parameter| parameter.bind()).collect();
        let checked = parameters.iter().try_for_each(|parameter| parameter.check()).map_err(Failed::from);
        checked.and_then(|()| run(self.session, &parameters)).map_err(|failed| {
            let error = failed.error.clone();
            self.failed = Some(failed);
            error
        })
    }
}
