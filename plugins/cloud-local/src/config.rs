//! What the cloud is told.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use capstan_plugin_api::{ConfigSchema, DriverError, cloud::FarmConfig};
use serde::Deserialize;

use crate::{
    address::{LoopbackText, Range, RangeText, Space},
    image::is_variable,
    record::Limits,
};

/// Configuration of the driver `local`; account and password are taken and not looked at.
pub type Config = FarmConfig<Settings>;

/// Configuration of the driver `local`.
#[derive(Clone, Debug, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Absolute path of the folder in which the cloud keeps its nodes.
    pub(crate) directory: PathBuf,
    /// Absolute path of the folder of images: each folder in it that has an image.toml is one.
    pub(crate) images: PathBuf,
    /// Where nodes have their addresses: a part of 127.0.0.0/8 that nobody else uses, or with `network_namespaces` one of
    /// the private networks. Default: 127.77.0.0/16 or 10.77.0.0/16.
    pub(crate) addresses: Option<RangeText>,
    /// Whether each node has a network of its own. Takes a daemon that runs as root.
    pub(crate) network_namespaces: bool,
    /// Greatest number of nodes.
    pub(crate) max_nodes: u32,
    /// Sizes by their id. Default: small, medium and large.
    pub(crate) sizes: BTreeMap<String, SizeSettings>,
    /// More words that images may use between two `@`, by their name in capitals.
    pub(crate) variables: BTreeMap<String, String>,
    /// Floating addresses.
    pub(crate) floating: FloatingSettings,
    /// Absolute path of the program capstan-local-node. Default: ../lib/capstan as seen from the daemon's binary, else the
    /// binary's own folder.
    pub(crate) node_program: Option<PathBuf>,
}

/// A size.
#[derive(Clone, Copy, Debug, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SizeSettings {
    /// Private memory of each process of a node, in MiB.
    pub memory_mib: u64,
    /// Open files of each process.
    pub files: u64,
    /// Processes of a node.
    pub processes: u64,
    /// Processors that the size is said to have.
    pub vcpus: u32,
    /// Disk that the size is said to have, in GiB.
    pub disk_gib: u64,
}

/// Floating addresses.
#[derive(Clone, Debug, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FloatingSettings {
    /// Where they come from: a part of 127.0.0.0/8 that nobody else uses.
    pub addresses: LoopbackText,
    /// TCP ports that are carried to the node which has the address.
    pub ports: Vec<u16>,
    /// Greatest number of floating addresses.
    pub max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: "/var/lib/capstan/local".into(),
            images: "/etc/capstan/images".into(),
            addresses: None,
            network_namespaces: false,
            max_nodes: 256,
            sizes: BTreeMap::new(),
            variables: BTreeMap::new(),
            floating: FloatingSettings::default(),
            node_program: None,
        }
    }
}

impl Default for SizeSettings {
    fn default() -> Self {
        Self { memory_mib: 1024, files: 4096, processes: 256, vcpus: 1, disk_gib: 10 }
    }
}

impl Default for FloatingSettings {
    fn default() -> Self {
        Self { addresses: LoopbackText("127.78.0.0/16".into()), ports: vec![80, 443], max: 64 }
    }
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub directory: PathBuf,
    pub images: PathBuf,
    pub addresses: Range,
    /// This machine's address in the nodes' networks; none where they have none of their own.
    pub gateway: Option<Ipv4Addr>,
    pub max_nodes: u32,
    pub sizes: BTreeMap<String, SizeSettings>,
    pub variables: BTreeMap<String, String>,
    pub floating: Range,
    pub floating_ports: Vec<u16>,
    pub max_floating: u32,
    pub node_program: Option<PathBuf>,
}

impl SizeSettings {
    pub fn limits(&self) -> Limits {
        Limits { memory_mib: self.memory_mib, files: self.files, processes: self.processes }
    }
}

/// The settings of a configuration, checked.
pub(crate) fn options(config: Config) -> Result<Options, DriverError> {
    let options = config.settings().and_then(|settings| settings.checked().map_err(DriverError::invalid_argument));
    options.map_err(|error| {
        DriverError::invalid_argument(format!("the configuration of the local cloud: {}", error.message))
    })
}

