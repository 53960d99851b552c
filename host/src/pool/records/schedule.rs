//! When each schedule ran last, so that any daemon of the store can tell.

use serde::Serialize;

use crate::{
    http::millis,
    store::{Error, Row, Transaction},
};

/// A schedule. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScheduleRecord {
    /// Its name: `check_nodes`, `failed_nodes`, `reconcile` or `health`.
    pub schedule: String,
    /// When the last run began.
    #[serde(serialize_with = "millis")]
    pub began_at: i64,
    /// When it ended.
    #[serde(serialize_with = "millis")]
    pub ended_at: i64,
    /// When the next one is to begin.
    #[serde(serialize_with = "millis")]
    pub next_at: i64,
    /// Why the last run failed; empty when it did not.
    pub last_error: String,
}

impl ScheduleRecord {
    /// The schedule that counts the stocks and has built what is missing.
    pub const COUNT: &'static str = "check_nodes";

    /// All schedules that ever ran.
    pub fn all(tx: &mut Transaction<'_>) -> Result<Vec<Self>, Error> {
        let sql = "SELECT schedule, began_at, ended_at, next_at, last_error FROM pool_schedules ORDER BY schedule";
        tx.query(sql, &[])?.iter().map(Self::from_row).collect()
    }

    /// The schedule of this name; none before its first run.
    pub fn find(tx: &mut Transaction<'_>, schedule: &str) -> Result<Option<Self>, Error> {
        let sql = "SELECT schedule, began_at, ended_at, next_at, last_error FROM pool_schedules WHERE schedule = $1";
        tx.query_one(sql, &[&schedule])?.as_ref().map(Self::from_row).transpose()
    }

    /// Wants the stocks to be counted before it is time: whoever runs the schedules does so at its next look, and once more if they
    /// are being counted just now.
    pub fn count_early(tx: &mut Transaction<'_>) -> Result<(), Error> {
        let now = tx.now();
        tx.execute("UPDATE pool_schedules SET next_at = $1 WHERE schedule = $2", &[&now, &Self::COUNT])?;
        Ok(())
    }

    /// Writes down a run that began when the record was as `before`. What was wanted meanwhile stays wanted.
    pub fn ran(mut self, tx: &mut Transaction<'_>, before: Option<i64>) -> Result<(), Error> {
        let wanted = Self::find(tx, &self.schedule)?.map(|record| record.next_at);
        if let Some(wanted) = wanted.filter(|_| wanted != before) {
            self.next_at = wanted.min(self.next_at);
        }
        self.save(tx)
    }

    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            schedule: row.get("schedule")?,
            began_at: row.get("began_at")?,
            ended_at: row.get("ended_at")?,
            next_at: row.get("next_at")?,
            last_error: row.get("last_error")?,
        })
    }

    fn save(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO pool_schedules (schedule, began_at, ended_at, next_at, last_error) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (schedule) DO UPDATE SET began_at = excluded.began_at, ended_at = excluded.ended_at, \
             next_at = excluded.next_at, last_error = excluded.last_error",
            &[&self.schedule, &self.began_at, &self.ended_at, &self.next_at, &self.last_error],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

    use std::sync::{Arc, atomic::AtomicI64};

    use super::*;
    use crate::{
        pool::records::MIGRATIONS,
        store::{Clock, Settings, Store},
    };

    async fn next_at(store: &Store) -> i64 {
        store.read(|tx| ScheduleRecord::find(tx, ScheduleRecord::COUNT)).await.unwrap().unwrap().next_at
    }

    async fn ran(store: &Store, before: Option<i64>) {
        let record = ScheduleRecord {
            schedule: ScheduleRecord::COUNT.to_owned(),
            next_at: 1_000_000,
            ..ScheduleRecord::default()
        };
        store.write(move |tx| record.clone().ran(tx, before)).await.unwrap();
    }

    #[tokio::test]
    async fn a_count_that_is_wanted_while_one_goes_on_stays_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(10));
        let mut settings = Settings::sqlite(folder.path().join("capstan.db"));
        settings.clock = Clock::Manual(Arc::clone(&clock));
        let store = Store::open(&settings, MIGRATIONS).await.unwrap();
        ran(&store, None).await;
        assert_eq!(next_at(&store).await, 1_000_000, "a first run");

        store.write(ScheduleRecord::count_early).await.unwrap();
        assert_eq!(next_at(&store).await, 10);
        ran(&store, Some(10)).await;
        assert_eq!(next_at(&store).await, 1_000_000, "what was wanted was done");

        store.write(ScheduleRecord::count_early).await.unwrap();
        // Another run begins, and while it goes on somebody wants one.
        clock.store(20, std::sync::atomic::Ordering::SeqCst);
        store.write(ScheduleRecord::count_early).await.unwrap();
        ran(&store, Some(10)).await;
        assert_eq!(next_at(&store).await, 20);
    }
}
