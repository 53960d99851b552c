//! The tables themselves, for backup, restore and check.

use super::{Error, Transaction, transaction::Dialect};

/// All our tables, in the order in which they were made: one refers to those before it.
pub(super) fn names(transaction: &mut Transaction<'_>) -> Result<Vec<String>, Error> {
    let sql = match transaction.dialect() {
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' ORDER BY rowid"
        }
        Dialect::Postgres => {
            "SELECT CAST(relname AS TEXT) AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = \
             (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) ORDER BY oid"
        }
    };
    transaction.query(sql, &[])?.iter().map(|row| row.get("name")).collect()
}

/// The columns of a table, as `SELECT *` gives them.
pub(super) fn columns(transaction: &mut Transaction<'_>, table: &str) -> Result<Vec<String>, Error> {
    let rows = match transaction.dialect() {
        Dialect::Sqlite => transaction.query("SELECT name FROM pragma_table_info($1) ORDER BY cid", &[&table])?,
        Dialect::Postgres => transaction.query(
            "SELECT CAST(column_name AS TEXT) AS name FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position",
            &[&table],
        )?,
    };
    rows.iter().map(|row| row.get("name")).collect()
}

/// A name that can stand in quotes in a statement.
pub(super) fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// How many rows a table has.
pub(super) fn count(transaction: &mut Transaction<'_>, table: &str) -> Result<u64, Error> {
    let row = transaction.query_one(&format!("SELECT COUNT(*) AS number FROM \"{table}\""), &[])?;
    row.map_or(Ok(0), |row| row.get("number"))
}

/// Foreign keys are looked at when the transaction ends, those that allow it.
pub(super) fn defer_foreign_keys(transaction: &mut Transaction<'_>) -> Result<(), Error> {
    transaction.batch(match transaction.dialect() {
        Dialect::Sqlite => "PRAGMA defer_foreign_keys = ON",
        Dialect::Postgres => "SET CONSTRAINTS ALL DEFERRED",
    })
}

/// Rows that are numbered as they come go on from the highest number that is there. SQLite does so by itself.
pub(super) fn set_sequences(transaction: &mut Transaction<'_>) -> Result<(), Error> {
    if transaction.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let numbered = transaction.query(
        "SELECT CAST(table_name AS TEXT) AS name, CAST(column_name AS TEXT) AS counter FROM information_schema.columns \
         WHERE table_schema = current_schema() AND is_identity = 'YES'",
        &[],
    )?;
    for row in numbered {
        let (table, column): (String, String) = (row.get("name")?, row.get("counter")?);
        transaction.query(
            &format!(
                "SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'), MAX(\"{column}\")) AS at FROM \"{table}\" \
                 HAVING MAX(\"{column}\") IS NOT NULL"
            ),
            &[],
        )?;
    }
    Ok(())
}

/// Removes all tables with what is in them, from PostgreSQL: a file is replaced as a whole.
pub(super) fn drop_all(transaction: &mut Transaction<'_>) -> Result<(), Error> {
    for table in names(transaction)?.iter().rev() {
        transaction.batch(&format!("DROP TABLE \"{table}\" CASCADE"))?;
    }
    Ok(())
}

/// Whether nothing was ever kept here: what a store has from its first opening does not count.
pub(super) fn are_empty(transaction: &mut Transaction<'_>) -> Result<bool, Error> {
    for table in
        names(transaction)?.iter().filter(|table| !["meta", super::migrations::TABLE].contains(&table.as_str()))
    {
        if count(transaction, table)? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
