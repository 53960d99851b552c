//! Looking a store over: is it whole, and what is in it. These calls block, and are not made on a thread of a runtime.

use super::{
    Error, Location, Migration, Restored, Settings, Transaction, access, meta, migrations, tables, transaction::Dialect,
};

/// Faults of one kind that are told of at most.
const FAULTS: usize = 20;

/// Something that always holds, for `capstan store check`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Invariant {
    /// Whose tables.
    pub room: &'static str,
    /// What is wrong with the objects that `sql` finds.
    pub fault: &'static str,
    /// Gives a row with a text `object` for each object at fault.
    pub sql: &'static str,
}

/// What always holds for the store's own tables, beside what the tables themselves see to.
const OWN: &[Invariant] = &[
    Invariant {
        room: "store",
        fault: "a job that was begun more often than it may be",
        sql: "SELECT id AS object FROM jobs WHERE attempt > max_attempts OR attempt < 0",
    },
    Invariant {
        room: "store",
        fault: "a job that runs and was never claimed",
        sql: "SELECT id AS object FROM jobs WHERE state = 'running' AND fence < 1",
    },
    Invariant {
        room: "store",
        fault: "a lease that was never taken",
        sql: "SELECT name AS object FROM leases WHERE fence < 1",
    },
];

/// What a check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// One line for each fault; none if the store is whole.
    pub faults: Vec<String>,
    /// Rows that were read.
    pub rows: u64,
}

/// A table and how many rows it has.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // the names say it
pub struct Table {
    pub name: String,
    pub rows: u64,
}

/// What is in a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// The deployment's id.
    pub deployment: String,
    /// Whether it came out of a backup.
    pub restored: Option<Restored>,
    /// By room, the version of its tables.
    pub schema: Vec<(String, u32)>,
    /// Every table.
    pub tables: Vec<Table>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Reads all of a store and holds it against what must hold; a daemon may go on working meanwhile.
///
/// # Errors
/// The store cannot be looked into at all. What is wrong inside is told in the answer.
pub fn check(settings: &Settings, rooms: &[Migration], invariants: &[Invariant]) -> Result<Checked, Error> {
    let steps = migrations::in_order(rooms)?;
    access::look(settings, |transaction| {
        let mut checked = Checked::default();
        checked.faults.extend(damage(transaction)?);
        if !checked.faults.is_empty() {
            return Ok(checked);
        }
        let done = migrations::check(transaction, &steps)?;
        meta::deployment(transaction)?;
        for table in tables::names(transaction)? {
            transaction.each(&format!("SELECT * FROM \"{table}\""), &mut |_| {
                checked.rows += 1;
                Ok(())
            })?;
        }
        // Tables that are still to come forward are not yet what the invariants speak of.
        let is_current = |invariant: &&Invariant| {
            let last = steps.iter().filter(|step| step.room == invariant.room).map(|step| step.version).max();
            done.get(invariant.room).copied() == last
        };
        for invariant in OWN.iter().chain(invariants).filter(is_current) {
            for row in transaction.query(invariant.sql, &[])?.iter().take(FAULTS) {
                let object: String = row.get("object")?;
                checked.faults.push(format!("{} {object}: {}", invariant.room, invariant.fault));
            }
        }
        Ok(checked)
    })
}

/// What is in a store; a daemon may go on working meanwhile.
///
/// # Errors
/// The store cannot be looked into, or comes from a newer program.
pub fn facts(settings: &Settings, rooms: &[Migration]) -> Result<Facts, Error> {
    let steps = migrations::in_order(rooms)?;
    access::look(settings, |transaction| {
        let schema = migrations::check(transaction, &steps)?.into_iter().collect();
        let mut all = Vec::new();
        for name in tables::names(transaction)? {
            let rows = tables::count(transaction, &name)?;
            all.push(Table { name, rows });
        }
        Ok(Facts {
            deployment: meta::deployment(transaction)?,
            restored: meta::restored(transaction)?,
            schema,
            tables: all,
            bytes: bytes(settings, transaction)?,
        })
    })
}

/// What the database itself says of its state. PostgreSQL says it when rows are read, if it was made with checksums.
fn damage(transaction: &mut Transaction<'_>) -> Result<Vec<String>, Error> {
    if transaction.dialect() == Dialect::Postgres {
        return Ok(Vec::new());
    }
    let mut faults = Vec::new();
    for row in transaction.query(&format!("PRAGMA integrity_check({FAULTS})"), &[])? {
        let said: String = row.get("integrity_check")?;
        faults.extend((said != "ok").then_some(said));
    }
    if faults.is_empty() {
        for row in transaction.query("PRAGMA foreign_key_check", &[])?.iter().take(FAULTS) {
            let (table, parent): (String, String) = (row.get("table")?, row.get("parent")?);
            faults.push(format!("a row of {table} refers to one of {parent} that is not there"));
        }
    }
    Ok(faults)
}

fn bytes(settings: &Settings, transaction: &mut Transaction<'_>) -> Result<u64, Error> {
    match &settings.location {
        Location::Postgres { .. } => {
            let row = transaction.query_one("SELECT pg_database_size(current_database()) AS bytes", &[])?;
            row.map_or(Ok(0), |row| row.get("bytes"))
        }
        Location::Sqlite(path) => {
            let size = |ending: &str| {
                let mut name = path.as_os_str().to_owned();
                name.push(ending);
                std::fs::metadata(name).map_or(0, |file| file.len())
            };
            Ok(size("") + size("-wal"))
        }
    }
}
