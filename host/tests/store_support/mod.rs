//! A place for a store, on each backend, under a clock that stands where a test puts it.
#![allow(dead_code, reason = "each test file uses its own part of this module")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this module is part of tests")]

pub mod postgres;
pub mod small_disk;
pub mod trace;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use capstan::store::{Clock, Error, Health, Migration, Settings, Store};
use postgres::Database;

/// Makes two tests of each function: one with a place on each backend.
#[allow(unused_macros, reason = "each test file uses its own part of this module")]
macro_rules! on_both_backends {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::sqlite()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::postgres()).await;
            })*
        }
    };
}

/// The bound of everything that is awaited.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Where the clock of each test begins.
pub const START: i64 = 1_800_000_000_000;

/// A room's table, as the rooms above bring theirs.
pub const THINGS: Migration = Migration {
    room: "things",
    version: 1,
    sql: "CREATE TABLE things (name TEXT PRIMARY KEY, number BIGINT CHECK (number >= 0), note TEXT, content BYTEA); \
          CREATE TABLE parts (number {sequence}, thing TEXT NOT NULL REFERENCES things (name), \
          above BIGINT REFERENCES parts (number) DEFERRABLE INITIALLY DEFERRED)",
};

/// A database of one test.
pub struct Place {
    settings: Settings,
    clock: Arc<AtomicI64>,
    folder: tempfile::TempDir,
    database: Option<Database>,
}

impl Place {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::sqlite(folder.path().join("capstan.db"));
        Self::new(settings, folder, None)
    }

    pub fn postgres() -> Self {
        let database = Database::new();
        Self::new(Settings::postgres(database.url()), tempfile::tempdir().unwrap(), Some(database))
    }

    fn new(mut settings: Settings, folder: tempfile::TempDir, database: Option<Database>) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        settings.clock = Clock::Manual(Arc::clone(&clock));
        Self { settings, clock, folder, database }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("capstan.db")
    }

    pub fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    pub fn is_postgres(&self) -> bool {
        self.database.is_some()
    }

    pub async fn try_open(&self, migrations: &[Migration]) -> Result<Store, Error> {
        within("the store opens", Store::open(&self.settings, migrations)).await
    }

    pub async fn open(&self) -> Store {
        self.try_open(&[THINGS]).await.unwrap()
    }

    /// Puts the clock forward.
    pub fn pass(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// Awaits with a bound.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Waits until the store's health is as wished for, and gives it.
pub async fn health(store: &Store, wanted: impl FnMut(&Health) -> bool) -> Health {
    let mut health = store.health();
    within("the health changes", health.wait_for(wanted)).await.unwrap().clone()
}
