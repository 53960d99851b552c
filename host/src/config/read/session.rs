//! What one reading gathers beside the values: faults, warnings, and where everything stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::Value as Json;

use crate::config::{Environment, Fault, Origin, Warning};

/// One value in force and where it comes from. Secrets appear as their reference or as `*****`.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The dotted key.
    pub key: String,
    /// The value; `null` when it is not set and has no default.
    pub value: Json,
    /// Where it comes from.
    pub origin: Origin,
    /// The key whose value this is, where it is not stated itself; `origin` is then the place of that key.
    pub inherits: Option<String>,
}

impl Effective {
    /// The key itself was written: the value is neither a default nor that of another key.
    pub(in crate::config) fn is_stated(&self) -> bool {
        self.origin != Origin::Default && self.inherits.is_none()
    }
}

/// What one reading gathers beside the values.
pub(in crate::config) struct Session<'e> {
    pub(in crate::config) environment: &'e dyn Environment,
    pub(in crate::config) faults: Vec<Fault>,
    pub(in crate::config) warnings: Vec<Warning>,
    pub(in crate::config) effective: Vec<Effective>,
    pub(in crate::config) secrets: BTreeSet<String>,
    /// Where the tables begin that stand somewhere, by dotted name.
    tables: BTreeMap<String, Origin>,
    /// The file that the daemon itself writes at its start, and what it is to hold; before that, nobody can read it.
    pub(in crate::config) issued_file: Option<PathBuf>,
    pub(in crate::config) issued: Option<String>,
}

impl<'e> Session<'e> {
    pub(in crate::config) fn new(environment: &'e dyn Environment) -> Self {
        Self {
            environment,
            faults: Vec::new(),
            warnings: Vec::new(),
            effective: Vec::new(),
            secrets: BTreeSet::new(),
            tables: BTreeMap::new(),
            issued_file: None,
            issued: None,
        }
    }

    /// Where the value of a key comes from; the default when nothing says otherwise.
    pub(in crate::config) fn origin(&self, key: &str) -> Origin {
        self.effective.iter().find(|value| value.key == key).map_or(Origin::Default, |value| value.origin.clone())
    }

    /// Where a table begins; none when it stands nowhere.
    pub(in crate::config) fn origin_of_table(&self, path: &str) -> Option<Origin> {
        self.tables.get(path).cloned()
    }

    /// Somebody wrote this key: its value is neither a default nor that of another key.
    pub(in crate::config) fn is_stated(&self, key: &str) -> bool {
        self.effective.iter().any(|value| value.key == key && value.is_stated())
    }

    pub(in crate::config) fn fault(&mut self, origin: Origin, key: &str, found: &str, expected: &str, remedy: &str) {
        self.faults.push(Fault {
            origin,
            key: key.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    /// A fault about the value of `key`, placed where that value stands.
    pub(in crate::config) fn fault_at(&mut self, key: &str, found: &str, expected: &str, remedy: &str) {
        let origin = self.origin(key);
        self.fault(origin, key, found, expected, remedy);
    }

    pub(in crate::config) fn record(&mut self, key: String, value: Json, origin: Origin) {
        self.effective.push(Effective { key, value, origin, inherits: None });
    }

    /// Notes where a table begins, if it stands somewhere.
    pub(super) fn record_table(&mut self, path: &str, origin: &Origin) {
        if *origin != Origin::Default {
            self.tables.insert(path.to_owned(), origin.clone());
        }
    }
}
