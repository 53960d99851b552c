//! The reader that sections use: typed values out of a table, with every fault collected and every key remembered.

use std::{fmt::Display, ops::RangeInclusive};

use super::{
    field::{Field, Refusal, Shown},
    nearest::nearest,
    session::{Effective, Session},
    tree::{Node, Table, Value},
};
use crate::config::{InstanceConfig, Origin};

impl<'e> Session<'e> {
    /// Reads a table with `read`; what `read` did not ask for is refused.
    pub(in crate::config) fn table<T>(
        &mut self,
        table: Table,
        path: &str,
        origin: Origin,
        read: impl FnOnce(&mut TableReader<'_, 'e>) -> T,
    ) -> T {
        self.record_table(path, &origin);
        let mut reader = TableReader {
            session: self,
            path: path.to_owned(),
            origin,
            table,
            known: Vec::new(),
            inherited: Vec::new(),
        };
        let value = read(&mut reader);
        reader.refuse_unknown();
        value
    }
}

/// One table being read.
pub(in crate::config) struct TableReader<'r, 'e> {
    pub(in crate::config) session: &'r mut Session<'e>,
    pub(in crate::config) path: String,
    /// Where the table begins; the default when it stands nowhere.
    pub(in crate::config) origin: Origin,
    table: Table,
    known: Vec<&'static str>,
    /// Keys of this table, and the dotted keys whose values they have where they are not stated.
    inherited: Vec<(&'static str, String)>,
}

impl<'e> TableReader<'_, 'e> {
    /// The dotted name of a key of this table.
    pub(in crate::config) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a key out, to be read by other means.
    pub(in crate::config) fn take(&mut self, name: &'static str) -> Option<Node> {
        self.known.push(name);
        self.table.remove(name)
    }

    /// Puts a key back that was taken out to be looked at.
    pub(in crate::config) fn put_back(&mut self, name: &'static str, node: Node) {
        self.known.retain(|known| *known != name);
        self.table.insert(name.to_owned(), node);
    }

    /// Says before it is read that a key has its default from another one. Of several, the first that is stated counts.
    pub(in crate::config) fn inherit(&mut self, name: &'static str, from: &str) {
        self.inherited.push((name, from.to_owned()));
    }

    /// A value with a default.
    pub(in crate::config) fn get<T: Field>(&mut self, name: &'static str, default: T) -> T {
        match self.read(name, T::parse) {
            Some(value) => value,
            None => self.fall_back(name, default),
        }
    }

    /// A value that may be absent.
    pub(in crate::config) fn optional<T: Field>(&mut self, name: &'static str) -> Option<T> {
        match self.read(name, T::parse) {
            Some(value) => Some(value),
            None => self.fall_back(name, None),
        }
    }

    /// A value that must be there.
    pub(in crate::config) fn required<T: Field>(&mut self, name: &'static str, expected: &str) -> Option<T> {
        if !self.table.contains_key(name) {
            let (key, origin) = (self.key(name), self.origin.clone());
            self.session.fault(origin, &key, "nothing", expected, &format!("add {name}"));
        }
        self.optional(name)
    }

    /// A whole number within bounds.
    pub(in crate::config) fn within<T>(&mut self, name: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Field + PartialOrd + Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let parse = |node: &Node| match T::parse(node) {
            Ok(value) if range.contains(&value) => Ok(value),
            Ok(_) => Err(Refusal::new(node, &expected, "correct the number")),
            // The type's own bounds say nothing to who does not know it.
            Err(refusal) => Err(Refusal { expected: expected.clone(), ..refusal }),
        };
        match self.read(name, parse) {
            Some(value) => value,
            None => self.fall_back(name, default),
        }
    }

    /// A value with a default and a rule of its own; the rule answers (expected, remedy).
    pub(in crate::config) fn checked<T: Field>(
        &mut self,
        name: &'static str,
        default: T,
        rule: impl FnOnce(&T) -> Result<(), (String, String)>,
    ) -> T {
        let node = self.table.get(name).cloned();
        let value = self.get(name, default);
        if let (Err((expected, remedy)), Some(node)) = (rule(&value), node) {
            let key = self.key(name);
            self.session.fault(node.origin.clone(), &key, &node.describe(), &expected, &remedy);
        }
        value
    }

