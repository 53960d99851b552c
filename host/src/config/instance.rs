//! The configuration of one instance of a driver, of which only the driver knows the keys.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value as Json};

use super::{
    Origin, Uncompared,
    read::{Node, Session, Table, Value, describe_text},
    secret::{REDACTED, Reference},
};

/// The configuration of one instance of a driver. `Debug` shows references, never secrets.
#[derive(Clone, PartialEq)]
pub struct InstanceConfig {
    key: String,
    shown: Json,
    resolved: Json,
    /// By JSON pointer.
    places: Uncompared<BTreeMap<String, Origin>>,
    secrets: Vec<String>,
}

impl InstanceConfig {
    /// The configuration for the driver, with secrets in place of their references. Pass it to `open` and nowhere else.
    #[must_use]
    pub const fn expose(&self) -> &Json {
        &self.resolved
    }

    /// The configuration as it may be shown: a reference stands where the secret would.
    #[must_use]
    pub const fn redacted(&self) -> &Json {
        &self.shown
    }

    /// The JSON pointers of all values that are secrets given by reference.
    #[must_use]
    pub fn secret_pointers(&self) -> &[String] {
        &self.secrets
    }

    /// Where the value at a JSON pointer stands; for a value that is absent, the nearest table around it.
    #[must_use]
    pub fn origin_of(&self, pointer: &str) -> Origin {
        let mut pointer = pointer;
        loop {
            match (self.places.get(pointer), pointer.rfind('/')) {
                (Some(origin), _) => return origin.clone(),
                (None, Some(cut)) => pointer = &pointer[..cut],
                (None, None) => return Origin::Default,
            }
        }
    }

    /// The dotted key of the value at a JSON pointer, as it is written in the file.
    #[must_use]
    pub fn key_of(&self, pointer: &str) -> String {
        dotted(&self.key, pointer)
    }

    /// What a fault says was found at a JSON pointer; of a secret only its kind.
    pub(super) fn describe(&self, pointer: &str, is_secret: bool) -> String {
        if self.secrets.iter().any(|secret| secret == pointer) {
            return "a secret".to_owned();
        }
        match self.shown.pointer(pointer) {
            None | Some(Json::Null) => "nothing".to_owned(),
            Some(Json::Array(_)) => "a list".to_owned(),
            Some(Json::Object(_)) => "a table".to_owned(),
            Some(Json::Bool(_)) if is_secret => "true or false".to_owned(),
            Some(Json::Number(_)) if is_secret => "a number".to_owned(),
            Some(Json::String(_)) if is_secret => "a text".to_owned(),
            Some(Json::Bool(value)) => value.to_string(),
            Some(Json::Number(value)) => format!("the number {value}"),
            Some(Json::String(text)) => describe_text(text),
        }
    }

    pub(super) fn read(session: &mut Session<'_>, table: Table, key: &str, origin: Origin) -> Self {
        if table.is_empty() {
            session.record(key.to_owned(), Json::Object(Map::new()), origin.clone());
        }
        Self::read_with_secrets(session, table, key, origin, &[])
    }

    /// As `read`; a text behind a key named in `secret` is a secret, which a file may only refer to.
    pub(super) fn read_with_secrets(
        session: &mut Session<'_>,
        table: Table,
        key: &str,
        origin: Origin,
        secret: &[&str],
    ) -> Self {
        let places = BTreeMap::from([(String::new(), origin.clone())]);
        let mut copy = Copy { session, key, places, secrets: Vec::new(), secret };
        let (shown, resolved) = copy.table(table, "");
        let Copy { places, secrets, .. } = copy;
        Self { key: key.to_owned(), shown, resolved, places: Uncompared(places), secrets }
    }
}

/// The dotted key of what a JSON pointer points at below a key.
pub(super) fn dotted(key: &str, pointer: &str) -> String {
    format!("{key}{}", pointer.replace('/', ".").replace("~1", "/").replace("~0", "~"))
}

impl fmt::Debug for InstanceConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "InstanceConfig({})", self.shown)
    }
}

/// Copies the tree to JSON twice: as shown and as passed to the driver.
struct Copy<'c, 'e> {
    session: &'c mut Session<'e>,
    key: &'c str,
    places: BTreeMap<String, Origin>,
    secrets: Vec<String>,
    secret: &'c [&'c str],
}

