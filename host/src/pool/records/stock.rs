//! What is remembered of a stock between two checks.

use serde::Serialize;

use crate::{
    http::{millis, optional_millis},
    store::{Error, Row, Transaction},
};

/// A stock. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StockRecord {
    /// Its name.
    pub stock: String,
    /// Why nothing is built, if somebody or too many losses stopped it; `pool resume` goes on.
    pub paused: Option<String>,
    /// Builds that failed in a row.
    pub failures: u32,
    /// Nothing is built before.
    #[serde(serialize_with = "millis")]
    pub not_before: i64,
    /// What was last in the way.
    pub last_error: String,
    /// Spare devices by the last count, which with one stock is the API server's.
    #[serde(rename = "spare_devices")]
    pub free: Option<u64>,
    /// When it was last checked.
    #[serde(serialize_with = "optional_millis")]
    pub checked_at: Option<i64>,
    /// Losses up to this time do not count any more: somebody has looked at them.
    #[serde(serialize_with = "millis")]
    pub losses_forgiven: i64,
}

impl StockRecord {
    /// The record of a stock; one that was never written is as new.
    pub fn find(tx: &mut Transaction<'_>, stock: &str) -> Result<Self, Error> {
        let row = tx.query_one(
            "SELECT stock, paused, failures, not_before, last_error, free, checked_at, losses_forgiven FROM pool_stocks \
             WHERE stock = $1",
            &[&stock],
        )?;
        row.map_or_else(|| Ok(Self { stock: stock.to_owned(), ..Self::default() }), |row| Self::from_row(&row))
    }

    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            stock: row.get("stock")?,
            paused: row.get("paused")?,
            failures: row.get("failures")?,
            not_before: row.get("not_before")?,
            last_error: row.get("last_error")?,
            free: row.get("free")?,
            checked_at: row.get("checked_at")?,
            losses_forgiven: row.get("losses_forgiven")?,
        })
    }

    /// Writes it.
    pub fn save(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        let free = self.free.map(|free| i64::try_from(free).unwrap_or(i64::MAX));
        tx.execute(
            "INSERT INTO pool_stocks (stock, paused, failures, not_before, last_error, free, checked_at, losses_forgiven) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (stock) DO UPDATE SET paused = excluded.paused, failures = excluded.failures, \
             not_before = excluded.not_before, last_error = excluded.last_error, free = excluded.free, \
             checked_at = excluded.checked_at, losses_forgiven = excluded.losses_forgiven",
            &[
                &self.stock, &self.paused, &self.failures, &self.not_before, &self.last_error, &free, &self.checked_at,
                &self.losses_forgiven,
            ],
        )?;
        Ok(())
    }
}