    fn read<T: Shown>(&mut self, name: &'static str, parse: impl FnOnce(&Node) -> Result<T, Refusal>) -> Option<T> {
        let node = self.take(name)?;
        let key = self.key(name);
        match parse(&node) {
            Ok(value) => {
                self.session.record(key, value.shown(), node.origin);
                Some(value)
            }
            Err(Refusal { found, expected, remedy, origin }) => {
                self.session.fault(origin.unwrap_or(node.origin), &key, &found, &expected, &remedy);
                None
            }
        }
    }

    fn fall_back<T: Shown>(&mut self, name: &str, default: T) -> T {
        let (key, value) = (self.key(name), default.shown());
        let sources = self.inherited.iter().filter(|(heir, _)| *heir == name);
        let stated = sources.map(|(_, from)| (from, self.session.origin(from))).find(|(_, at)| *at != Origin::Default);
        let (inherits, origin) = stated.map_or((None, Origin::Default), |(from, at)| (Some(from.clone()), at));
        self.session.effective.push(Effective { key, value, origin, inherits });
        default
    }

    /// A table below this one; read as if empty when it is absent.
    pub(in crate::config) fn table<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut TableReader<'_, 'e>) -> T,
    ) -> T {
        let (table, origin) = self.take_table(name).unwrap_or((Table::new(), Origin::Default));
        let path = self.key(name);
        self.session.table(table, &path, origin, read)
    }

    /// A table below this one that may be absent.
    pub(in crate::config) fn optional_table<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut TableReader<'_, 'e>) -> T,
    ) -> Option<T> {
        let (table, origin) = self.take_table(name)?;
        let path = self.key(name);
        Some(self.session.table(table, &path, origin, read))
    }

    fn take_table(&mut self, name: &'static str) -> Option<(Table, Origin)> {
        let node = self.take(name)?;
        let key = self.key(name);
        self.session.expect_table(node, &key)
    }

    /// Every table below this one, whatever its name, in the order of names.
    pub(in crate::config) fn each<T>(
        &mut self,
        mut read: impl FnMut(&str, &mut TableReader<'_, 'e>) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for (name, node) in std::mem::take(&mut self.table) {
            let path = self.key(&name);
            let Some((table, origin)) = self.session.expect_table(node, &path) else { continue };
            values.extend(self.session.table(table, &path, origin, |reader| read(&name, reader)));
        }
        values
    }

    /// The configuration of a driver: keys that only the driver knows, with references to secrets anywhere.
    pub(in crate::config) fn instance(&mut self, name: &'static str) -> InstanceConfig {
        let (table, origin) = self.take_table(name).unwrap_or((Table::new(), Origin::Default));
        let key = self.key(name);
        InstanceConfig::read(self.session, table, &key, origin)
    }

    fn refuse_unknown(self) {
        for (name, node) in &self.table {
            let near = nearest(name, self.known.iter().copied());
            let remedy = near.map_or_else(|| "remove it".to_owned(), |near| format!("did you mean \"{near}\"?"));
            let mut known = self.known.clone();
            known.sort_unstable();
            let (found, kind) =
                if self.path.is_empty() { ("an unknown section", "a section") } else { ("an unknown key", "a key") };
            let expected = format!("{kind} among {}", known.join(", "));
            let key = self.key(name);
            self.session.fault(node.origin.clone(), &key, found, &expected, &remedy);
        }
    }
}

impl Session<'_> {
    fn expect_table(&mut self, node: Node, key: &str) -> Option<(Table, Origin)> {
        match node.value {
            Value::Table(table) => Some((table, node.origin)),
            _ => {
                let found = node.describe();
                self.fault(node.origin, key, &found, "a table", &format!("write it as [{key}]"));
                None
            }
        }
    }
}
