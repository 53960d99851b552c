//! SQLite alone: one thread, one connection, groups of rows in one transaction each.

use std::{path::Path, time::Instant};

use capstan::store::{Settings, Store, jobs::NewJob};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::store::{KIND, spec};
use crate::{
    measure::{Round, nanoseconds},
    scratch,
};

/// The store's own, as `host/src/store/sqlite/connection.rs` sets them.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864; \
     PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; \
     PRAGMA cache_size = -16384";
const INSERT: &str = "INSERT INTO jobs (id, kind, unique_key, unique_while_live, object, spec, generation, state, attempt, \
     max_attempts, fence, next_run, deadline, cancel_requested, request_id, created_at) \
     VALUES (?1, ?2, NULL, 0, NULL, ?3, 0, 'queued', 0, 5, 0, ?4, NULL, 0, NULL, ?4) ON CONFLICT DO NOTHING";

/// A database with the store's tables.
pub(super) struct Bare {
    connection: Connection,
    _folder: TempDir,
}

impl Bare {
    pub fn open() -> Self {
        let folder = scratch::folder();
        let file = folder.path().join("bare.db");
        with_tables(&file);
        let connection = Connection::open(&file).expect("the database opens");
        connection.execute_batch(PRAGMAS).expect("the pragmas are set");
        Self { connection, _folder: folder }
    }

    /// Stores `jobs` rows, `group` in each commit; the time of a row is that of its group.
    pub fn round(&mut self, jobs: usize, group: usize) -> (Round, f64) {
        let rows: Vec<(String, String)> = (0..jobs).map(|_| (NewJob::new(KIND, "").id, spec())).collect();
        let begun = Instant::now();
        let mut times = Round::with_capacity(jobs);
        for rows in rows.chunks(group.max(1)) {
            let begun = Instant::now();
            self.store(rows).expect("the rows are stored");
            times.extend(std::iter::repeat_n(nanoseconds(begun.elapsed()), rows.len()));
        }
        let rate = jobs as f64 / begun.elapsed().as_secs_f64();
        (times, rate)
    }

    fn store(&self, rows: &[(String, String)]) -> Result<(), rusqlite::Error> {
        let run = |sql: &str| self.connection.prepare_cached(sql)?.execute([]);
        run("BEGIN IMMEDIATE")?;
        let now = 1_800_000_000_000_i64;
        for (id, spec) in rows {
            self.connection.prepare_cached(INSERT)?.execute(params![id, KIND, spec, now])?;
        }
        run("COMMIT").map(drop)
    }
}

fn with_tables(file: &Path) {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&Settings::sqlite(file), &[]).await.expect("the store makes its tables");
        store.close().await;
    });
}
