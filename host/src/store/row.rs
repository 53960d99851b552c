//! One row of an answer.

use std::sync::Arc;

use super::{Error, FromValue, Value};

/// One row of an answer. Columns are asked for by their names in the statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(super) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of a column.
    ///
    /// # Errors
    /// The answer has no such column, or its value is of another type.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, Error> {
        let position = self.columns.iter().position(|name| name == column);
        let value = position.and_then(|position| self.values.get(position)).ok_or_else(|| {
            Error::Invalid(format!("found the columns {}; expected one called {column}", self.columns.join(", ")))
        })?;
        T::from_value(value).ok_or_else(|| {
            let found = match value {
                Value::Null => "nothing".to_owned(),
                Value::Integer(value) => format!("the number {value}"),
                Value::Text(_) => "a text".to_owned(),
                Value::Bytes(_) => "bytes".to_owned(),
            };
            Error::Invalid(format!("found {found} in the column {column}; expected {}", T::EXPECTED))
        })
    }

    /// The names of the columns, in the order of the statement.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, in the order of the statement.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}
