//! The tree of values with the place of each.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use toml::de::{DeTable, DeValue};

use crate::config::Origin;

/// Keys and values of one table.
pub(in crate::config) type Table = BTreeMap<String, Node>;

/// A value and where its key stands.
#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) value: Value,
    pub(in crate::config) origin: Origin,
    /// The text as given by an environment variable or the command line, where `123` may have been meant as text.
    pub(in crate::config) raw: Option<String>,
}

/// A value of TOML.
#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    Array(Vec<Node>),
    Boolean(bool),
    Datetime(String),
    Float(f64),
    /// A number that fits no type of ours.
    Huge(String),
    Integer(i64),
    Table(Table),
    Text(String),
}

impl Node {
    pub(in crate::config) fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, raw: None }
    }

    /// What a fault says was found: the type, and the value where it is short.
    pub(in crate::config) fn describe(&self) -> String {
        match &self.value {
            Value::Array(_) => "a list".to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Datetime(value) => format!("the date {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Huge(value) => format!("the number {value}"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Table(_) => "a table".to_owned(),
            Value::Text(text) => describe_text(text),
        }
    }
}

/// What a fault says was found where a text stands: the text where it is short.
pub(in crate::config) fn describe_text(text: &str) -> String {
    match text.chars().count() {
        0..=60 => format!("the text {text:?}"),
        count => format!("a text of {count} characters"),
    }
}

/// The lines of one file, to turn offsets of the TOML reader into line numbers.
pub(super) struct Lines {
    path: Arc<Path>,
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn new(path: Arc<Path>, text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, starts }
    }

    pub(super) fn at(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        Origin::File { path: self.path.clone(), line: u32::try_from(line).unwrap_or(u32::MAX) }
    }
}

/// Copies a parsed table; `place` gives the origin for an offset of the text.
pub(super) fn table(parsed: &DeTable<'_>, place: &dyn Fn(usize) -> Origin) -> Table {
    parsed
        .iter()
        .map(|(name, parsed)| {
            (name.get_ref().to_string(), Node::new(value(parsed.get_ref(), place), place(name.span().start)))
        })
        .collect()
}

/// Copies a parsed value.
pub(super) fn value(parsed: &DeValue<'_>, place: &dyn Fn(usize) -> Origin) -> Value {
    match parsed {
        DeValue::Array(items) => Value::Array(
            items.iter().map(|item| Node::new(value(item.get_ref(), place), place(item.span().start))).collect(),
        ),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(value) => Value::Datetime(value.to_string()),
        DeValue::Float(float) => {
            float.as_str().parse().map_or_else(|_| Value::Huge(float.as_str().to_owned()), Value::Float)
        }
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::Huge(integer.as_str().to_owned()), Value::Integer),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Table(parsed) => Value::Table(table(parsed, place)),
    }
}