impl Settings {
    fn checked(self) -> Result<Options, String> {
        let paths = [("directory", Some(&self.directory)), ("images", Some(&self.images))];
        for (key, path) in paths.into_iter().chain([("node_program", self.node_program.as_ref())]) {
            if let Some(path) = path.filter(|path| !is_plain(path)) {
                let expected = "an absolute path without quotes, spaces, control characters and \"..\"";
                return Err(format!("{key} is {:?}; expected {expected}", path.display().to_string()));
            }
        }
        let range =
            |key: &str, text: &str, space| Range::read(text, space).map_err(|wrong| format!("{key} is {wrong}"));
        let (space, default) = match self.network_namespaces {
            true => (Space::Private, "10.77.0.0/16"),
            false => (Space::Loopback, "127.77.0.0/16"),
        };
        let text = self.addresses.as_ref().map_or(default, |range| range.0.as_str());
        let mut addresses = range("addresses", text, space)?;
        let floating = range("floating.addresses", &self.floating.addresses.0, Space::Loopback)?;
        if addresses.overlaps(&floating) {
            return Err(format!(
                "addresses ({text}) and floating.addresses ({}) overlap; give each a range of its own",
                self.floating.addresses.0
            ));
        }
        let gateway = self.network_namespaces.then(|| addresses.split_off_first());
        if self.floating.ports.contains(&0) || self.floating.ports.is_empty() || self.floating.ports.len() > 64 {
            return Err("floating.ports must name 1 to 64 ports, none of them 0".into());
        }
        if let Some(name) = self.variables.keys().find(|name| !is_variable(name)) {
            return Err(format!("variables.{name} is no name; expected capitals, digits and _, a letter first"));
        }
        let sizes = if self.sizes.is_empty() { default_sizes() } else { self.sizes };
        for (name, size) in &sizes {
            if size.memory_mib < 16 || size.files < 16 || size.processes == 0 {
                return Err(format!("sizes.{name} must have at least memory_mib = 16, files = 16 and processes = 1"));
            }
        }
        Ok(Options {
            directory: self.directory,
            images: self.images,
            addresses,
            gateway,
            max_nodes: self.max_nodes,
            sizes,
            variables: self.variables,
            floating,
            floating_ports: self.floating.ports,
            max_floating: self.floating.max,
            node_program: self.node_program,
        })
    }
}

/// Paths are filled into files of any syntax, so they are plain in all of them.
fn is_plain(path: &Path) -> bool {
    let is_clear = |text: &str| !text.chars().any(|c| c.is_control() || c.is_whitespace() || "\"'\\@".contains(c));
    path.is_absolute()
        && path.to_str().is_some_and(is_clear)
        && path.components().all(|part| !matches!(part, std::path::Component::ParentDir))
}

fn default_sizes() -> BTreeMap<String, SizeSettings> {
    let size = |memory_mib, vcpus, disk_gib| SizeSettings { memory_mib, vcpus, disk_gib, ..SizeSettings::default() };
    [("small", size(1024, 1, 10)), ("medium", size(4096, 2, 40)), ("large", size(8192, 4, 80))]
        .map(|(name, size)| (name.to_owned(), size))
        .into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(config: Value) -> Result<Options, DriverError> {
        options(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn settings_stand_at_the_top_or_in_the_farms_entry() {
        assert_eq!(read(json!({})).unwrap().max_nodes, 256);
        assert_eq!(read(json!({ "max_nodes": 7 })).unwrap().max_nodes, 7);
        let entry = json!({ "user": "u", "password": "p", "extra_params": { "max_nodes": 8 } });
        assert_eq!(read(entry).unwrap().max_nodes, 8);
        let sizes = read(json!({ "sizes": { "tiny": { "memory_mib": 64 } } })).unwrap().sizes;
        assert_eq!(sizes.keys().collect::<Vec<_>>(), ["tiny"]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (config, words) in [
            (json!({ "max_nodes": 7, "extra_params": {} }), "max_nodes stands beside extra_params"),
            (json!({ "max_node": 7 }), "unknown field `max_node`"),
            (json!({ "directory": "nodes" }), "directory is \"nodes\"; expected an absolute path"),
            (json!({ "images": "/a/../b" }), "images is"),
            (json!({ "addresses": "10.0.0.0/8" }), "addresses is \"10.0.0.0/8\""),
            (json!({ "addresses": "127.0.0.0/8" }), "overlap"),
            (json!({ "addresses": "127.1.0.0/16", "network_namespaces": true }), "10.77.0.0/16"),
            (json!({ "floating": { "ports": [0] } }), "floating.ports"),
            (json!({ "variables": { "gearman": "x" } }), "variables.gearman"),
            (json!({ "sizes": { "none": { "memory_mib": 1 } } }), "sizes.none"),
        ] {
            let error = read(config).unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }
}
