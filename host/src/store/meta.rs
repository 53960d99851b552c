//! What is known of the store as a whole: the deployment's id, and whether it came out of a backup.

use super::{Error, Transaction};

/// This store came out of a backup. What happened between the two times is known to the clouds alone: reconcile before
/// anything is done, and delete no node that is younger than the backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restored {
    /// When it was brought back, in milliseconds since 1970.
    pub at: i64,
    /// When the backup was taken, in milliseconds since 1970.
    pub backup_of: i64,
}

/// What is read once, when the store is opened.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub deployment: String,
    pub restored: Option<Restored>,
}

const DEPLOYMENT: &str = "deployment";
const RESTORED_AT: &str = "restored_at";
const BACKUP_OF: &str = "backup_of";
const TOUCHED_AT: &str = "touched_at";

/// Reads the facts of a store whose tables are up to date, and makes the deployment's id if there is none.
pub(super) fn facts(transaction: &mut Transaction<'_>) -> Result<Facts, Error> {
    let fresh = uuid::Uuid::new_v4().to_string();
    transaction.execute(
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        &[&DEPLOYMENT, &fresh],
    )?;
    let deployment = get(transaction, DEPLOYMENT)?.unwrap_or(fresh);
    Ok(Facts { deployment, restored: restored(transaction)? })
}

/// The deployment's id of a store that was opened before.
pub(super) fn deployment(transaction: &mut Transaction<'_>) -> Result<String, Error> {
    get(transaction, DEPLOYMENT)?.ok_or_else(|| Error::NotFound("deployment id in the store".to_owned()))
}

/// Whether the store came out of a backup.
pub(super) fn restored(transaction: &mut Transaction<'_>) -> Result<Option<Restored>, Error> {
    let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let (at, backup_of) = (time(get(transaction, RESTORED_AT)?), time(get(transaction, BACKUP_OF)?));
    Ok(at.zip(backup_of).map(|(at, backup_of)| Restored { at, backup_of }))
}

/// Writes down that the store came out of a backup.
pub(super) fn mark_restored(transaction: &mut Transaction<'_>, restored: Restored) -> Result<(), Error> {
    set(transaction, RESTORED_AT, &restored.at.to_string())?;
    set(transaction, BACKUP_OF, &restored.backup_of.to_string())
}

/// Writes a little, to see whether writing works.
pub(super) fn touch(transaction: &mut Transaction<'_>) -> Result<(), Error> {
    let now = transaction.now().to_string();
    set(transaction, TOUCHED_AT, &now)
}

/// Reads a little, to see whether reading works.
pub(super) fn glance(transaction: &mut Transaction<'_>) -> Result<(), Error> {
    get(transaction, DEPLOYMENT).map(drop)
}

fn get(transaction: &mut Transaction<'_>, name: &str) -> Result<Option<String>, Error> {
    let row = transaction.query_one("SELECT value FROM meta WHERE name = $1", &[&name])?;
    row.map(|row| row.get("value")).transpose()
}

fn set(transaction: &mut Transaction<'_>, name: &str, value: &str) -> Result<(), Error> {
    transaction.execute(
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[&name, &value],
    )?;
    Ok(())
}