impl Copy<'_, '_> {
    fn table(&mut self, table: Table, pointer: &str) -> (Json, Json) {
        let (mut shown, mut resolved) = (Map::new(), Map::new());
        for (name, node) in table {
            let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            self.places.insert(pointer.clone(), node.origin.clone());
            let leaf = match &node.value {
                Value::Table(table) => table.is_empty() || Reference::of(table, &node.origin).is_some(),
                _ => true,
            };
            let origin = node.origin;
            let value = if self.secret.contains(&pointer.trim_start_matches('/')) {
                self.secret(node.value, node.raw, &pointer, &origin)
            } else {
                self.value(node.value, &pointer, &origin)
            };
            if leaf {
                self.session.record(self.dotted(&pointer), value.0.clone(), origin);
            }
            shown.insert(name.clone(), value.0);
            resolved.insert(name, value.1);
        }
        (Json::Object(shown), Json::Object(resolved))
    }

    fn value(&mut self, value: Value, pointer: &str, origin: &Origin) -> (Json, Json) {
        let same = |value: Json| (value.clone(), value);
        match value {
            Value::Array(items) => {
                let (mut shown, mut resolved) = (Vec::new(), Vec::new());
                for (index, item) in items.into_iter().enumerate() {
                    let pointer = format!("{pointer}/{index}");
                    self.places.insert(pointer.clone(), item.origin.clone());
                    let value = match item.value {
                        Value::Table(table) if Reference::of(&table, &item.origin).is_none() => {
                            self.unrecorded(table, &pointer)
                        }
                        value => self.value(value, &pointer, &item.origin),
                    };
                    shown.push(value.0);
                    resolved.push(value.1);
                }
                (shown.into(), resolved.into())
            }
            Value::Boolean(value) => same(value.into()),
            Value::Datetime(text) | Value::Text(text) => same(text.into()),
            Value::Float(value) if value.is_finite() => same(value.into()),
            Value::Float(_) | Value::Huge(_) => {
                let (key, found) = (self.dotted(pointer), Node::new(value, origin.clone()).describe());
                self.session.fault(origin.clone(), &key, &found, "a finite number of 64 bits", "correct the number");
                same(Json::Null)
            }
            Value::Integer(value) => same(value.into()),
            Value::Table(table) => match Reference::of(&table, origin) {
                Some(reference) => self.reference(&reference, pointer, origin),
                None => self.table(table, pointer),
            },
        }
    }

    /// A table inside a list: the list as a whole is one line of `config show`.
    fn unrecorded(&mut self, table: Table, pointer: &str) -> (Json, Json) {
        let before = self.session.effective.len();
        let value = self.table(table, pointer);
        self.session.effective.truncate(before);
        value
    }

    fn reference(&mut self, reference: &Reference, pointer: &str, origin: &Origin) -> (Json, Json) {
        self.secrets.push(pointer.to_owned());
        let key = self.dotted(pointer);
        let value = reference.resolve(self.session, &key, origin);
        (reference.shown(), value.map_or(Json::Null, |secret| secret.expose().into()))
    }

    /// A value that is a secret by its key. The fault about it does not repeat what was found.
    fn secret(&mut self, value: Value, raw: Option<String>, pointer: &str, origin: &Origin) -> (Json, Json) {
        if let Value::Table(table) = &value
            && let Some(reference) = Reference::of(table, origin)
        {
            return self.reference(&reference, pointer, origin);
        }
        self.secrets.push(pointer.to_owned());
        if let (Some(text), false) = (raw, matches!(value, Value::Array(_) | Value::Table(_))) {
            let text = if let Value::Text(text) = value { text } else { text };
            self.session.secrets.insert(text.clone());
            return (REDACTED.into(), text.into());
        }
        let key = self.dotted(pointer);
        self.session.fault(
            origin.clone(),
            &key,
            "something other than a reference to a secret",
            "{ file = \"...\" }, { env = \"...\" } or { credential = \"...\" }",
            "keep the secret outside this file and name its place",
        );
        (REDACTED.into(), Json::Null)
    }

    fn dotted(&self, pointer: &str) -> String {
        dotted(self.key, pointer)
    }
}
