//! The lines of a backup.

use std::io::{BufRead, Read as _};

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::store::{Error, Value, migrations::Versions};

/// The form of the lines; one that a program does not know is refused.
pub(super) const FORM: u32 = 1;

/// No line is longer: what a row may hold is bounded well below by those who write it.
const LONGEST_LINE: u64 = 1 << 30;

/// The first line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Header {
    /// The form of the lines that follow.
    pub capstan_backup: u32,
    /// When it was taken, in milliseconds since 1970: what was stored later is not in it.
    pub taken_at: i64,
    /// Of which deployment.
    pub deployment: String,
    /// The program that took it.
    pub capstan: String,
    /// The version of each room's tables.
    pub schema: Versions,
}

/// Any line after the first.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Line {
    Row(Vec<Json>),
    Table { table: String, columns: Vec<String> },
    End { end: bool, rows: u64, sha256: String },
}

pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => json!({ "bytes": BASE64.encode(bytes) }),
    }
}

pub(super) fn from_json(json: Json) -> Option<Value> {
    match json {
        Json::Null => Some(Value::Null),
        Json::Number(number) => number.as_i64().map(Value::Integer),
        Json::String(text) => Some(Value::Text(text)),
        Json::Object(object) => {
            let bytes = object.get("bytes")?.as_str()?;
            BASE64.decode(bytes.as_bytes()).ok().map(Value::Bytes)
        }
        Json::Bool(_) | Json::Array(_) => None,
    }
}

/// Reads lines, and hashes what it has read.
pub(super) struct Lines<R> {
    from: R,
    place: String,
    number: u64,
    hash: Sha256,
}

impl<R: BufRead> Lines<R> {
    pub fn new(from: R, place: String) -> Self {
        Self { from, place, number: 0, hash: Sha256::new() }
    }

    /// The first line.
    pub fn header(&mut self) -> Result<Header, Error> {
        let line = self.line()?.unwrap_or_default();
        self.hash.update(&line);
        let header: Header = serde_json::from_slice(&line).map_err(|_| {
            Error::Invalid(format!("{} is no backup of capstan: its first line is another", self.place))
        })?;
        if header.capstan_backup != FORM {
            return Err(Error::Invalid(format!(
                "{} is a backup of form {}, and this capstan knows form {FORM}; bring it back with capstan {}",
                self.place, header.capstan_backup, header.capstan
            )));
        }
        Ok(header)
    }

    /// The next line up to the last, which is held against what came before it.
    pub fn next(&mut self, rows_so_far: u64) -> Result<Option<Line>, Error> {
        let Some(line) = self.line()? else {
            return Err(self.broken("the end is missing: the file was cut off"));
        };
        let parsed: Line = serde_json::from_slice(&line).map_err(|error| self.broken(&error.to_string()))?;
        let Line::End { rows, sha256, .. } = &parsed else {
            self.hash.update(&line);
            return Ok(Some(parsed));
        };
        if *rows != rows_so_far || *sha256 != HEXLOWER.encode(&self.hash.clone().finalize()) {
            return Err(self.broken("the hash at its end is that of another content"));
        }
        if self.line()?.is_some() {
            return Err(self.broken("something follows its end"));
        }
        Ok(None)
    }

    pub fn broken(&self, what: &str) -> Error {
        Error::Invalid(format!(
            "{}:{}: the backup is damaged ({what}); nothing of it was used, take another one",
            self.place, self.number
        ))
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut line = Vec::new();
        let read = (&mut self.from).take(LONGEST_LINE).read_until(b'\n', &mut line);
        let read = read.map_err(|error| Error::Unavailable(format!("{}: {error}", self.place)))?;
        self.number += 1;
        Ok((read > 0).then_some(line))
    }
}
