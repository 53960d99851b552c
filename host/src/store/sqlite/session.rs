//! Statements on a connection.

use std::{path::Path, sync::Arc};

use rusqlite::{
    CachedStatement, Connection,
    types::{ToSqlOutput, ValueRef},
};

use super::failure;
use crate::store::{
    Error, Parameter, Row, Value,
    transaction::{Dialect, Failed, Session},
};

/// The open transaction of a connection.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    path: &'c Path,
}

impl<'c> Statements<'c> {
    pub fn new(connection: &'c Connection, path: &'c Path) -> Self {
        Self { connection, path }
    }

    fn prepared(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<CachedStatement<'c>, Failed> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.failed(&error))?;
        for index in 1..=statement.parameter_count() {
            // SQLite numbers `$2` by where it first stands; its name says which value is meant.
            let number = statement.parameter_name(index).and_then(|name| name.strip_prefix('$'));
            let value =
                number.and_then(|number| number.parse::<usize>().ok()).and_then(|n| parameters.get(n.wrapping_sub(1)));
            let value = value.ok_or_else(|| {
                Error::Invalid(format!("found {} values; expected one for each of $1, $2 in: {sql}", parameters.len()))
            })?;
            let value = match value {
                Parameter::Null => ValueRef::Null,
                Parameter::Integer(value) => ValueRef::Integer(*value),
                Parameter::Text(text) => ValueRef::Text(text.as_bytes()),
                Parameter::Bytes(bytes) => ValueRef::Blob(bytes),
            };
            statement.raw_bind_parameter(index, ToSqlOutput::Borrowed(value)).map_err(|error| self.failed(&error))?;
        }
        Ok(statement)
    }

    fn rows(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
        take: &mut dyn FnMut(Row) -> Result<(), Error>,
    ) -> Result<(), Failed> {
        let mut statement = self.prepared(sql, parameters)?;
        let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(|error| self.failed(&error))? {
            let mut values = Vec::with_capacity(columns.len());
            for (index, column) in columns.iter().enumerate() {
                let value = row.get_ref(index).map_err(|error| self.failed(&error))?;
                values.push(owned(value, column)?);
            }
            take(Row::new(Arc::clone(&columns), values))?;
        }
        Ok(())
    }

    fn failed(&self, error: &rusqlite::Error) -> Failed {
        failure::of(error, self.path).into()
    }
}

impl Session for Statements<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn query(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failed> {
        let mut rows = Vec::new();
        self.rows(sql, parameters, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    fn execute(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, Failed> {
        let changed = self.prepared(sql, parameters)?.raw_execute().map_err(|error| self.failed(&error))?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn each(&mut self, sql: &str, take: &mut dyn FnMut(Row) -> Result<(), Error>) -> Result<(), Failed> {
        self.rows(sql, &[], take)
    }

    fn batch(&mut self, sql: &str) -> Result<(), Failed> {
        self.connection.execute_batch(sql).map_err(|error| self.failed(&error))
    }
}

fn owned(value: ValueRef<'_>, column: &str) -> Result<Value, Error> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(value) => Ok(Value::Integer(value)),
        ValueRef::Text(text) => String::from_utf8(text.to_vec())
            .map(Value::Text)
            .map_err(|_| Error::Invalid(format!("found a text in the column {column} that is no UTF-8"))),
        ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.to_vec())),
        ValueRef::Real(_) => {
            Err(Error::Invalid(format!("found a fraction in the column {column}; expected a whole number: CAST it")))
        }
    }
}
