//! What the cloud is told.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use capstan_plugin_api::{ConfigSchema, DriverError, cloud::FarmConfig};
use serde::Deserialize;

use crate::{catalog::Contents, faults::Rule, gate::Limits, latency::Distribution, methods};

/// Configuration of the driver `dummy`; account and password are taken and not looked at.
pub type Config = FarmConfig<Settings>;

/// The settings, checked.
pub(crate) fn settings(config: Config) -> Result<Settings, DriverError> {
    let settings = config.settings().and_then(|settings| match settings.check() {
        Ok(()) => Ok(settings),
        Err(wrong) => Err(DriverError::invalid_argument(wrong)),
    });
    settings.map_err(|error| {
        DriverError::invalid_argument(format!("the configuration of the dummy cloud: {}", error.message))
    })
}

/// Configuration of the driver `dummy`.
#[derive(Clone, Debug, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The same seed and the same calls of a method give the same latencies and faults.
    pub(crate) seed: u64,
    /// What is there at the start: `default`, or `libcloud` for what Apache Libcloud's dummy has.
    pub(crate) contents: Contents,
    /// Absolute path of the file that holds the cloud. Default: memory, gone with the instance.
    pub(crate) file: Option<PathBuf>,
    /// Whether a change is on disk before it is answered; only with `file`.
    pub(crate) sync: bool,
    /// Absolute path of a file with more faults, a JSON list, which is looked at before each call.
    pub(crate) control: Option<PathBuf>,
    /// Absolute path of a file to which each call is appended as a line of JSON.
    pub(crate) call_log: Option<PathBuf>,
    /// How long calls take, by method; `default` stands for those that are not named. Default: no time.
    pub(crate) latency: BTreeMap<String, Distribution>,
    /// Time from the creation of a node, its start or its reboot until it runs. Default: no time.
    pub(crate) build_time: Distribution,
    /// Greatest number of nodes.
    pub(crate) max_nodes: u32,
    /// Other quotas of the account.
    pub(crate) quotas: QuotaSettings,
    /// Limits of the API.
    pub(crate) limits: Limits,
    /// Most entries of a page, whatever is asked for.
    pub(crate) page_size: u32,
    /// Whether the same client token gives the same node; without it a cloud must be searched before a create is repeated.
    pub(crate) client_tokens: bool,
    /// Whether `create_node` answers `pending` until the node is built.
    pub(crate) pending: bool,
    /// Hosts of each location; nodes are put on them in turn.
    pub(crate) hosts: u16,
    /// Whether each node has a public address too.
    pub(crate) public_addresses: bool,
    /// What goes wrong.
    pub(crate) faults: Vec<Rule>,
}

/// Quotas beside the number of nodes; what is left out has no limit.
#[derive(Clone, Debug, Default, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QuotaSettings {
    /// Virtual processors of all nodes.
    pub vcpus: Option<u64>,
    /// Memory of all nodes in MiB.
    pub ram_mib: Option<u64>,
    /// Floating addresses.
    pub floating_ips: Option<u64>,
    /// Volumes.
    pub volumes: Option<u64>,
    /// Size of all volumes in GiB.
    pub volume_gib: Option<u64>,
    /// Snapshots.
    pub snapshots: Option<u64>,
    /// Key pairs.
    pub key_pairs: Option<u64>,
    /// Security groups.
    pub security_groups: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            contents: Contents::Default,
            file: None,
            sync: true,
            control: None,
            call_log: None,
            latency: BTreeMap::new(),
            build_time: Distribution::default(),
            max_nodes: 100_000,
            quotas: QuotaSettings::default(),
            limits: Limits::default(),
            page_size: 1_000,
            client_tokens: true,
            pending: false,
            hosts: 4,
            public_addresses: false,
            faults: Vec::new(),
        }
    }
}

/// The key of `latency` that stands for every method that is not named.
pub(crate) const DEFAULT_LATENCY: &str = "default";

impl Settings {
    fn check(&self) -> Result<(), String> {
        for (key, path) in [("file", &self.file), ("control", &self.control), ("call_log", &self.call_log)] {
            if let Some(path) = path.as_deref().filter(|path| !Path::is_absolute(path)) {
                return Err(format!("{key} is {}; expected an absolute path", path.display()));
            }
        }
        for (method, distribution) in &self.latency {
            if method != DEFAULT_LATENCY {
                methods::check(method, "latency")?;
            }
            distribution.check(&format!("latency.{method}"))?;
        }
        self.build_time.check("build_time")?;
        self.limits.check()?;
        if self.page_size == 0 || self.hosts == 0 {
            return Err("page_size and hosts must be at least 1".into());
        }
        self.faults.iter().enumerate().try_for_each(|(number, rule)| rule.check(&format!("faults[{number}]")))
    }
}

#[cfg(test)]
mod tests {
    use capstan_plugin_api::ErrorCode;
    use serde_json::{Value, json};

    use super::*;

    fn read(config: Value) -> Result<Settings, DriverError> {
        settings(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn settings_stand_at_the_top_or_in_the_farms_entry() {
        assert_eq!(read(json!({})).unwrap().max_nodes, 100_000);
        assert_eq!(read(json!({ "max_nodes": 7 })).unwrap().max_nodes, 7);
        let entry = json!({ "user": "u", "password": "p", "extra_params": { "max_nodes": 8, "seed": 42 } });
        assert_eq!(read(entry).unwrap().max_nodes, 8);
        assert_eq!(read(json!({ "user": "u", "password": "p" })).unwrap().max_nodes, 100_000);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (config, words) in [
            (json!({ "max_nodes": 7, "extra_params": {} }), "max_nodes stands beside extra_params"),
            (json!({ "max_node": 7 }), "unknown field `max_node`"),
            (json!({ "file": "cloud.log" }), "file is cloud.log; expected an absolute path"),
            (json!({ "latency": { "list_node": {} } }), "latency names the method \"list_node\""),
            (json!({ "latency": { "default": { "ms": -1 } } }), "latency.default.ms is -1"),
            (json!({ "build_time": { "shape": "uniform" } }), "build_time.max_ms is missing"),
            (json!({ "hosts": 0 }), "at least 1"),
            (json!({ "faults": [{ "fault": "vanish", "methods": ["list_nodes"] }] }), "faults[0]"),
        ] {
            let error = read(config).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_ARGUMENT);
            assert!(error.message.contains(words), "{error}");
        }
    }
}
