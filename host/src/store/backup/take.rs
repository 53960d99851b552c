//! Taking a backup while daemons work.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::format::{FORM, Header, Line, to_json};
use crate::store::{Error, Migration, Settings, Transaction, access, meta, migrations, tables};

/// A backup that was taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// Its first line.
    pub header: Header,
    /// How many rows are in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

/// Writes what one state of the store holds to a new file, which appears only when it is whole and on disk.
///
/// # Errors
/// The store's; there is a file of that name already, or it cannot be written.
pub fn take(settings: &Settings, rooms: &[Migration], file: &Path) -> Result<Taken, Error> {
    let failed = |error: io::Error| {
        let place = file.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Invalid(format!("{place} is there already; name a new file")),
            io::ErrorKind::StorageFull => Error::Invalid(format!("{place}: no room left; nothing was kept")),
            _ => Error::Invalid(format!("{place} cannot be written: {error}")),
        }
    };
    if file.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let part = part(file);
    // What is in it is as secret as the store.
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(failed)?;
    let taken = access::look(settings, |transaction| {
        let mut out = Out { to: BufWriter::new(&out), hash: Sha256::new(), bytes: 0, failed: &failed };
        write(transaction, rooms, &mut out)
    });
    let kept = taken.and_then(|taken| keep(&out, &part, file).map_err(failed).map(|()| taken));
    if kept.is_err() {
        let _of_no_use = fs::remove_file(&part);
    }
    kept
}

fn part(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn keep(out: &File, part: &Path, file: &Path) -> io::Result<()> {
    out.sync_all()?;
    fs::rename(part, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write(transaction: &mut Transaction<'_>, rooms: &[Migration], out: &mut Out<'_>) -> Result<Taken, Error> {
    let schema = migrations::check(transaction, &migrations::in_order(rooms)?)?;
    let header = Header {
        capstan_backup: FORM,
        taken_at: transaction.now(),
        deployment: meta::deployment(transaction)?,
        capstan: env!("CARGO_PKG_VERSION").to_owned(),
        schema,
    };
    out.line(&header)?;
    let mut rows = 0;
    for table in tables::names(transaction)?.iter().filter(|table| *table != migrations::TABLE) {
        let columns = tables::columns(transaction, table)?;
        out.line(&Line::Table { table: table.clone(), columns })?;
        transaction.each(&format!("SELECT * FROM \"{table}\""), &mut |row| {
            rows += 1;
            out.line(&Line::Row(row.values().iter().map(to_json).collect()))
        })?;
    }
    let sha256 = HEXLOWER.encode(&out.hash.clone().finalize());
    out.line(&Line::End { end: true, rows, sha256 })?;
    out.to.flush().map_err(out.failed)?;
    Ok(Taken { header, rows, bytes: out.bytes })
}

struct Out<'f> {
    to: BufWriter<&'f File>,
    hash: Sha256,
    bytes: u64,
    failed: &'f dyn Fn(io::Error) -> Error,
}

impl Out<'_> {
    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line).map_err(|error| Error::Invalid(error.to_string()))?;
        text.push(b'\n');
        self.hash.update(&text);
        self.bytes += text.len() as u64;
        self.to.write_all(&text).map_err(self.failed)
    }
}
