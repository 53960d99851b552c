//! `[cloud_farm.NAME]`: the clouds, each an instance of a driver under `known_drivers.cloud`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::known_drivers::check_name;
use crate::config::{
    InstanceConfig, Origin,
    read::{Table, TableReader, Value},
};

/// The name of the cloud that is meant when none is named.
const DEFAULT_NAME: &str = "default";

/// One cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudEntry {
    /// Its name in the farm.
    pub name: String,
    /// The driver: a name under `known_drivers.cloud`.
    pub engine: String,
    /// What the driver is opened with: `{ user, password, extra_params }`, the first two only if they are set.
    pub config: InstanceConfig,
}

/// `[cloud_farm]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CloudFarm(BTreeMap<String, CloudEntry>);

impl CloudFarm {
    /// The cloud of this name, or the one called `default`.
    #[must_use]
    pub fn get(&self, name: Option<&str>) -> Option<&CloudEntry> {
        self.0.get(name.unwrap_or(DEFAULT_NAME))
    }

    /// All clouds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &CloudEntry> {
        self.0.values()
    }

    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        let entries = table.each(CloudEntry::read);
        Self(entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
    }
}

impl CloudEntry {
    fn read(name: &str, table: &mut TableReader<'_, '_>) -> Option<Self> {
        check_name(name, table);
        let engine = table.required::<String>("engine", "the name of a driver under known_drivers.cloud");
        let mut parts = Table::new();
        for part in ["user", "password", "extra_params"] {
            let key = table.key(part);
            let Some(node) = table.take(part) else {
                let absent = if part == "extra_params" { Json::Object(serde_json::Map::new()) } else { Json::Null };
                table.session.record(key, absent, Origin::Default);
                continue;
            };
            let is_plain = matches!(node.value, Value::Text(_) | Value::Table(_)) || node.raw.is_some();
            match (part, &node.value) {
                ("extra_params", Value::Table(_)) | ("password", _) => {}
                ("user", _) if is_plain => {}
                (_, _) => {
                    let expected = if part == "user" { "a text or a reference to a secret" } else { "a table" };
                    let found = node.describe();
                    table.session.fault(node.origin, &key, &found, expected, "correct the value");
                    continue;
                }
            }
            parts.insert(part.to_owned(), node);
        }
        let (path, origin) = (table.path.clone(), table.origin.clone());
        let config = InstanceConfig::read_with_secrets(table.session, parts, &path, origin, &["password"]);
        Some(Self { name: name.to_owned(), engine: engine?, config })
    }
}
