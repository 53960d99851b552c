//! A connection with everything set that the store relies on.

use std::{collections::HashMap, sync::Arc};

use postgres::{Client, SimpleQueryMessage, Statement};

use super::{Server, failure, session::Statements};
use crate::store::{Error, Transaction, transaction::Failed};

/// The schema of our tables: a name of its own lets the database be shared, and tells a backup what is ours.
const SCHEMA: &str = "capstan";

/// Statements that are kept prepared; beyond them all are prepared anew.
const STATEMENTS: usize = 300;

/// The oldest PostgreSQL that knows all of the dialect (12: `MATERIALIZED`), as the server tells it.
const OLDEST: i32 = 120_000;

/// What is set on each connection. `remote_apply` stays where the server has it: it is stricter than `on`. Locks of a daemon that
/// hangs end by themselves.
const SETTINGS: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply'); \
     SET search_path TO capstan; SET lock_timeout TO '10s'; SET idle_in_transaction_session_timeout TO '60s'; \
     SET client_min_messages TO warning";

const FACTS: &str = "SELECT current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync, \
     CAST(current_setting('server_version_num') AS INTEGER) AS version, current_setting('server_encoding') AS encoding";

/// The advisory lock that all connections share, and a restore has alone: "present", as bytes.
const PRESENCE: i64 = 0x0070_7265_7365_6e74;

/// How often it is looked for other daemons, and how long after each look the server may miss one that has just been killed.
const LOOKS: usize = 5;
const PAUSE: &str = "SELECT pg_sleep(0.05)";

/// Whether no other connection of any daemon holds the lock of presence.
pub(super) fn is_the_only_one(transaction: &mut Transaction<'_>) -> Result<bool, Error> {
    for _ in 0..LOOKS {
        let other = transaction.query_one(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND (CAST(classid AS BIGINT) << 32) + CAST(objid AS BIGINT) = $1 AND pid <> pg_backend_pid() LIMIT 1",
            &[&PRESENCE],
        )?;
        if other.is_none() {
            return Ok(true);
        }
        transaction.execute(PAUSE, &[])?;
    }
    Ok(false)
}

pub(super) struct Connection {
    client: Client,
    prepared: HashMap<String, Statement>,
    place: Arc<str>,
}

impl Connection {
    /// Connects, and holds the server against what the store relies on.
    pub fn open(server: &Server) -> Result<Self, Error> {
        let mut client = server.connect()?;
        let place: Arc<str> = server.place().into();
        let failed = |error: &postgres::Error| failure::of(error, &place).error;
        client.batch_execute(SETTINGS).map_err(|error| failed(&error))?;
        let facts = client.query_one(FACTS, &[]).map_err(|error| failed(&error))?;
        let (commit, fsync): (String, String) = (facts.get("synchronous_commit"), facts.get("fsync"));
        let present = client.query_one(&format!("SELECT pg_try_advisory_lock_shared({PRESENCE})"), &[]);
        let is_present: bool = present.map_err(|error| failed(&error))?.get(0);
        let (version, encoding): (i32, String) = (facts.get("version"), facts.get("encoding"));
        let refused =
            |found: String, remedy: &str| Err(Error::Unavailable(format!("{place}: found {found}; {remedy}")));
        if version < OLDEST {
            return refused(format!("version {}", version / 10_000), "expected 12 or newer: upgrade the server");
        }
        if fsync != "on" {
            return refused("fsync = off".to_owned(), "what it acknowledges would not be on disk: set fsync = on");
        }
        if commit != "on" && commit != "remote_apply" {
            return refused(format!("synchronous_commit = {commit}"), "expected on: see why the role may not set it");
        }
        if encoding != "UTF8" {
            return refused(format!("the encoding {encoding}"), "expected UTF8: createdb -E UTF8 -T template0");
        }
        if !is_present {
            return refused("a restore that goes on".to_owned(), "wait for its end");
        }
        Ok(Self { client, prepared: HashMap::new(), place })
    }

    /// The server has gone, or has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether a daemon was ever started on this database.
    pub fn has_schema(&mut self) -> Result<bool, Error> {
        let there = self.client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&SCHEMA]);
        there.map(|row| row.is_some()).map_err(|error| self.failed(&error).error)
    }

    /// Every connection of every daemon holds the lock of presence together with the others; this one wants it for itself until it
    /// closes.
    pub fn expect_to_be_the_only_one(&mut self) -> Result<(), Error> {
        // A daemon that has just ended is given a moment to be missed by the server.
        let sql = format!(
            "SELECT pg_advisory_unlock_shared({PRESENCE}); SET lock_timeout TO '2s'; SELECT pg_advisory_lock({PRESENCE}); \
             SET lock_timeout TO '10s'"
        );
        self.batch(&sql).map_err(|error| match error {
            Error::Contended(_) => {
                Error::Locked(format!("another capstan uses {}; stop every daemon that does", self.place))
            }
            other => other,
        })
    }

    /// Makes the schema, unless it is there: that needs a right which a daemon should not have for ever.
    pub fn make_schema(&mut self) -> Result<(), Error> {
        if self.has_schema()? {
            return Ok(());
        }
        match self.client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}")) {
            // Another daemon may have done the same in this moment.
            Err(error) if !self.has_schema()? => Err(Error::Unavailable(format!(
                "{}: {}; let the role make the schema {SCHEMA} (GRANT CREATE ON DATABASE), or make it for the role",
                self.place,
                failure::words(&error)
            ))),
            _ => Ok(()),
        }
    }

    /// Begins a transaction, and tells the server's time in milliseconds.
    pub fn begin(&mut self, mode: &str) -> Result<i64, Failed> {
        let sql = format!("BEGIN {mode}; SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)");
        let answers = self.client.simple_query(&sql).map_err(|error| self.failed(&error))?;
        let time = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        time.ok_or_else(|| Error::Statement("the server did not tell its time".to_owned()).into())
    }

    /// Commits, which syncs. An error that does not come from the commit itself leaves open what became of it.
    pub fn commit(&mut self) -> Result<(), Failed> {
        self.client.batch_execute("COMMIT").map_err(|error| {
            let failed = self.failed(&error);
            match failed.error {
                Error::Constraint { .. } | Error::Contended(_) | Error::Full(_) => failed,
                other => Error::Unconfirmed(other.to_string()).into(),
            }
        })
    }

    /// Undoes what was begun. Where that fails the connection is not used again.
    pub fn rollback(&mut self) {
        if self.client.batch_execute("ROLLBACK").is_err() {
            tracing::debug!(place = %self.place, "a connection was lost before its transaction was undone");
        }
    }

    pub fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).map_err(|error| self.failed(&error).error)
    }

    /// The statements of the open transaction.
    pub fn session(&mut self) -> Statements<'_> {
        if self.prepared.len() >= STATEMENTS {
            self.prepared.clear();
        }
        Statements::new(&mut self.client, &mut self.prepared, &self.place)
    }

    /// Forgets plans whose tables a newer daemon has changed.
    pub fn forget_outdated_plans(&mut self, error: &Error) {
        if matches!(error, Error::Contended(text) if text.contains(failure::OUTDATED_PLAN)) {
            self.prepared.clear();
        }
    }

    fn failed(&self, error: &postgres::Error) -> Failed {
        failure::of(error, &self.place)
    }
}
