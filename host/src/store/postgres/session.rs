//! Statements on a connection.

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;
use postgres::{
    Client, Statement,
    fallible_iterator::FallibleIterator as _,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::failure;
use crate::store::{
    Error, Parameter, Row, Value,
    transaction::{Dialect, Failed, Session},
};

/// The open transaction of a connection.
pub(super) struct Statements<'c> {
    client: &'c mut Client,
    prepared: &'c mut HashMap<String, Statement>,
    place: &'c str,
}

impl<'c> Statements<'c> {
    pub fn new(client: &'c mut Client, prepared: &'c mut HashMap<String, Statement>, place: &'c str) -> Self {
        Self { client, prepared, place }
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Failed> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).map_err(|error| failure::of(&error, self.place))?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn rows(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
        take: &mut dyn FnMut(Row) -> Result<(), Error>,
    ) -> Result<(), Failed> {
        let statement = self.prepare(sql)?;
        check_number(sql, &statement, parameters)?;
        let columns: Arc<[String]> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let failed = |error: postgres::Error| failure::of(&error, self.place);
        let bound = parameters.iter().map(|parameter| Bound(*parameter));
        let mut rows = self.client.query_raw(&statement, bound).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let mut values = Vec::with_capacity(columns.len());
            for index in 0..row.len() {
                values.push(owned(&row, index)?);
            }
            take(Row::new(Arc::clone(&columns), values))?;
        }
        Ok(())
    }
}

impl Session for Statements<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
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
        let statement = self.prepare(sql)?;
        check_number(sql, &statement, parameters)?;
        let bound: Vec<Bound<'_>> = parameters.iter().map(|parameter| Bound(*parameter)).collect();
        let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.client.execute(&statement, &bound).map_err(|error| failure::of(&error, self.place))
    }

    fn each(&mut self, sql: &str, take: &mut dyn FnMut(Row) -> Result<(), Error>) -> Result<(), Failed> {
        self.rows(sql, &[], take)
    }

    fn batch(&mut self, sql: &str) -> Result<(), Failed> {
        self.client.batch_execute(sql).map_err(|error| failure::of(&error, self.place))
    }
}

fn check_number(sql: &str, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<(), Error> {
    if statement.params().len() == parameters.len() {
        return Ok(());
    }
    Err(Error::Invalid(format!("found {} values; expected one for each of $1, $2 in: {sql}", parameters.len())))
}

/// A value on its way to the server, which says of which type it has to be.
#[derive(Debug)]
struct Bound<'a>(Parameter<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Parameter::Null => Ok(IsNull::Yes),
            Parameter::Integer(value) if *kind == Type::INT8 => value.to_sql(kind, out),
            Parameter::Integer(value) if *kind == Type::INT4 => i32::try_from(value)?.to_sql(kind, out),
            Parameter::Integer(value) if *kind == Type::INT2 => i16::try_from(value)?.to_sql(kind, out),
            Parameter::Text(text) if <&str as ToSql>::accepts(kind) => text.to_sql(kind, out),
            Parameter::Bytes(bytes) if *kind == Type::BYTEA => bytes.to_sql(kind, out),
            other => {
                let found = match other {
                    Parameter::Integer(_) => "a number",
                    Parameter::Text(_) => "a text",
                    Parameter::Null | Parameter::Bytes(_) => "bytes",
                };
                Err(format!("found {found}; expected a value of type {kind}").into())
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn owned(row: &postgres::Row, index: usize) -> Result<Value, Error> {
    let column = &row.columns()[index];
    let kind = column.type_();
    let value = match *kind {
        Type::INT8 => row.try_get::<_, Option<i64>>(index).map(|value| value.map(Value::Integer)),
        Type::INT4 => row.try_get::<_, Option<i32>>(index).map(|value| value.map(|value| Value::Integer(value.into()))),
        Type::INT2 => row.try_get::<_, Option<i16>>(index).map(|value| value.map(|value| Value::Integer(value.into()))),
        Type::BOOL => {
            row.try_get::<_, Option<bool>>(index).map(|value| value.map(|value| Value::Integer(value.into())))
        }
        Type::TEXT | Type::VARCHAR | Type::NAME => {
            row.try_get::<_, Option<String>>(index).map(|value| value.map(Value::Text))
        }
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index).map(|value| value.map(Value::Bytes)),
        _ => {
            return Err(Error::Invalid(format!(
                "found the type {kind} in the column {}; expected BIGINT, TEXT or BYTEA: CAST it",
                column.name()
            )));
        }
    };
    value.map(|value| value.unwrap_or(Value::Null)).map_err(|error| Error::Statement(error.to_string()))
}
