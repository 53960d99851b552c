//! Bringing a backup back.

use std::{
    fmt::Write as _,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use super::format::{Header, Line, Lines, from_json};
use crate::store::{
    Bind, Error, Migration, Restored, Settings, Transaction, Value, access, leases, meta, migrations, tables,
};

/// Values that one statement takes at most.
const VALUES: usize = 2000;

/// A backup that was brought back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Brought {
    /// Its first line.
    pub header: Header,
    /// How many rows were in it.
    pub rows: u64,
    /// What the store now says of itself.
    pub restored: Restored,
    /// Where the file is now that was there before, for SQLite.
    pub set_aside: Option<PathBuf>,
}

/// Fills an empty store with a backup, or takes the place of what is there if `force` is set. No daemon may use the store meanwhile.
/// All of it happens or nothing; a SQLite file that was there before is kept beside the new one.
///
/// # Errors
/// The store's; it is not empty, or in use; the backup is damaged, or from a newer program.
pub fn bring_back(settings: &Settings, rooms: &[Migration], file: &Path, force: bool) -> Result<Brought, Error> {
    let place = file.display().to_string();
    let opened = File::open(file).map_err(|error| Error::Invalid(format!("{place} cannot be read: {error}")))?;
    let steps = migrations::in_order(rooms)?;
    let mut lines = Lines::new(BufReader::new(opened), place);
    let header = lines.header()?;
    let mut brought = None;
    let set_aside = access::replace(settings, force, &mut |transaction| {
        brought = Some(load(transaction, &steps, &header, &mut lines)?);
        Ok(())
    })?;
    let (rows, restored) = brought.ok_or(Error::Closed)?;
    Ok(Brought { header, rows, restored, set_aside })
}

/// Into a store without tables.
fn load(
    transaction: &mut Transaction<'_>,
    steps: &[Migration],
    header: &Header,
    lines: &mut Lines<BufReader<File>>,
) -> Result<(u64, Restored), Error> {
    if let Some(error) = migrations::unknown(&header.schema, steps) {
        return Err(error);
    }
    // The rows fit the tables as they were; they come forward together.
    migrations::migrate(transaction, steps, Some(&header.schema))?;
    tables::defer_foreign_keys(transaction)?;
    let mut rows = 0;
    let mut table: Option<Filling> = None;
    while let Some(line) = lines.next(rows)? {
        match line {
            Line::Table { table: name, columns } => {
                if let Some(mut full) = table.take() {
                    full.flush(transaction)?;
                }
                let known = tables::names(transaction)?.contains(&name)
                    && columns.iter().all(|column| tables::is_plain(column))
                    && !columns.is_empty();
                if !known {
                    return Err(lines.broken("a table that this version of the tables does not have"));
                }
                table = Some(Filling::new(name, columns));
            }
            Line::Row(values) => {
                let Some(table) = table.as_mut().filter(|table| table.columns.len() == values.len()) else {
                    return Err(lines.broken("a row that fits no table"));
                };
                rows += 1;
                for value in values {
                    table.values.push(from_json(value).ok_or_else(|| lines.broken("a value of no known form"))?);
                }
                if table.is_full() {
                    table.flush(transaction)?;
                }
            }
            Line::End { .. } => return Err(lines.broken("an end before the end")),
        }
    }
    if let Some(mut last) = table {
        last.flush(transaction)?;
    }
    tables::set_sequences(transaction)?;
    migrations::migrate(transaction, steps, None)?;
    leases::release_all(transaction)?;
    let restored = Restored { at: transaction.now(), backup_of: header.taken_at };
    meta::mark_restored(transaction, restored)?;
    Ok((rows, restored))
}

/// A table on its way back, some rows at a time.
struct Filling {
    name: String,
    columns: Vec<String>,
    values: Vec<Value>,
}

impl Filling {
    fn new(name: String, columns: Vec<String>) -> Self {
        Self { name, columns, values: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.values.len() + self.columns.len() > VALUES
    }

    fn flush(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        if self.values.is_empty() {
            return Ok(());
        }
        let columns: Vec<_> = self.columns.iter().map(|column| format!("\"{column}\"")).collect();
        let mut sql = format!("INSERT INTO \"{}\" ({}) VALUES ", self.name, columns.join(", "));
        for number in 0..self.values.len() {
            let opening = if number == 0 { "(" } else { ", (" };
            let before = if number % self.columns.len() == 0 { opening } else { ", " };
            let behind = if (number + 1) % self.columns.len() == 0 { ")" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(sql, "{before}${}{behind}", number + 1);
        }
        let values: Vec<&dyn Bind> = self.values.iter().map(|value| value as &dyn Bind).collect();
        transaction.execute(&sql, &values)?;
        self.values.clear();
        Ok(())
    }
}
