//! When a cloud was last compared with the rows.

use serde::Serialize;

use crate::{
    http::optional_millis,
    store::{Error, Row, Transaction},
};

/// A cloud. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CloudRecord {
    /// Its name in the farm.
    pub cloud: String,
    /// When its whole list was last compared.
    #[serde(serialize_with = "optional_millis")]
    pub reconciled_at: Option<i64>,
    /// How many nodes of ours it listed.
    pub listed: Option<u64>,
    /// Why the last comparison failed; empty when it did not.
    pub last_error: String,
}

impl CloudRecord {
    /// The record of a cloud; one that was never written is as new.
    pub fn find(tx: &mut Transaction<'_>, cloud: &str) -> Result<Self, Error> {
        let row = tx.query_one(
            "SELECT cloud, reconciled_at, listed, last_error FROM pool_clouds WHERE cloud = $1",
            &[&cloud],
        )?;
        row.map_or_else(|| Ok(Self { cloud: cloud.to_owned(), ..Self::default() }), |row| Self::from_row(&row))
    }

    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            cloud: row.get("cloud")?,
            reconciled_at: row.get("reconciled_at")?,
            listed: row.get("listed")?,
            last_error: row.get("last_error")?,
        })
    }

    /// Writes it.
    pub fn save(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        let listed = self.listed.map(|listed| i64::try_from(listed).unwrap_or(i64::MAX));
        tx.execute(
            "INSERT INTO pool_clouds (cloud, reconciled_at, listed, last_error) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (cloud) DO UPDATE SET reconciled_at = excluded.reconciled_at, listed = excluded.listed, \
             last_error = excluded.last_error",
            &[&self.cloud, &self.reconciled_at, &listed, &self.last_error],
        )?;
        Ok(())
    }
}
