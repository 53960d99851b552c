//! When each schedule ran last, so that any daemon of the store can tell.

use serde::Serialize;

use crate::store::{Error, Row, Transaction};

/// A schedule. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScheduleRecord {
    /// Its name: `check_nodes`, `failed_nodes`, `reconcile` or `health`.
    pub schedule: String,
    /// When the last run began.
    pub began_at: i64,
    /// When it ended.
    pub ended_at: i64,
    /// When the next one is to begin.
    pub next_at: i64,
    /// Why the last run failed; empty when it did not.
    pub last_error: String,
}

impl ScheduleRecord {
    /// All schedules that ever ran.
    pub fn all(tx: &mut Transaction<'_>) -> Result<Vec<Self>, Error> {
        let sql = "SELECT schedule, began_at, ended_at, next_at, last_error FROM pool_schedules ORDER BY schedule";
        tx.query(sql, &[])?.iter().map(Self::from_row).collect()
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

    /// Writes it.
    pub fn save(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO pool_schedules (schedule, began_at, ended_at, next_at, last_error) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (schedule) DO UPDATE SET began_at = excluded.began_at, ended_at = excluded.ended_at, \
             next_at = excluded.next_at, last_error = excluded.last_error",
            &[&self.schedule, &self.began_at, &self.ended_at, &self.next_at, &self.last_error],
        )?;
        Ok(())
    }
}
