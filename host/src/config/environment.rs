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

    /// Whether this machine has a user of that name. Also true when that cannot be found out now, as when a directory
    /// service does not answer: who needs the user says so later.
    fn has_user(&self, name: &str) -> bool;
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

    fn has_user(&self, name: &str) -> bool {
        !matches!(nix::unistd::User::from_name(name), Ok(None))
    }
}

/// Stated surroundings; the host's name is the value of `HOSTNAME`, else `localhost`, and its users are those in `USERS`,
/// with commas between them.
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

    fn has_user(&self, name: &str) -> bool {
        self.get("USERS").is_some_and(|users| users.split(',').any(|user| user == name))
    }
}
