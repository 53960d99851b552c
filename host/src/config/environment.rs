//! What a process gets from outside beside its files: environment variables and the host's name.

use std::{collections::BTreeMap, fs};

/// The surroundings that a configuration is read in; passed in, so that a test states its own.
pub trait Environment {
    /// The value of one variable; `None` when it is absent or not UTF-8.
    fn get(&self, name: &str) -> Option<String>;

    /// The name of this host, under which a worker registers unless told otherwise.
    fn host_name(&self) -> String;

    /// All variables whose name starts with `prefix`, sorted by name. Values that are not UTF-8 are left out.
    fn starting_with(&self, prefix: &str) -> Vec<(String, String)>;
}

/// The surroundings of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn host_name(&self) -> String {
        // The kernel's own answer; the same text as gethostname(2) gives.
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match name.trim() {
            "" => "localhost".to_owned(),
            name => name.to_owned(),
        }
    }

    fn starting_with(&self, prefix: &str) -> Vec<(String, String)> {
        let mut found: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        found.sort();
        found
    }
}

/// Stated surroundings; the host's name is the value of `HOSTNAME`, else `localhost`.
impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn host_name(&self) -> String {
        self.get("HOSTNAME").cloned().unwrap_or_else(|| "localhost".to_owned())
    }

    fn starting_with(&self, prefix: &str) -> Vec<(String, String)> {
        self.iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}
