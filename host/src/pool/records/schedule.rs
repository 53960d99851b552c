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

    /// Wants the stocks to be counted before it is time: whoever runs the schedules does so at its next look. A count that is under
    /// way is not repeated for it.
    pub fn count_early(tx: &mut Transaction<'_>) -> Result<(), Error> {
        let now = tx.now();
        tx.execute(
            "UPDATE pool_schedules SET next_at = $1 WHERE schedule = $2 AND next_at > $1",
            &[&now, &Self::COUNT],
        )?;
        Ok(())
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
