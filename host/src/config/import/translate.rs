//! `libra.ini` to our TOML.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde_json::{Value as Json, json};

use super::{
    ini::{self, Entry},
    options::{self, Fate, Form},
};
use crate::config::{Endpoint, fault::one_line, read::duration, sections::is_basename, show};

/// What came of an old file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Imported {
    /// A configuration that says the same in our form.
    pub toml: String,
    /// One line for each option that has no counterpart, or whose counterpart needs a look: `FILE:LINE: [SECTION] KEY: WHY`.
    pub notes: Vec<String>,
    /// How many of the notes speak of something that was not understood: no option, an unknown one, or a value that it cannot have.
    pub not_understood: usize,
}

const HAPROXY: &str = "known_drivers.load_balancer.haproxy";

/// Translates the options of the worker and the pool manager in a `libra.ini` that was read from `file`; every option that is not
/// carried over is named in the notes.
#[must_use]
pub fn libra_ini(file: &Path, text: &str) -> Imported {
    let (entries, strays) = ini::parse(text);
    let has_pool = entries.iter().any(|entry| entry.section == "mgm");
    let is_worker = |entry: &Entry| entry.section == "worker" || entry.section.starts_with("worker:");
    let has_worker = !has_pool || entries.iter().any(is_worker);
    let mut import = Import { has_worker, has_pool, ..Import::default() };
    for (line, text) in strays {
        import.notes.push((line, format!("no option: {text:?}")));
        import.not_understood += 1;
    }
    for entry in &entries {
        import.entry(entry);
    }
    if has_pool {
        import.pool_manager(&entries);
    }
    import.finish(&file.display().to_string())
}

#[derive(Default)]
struct Import {
    /// The file says something about a worker, or nothing about any program.
    has_worker: bool,
    /// The file says something about a pool manager.
    has_pool: bool,
    /// By dotted key.
    values: BTreeMap<String, Json>,
    notes: Vec<(usize, String)>,
    not_understood: usize,
}

impl Import {
    fn entry(&mut self, entry: &Entry) {
        let Entry { section, key, value, .. } = entry;
        if let Some(home) = options::other_program(section) {
            self.note(entry, &format!("not part of the worker; its later home is {home}"));
            return;
        }
        if !self.has_worker && matches!(key.as_str(), "user" | "group") {
            self.note(entry, "no counterpart: the daemon's own identity is set in its unit");
            return;
        }
        match options::fate(section, key) {
            None => self.puzzle(entry, "not an option of libra's worker or pool manager"),
            Some(Fate::None(why)) => self.note(entry, &format!("no counterpart: {why}")),
            Some(Fate::Level(level)) => match boolean(value) {
                // --debug outweighs --verbose, in whatever order they stand.
                Some(true) if self.values.get("telemetry.level").is_none_or(|set| set != "debug") => {
                    self.values.insert("telemetry.level".to_owned(), level.into());
                }
                Some(_) => {}
                None => self.puzzle(entry, &format!("{value:?} is neither true nor false")),
            },
            Some(Fate::Key(ours, form)) => {
                self.key(entry, ours, form);
            }
            Some(Fate::Noted(ours, form, what)) => {
                if self.key(entry, ours, form) {
                    self.note(entry, &format!("carried over as {ours}; {what}"));
                }
            }
        }
    }

    /// Whether the value could be carried over.
    fn key(&mut self, entry: &Entry, ours: &str, form: Form) -> bool {
        let value = &entry.value;
        let rewritten = match form {
            Form::Boolean => boolean(value).map(Json::from),
            Form::Count(least, most) => {
                value.parse::<u32>().ok().filter(|number| (least..=most).contains(number)).map(Json::from)
            }
            Form::Credential(file) => {
                let what = format!(
                    "not copied: write it into the file {file} beside the configuration, mode 0600, to which {ours} refers"
                );
                self.note(entry, &what);
                Some(json!({ "file": file }))
            }
            Form::List if value.is_empty() => None,
            Form::List => Some(vec![value.as_str()].into()),
            Form::Minutes => minutes(value),
            Form::Endpoints => {
                let servers: Vec<&str> = value.split([',', ' ', '\t']).filter(|server| !server.is_empty()).collect();
                let is_valid = !servers.is_empty() && servers.iter().all(|server| server.parse::<Endpoint>().is_ok());
                is_valid.then(|| servers.into())
            }
            Form::Seconds => seconds(value),
            Form::Service => {
                if value != "ubuntu" {
                    self.puzzle(
                        entry,
                        &format!(
                            "no counterpart: the service {value:?} is unknown; set control and service_name by hand"
                        ),
                    );
                    return false;
                }
                self.values.insert(format!("{HAPROXY}.config.control"), "systemd".into());
                Some("haproxy.service".into())
            }
            Form::Whole => value.parse::<u32>().ok().map(Json::from),
            Form::Basename => Some(value.as_str()).filter(|name| !name.is_empty() && is_basename(name)).map(Json::from),
            Form::Text if value.is_empty() => None,
            Form::Text => Some(value.as_str().into()),
        };
        let Some(rewritten) = rewritten else {
            self.puzzle(entry, &format!("{value:?} cannot be carried over; set {ours} by hand"));
            return false;
        };
        if matches!(entry.key.as_str(), "user" | "group") {
            self.note(entry, &format!("carried over as {ours}; the daemon's own identity is set in its unit"));
        }
        self.values.insert(ours.to_owned(), rewritten);
        true
    }

    fn note(&mut self, entry: &Entry, why: &str) {
        self.notes.push((entry.line, format!("[{}] {}: {why}", entry.section, entry.key)));
    }

    /// A note on something that was not understood.
    fn puzzle(&mut self, entry: &Entry, why: &str) {
        self.note(entry, why);
        self.not_understood += 1;
    }

    fn finish(mut self, file: &str) -> Imported {
        // libra's defaults where ours differ.
        self.unless_set("gearman.servers", vec!["localhost:4730"]);
        self.unless_set("telemetry.level", "warn");
        let mut roles = Vec::new();
        if self.has_pool {
            roles.push("pool-manager");
        }
        if self.has_worker {
            roles.push("worker");
            self.unless_set("worker.driver", "haproxy");
            self.unless_set(&format!("{HAPROXY}.config.control"), "systemd");
            self.unless_set(&format!("{HAPROXY}.config.service_name"), "haproxy.service");
            self.unless_set(&format!("{HAPROXY}.library"), library("load_balancer", "haproxy"));
            self.driver("worker.driver", "load_balancer", "haproxy");
        }
        self.unless_set("daemon.roles", roles);
        let mut sections: BTreeMap<&str, Vec<(&str, &Json)>> = BTreeMap::new();
        for (key, value) in &self.values {
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            sections.entry(section).or_default().push((name, value));
        }
        let mut toml = format!("# Translated from {}.\n", one_line(file));
        for (section, values) in sections {
            let _ = writeln!(toml, "\n[{section}]");
            for (name, value) in values {
                let _ = writeln!(toml, "{name} = {}", show::inline(value));
            }
        }
        self.notes.sort();
        let notes = self.notes.into_iter().map(|(line, note)| match line {
            0 => format!("{file}: {note}"),
            line => format!("{file}:{line}: {note}"),
        });
        let notes = notes.map(|note| one_line(&note).into_owned()).collect();
        Imported { toml, notes, not_understood: self.not_understood }
    }

    /// Sets what is not set yet.
    fn unless_set(&mut self, key: &str, value: impl Into<Json>) {
        self.values.entry(key.to_owned()).or_insert_with(|| value.into());
    }

    /// A driver needs an entry, for the service's `key` to be found. `usual` is libra's own, and has one that needs no look.
    fn driver(&mut self, key: &str, kind: &str, usual: &str) {
        let Some(name) = self.values.get(key).and_then(Json::as_str).map(str::to_owned) else { return };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if name.len() > 64 || name.is_empty() || !name.bytes().all(plain) {
            let why =
                format!("the driver {name:?} cannot be a name here (a-z, 0-9, _ and -); {usual} is set in its place");
            self.notes.push((0, why));
            self.not_understood += 1;
            self.values.insert(key.to_owned(), usual.into());
            return;
        }
        if name.replace('-', "_") == usual {
            // Another spelling of one driver would get an entry of its own, without what the file says of that driver.
            self.values.insert(key.to_owned(), usual.into());
        } else {
            let library = library(kind, &name);
            let why = format!("the driver {name} is looked for in {library}; correct the entry if it is elsewhere");
            self.notes.push((0, why));
            self.values.insert(format!("known_drivers.{kind}.{name}.library"), library.into());
        }
    }

    /// What a pool manager needs beyond the options that stand in the file.
    fn pool_manager(&mut self, entries: &[Entry]) {
        let has = |key: &str| entries.iter().any(|entry| entry.section == "mgm" && entry.key == key);
        for (theirs, ours) in options::DEMANDED {
            if !has(theirs) {
                self.notes.push((0, format!("[mgm] {theirs}: libra demanded it and the file has none; set {ours}")));
            }
        }
        if !has("nova_tenant") && !has("nova_tenant_id") {
            let ours = "cloud_farm.default.extra_params.ex_tenant_name";
            self.notes.push((
                0,
                format!("[mgm] nova_tenant: libra demanded it or nova_tenant_id and the file has none; set {ours}"),
            ));
        }
        self.unless_set("cloud_farm.default.engine", "nova");
        self.unless_set("known_drivers.cloud.nova.library", library("cloud", "nova"));
        let cloud = "the cloud driver nova is looked for in libcapstan_cloud_nova.so; see that it is installed";
        self.notes.push((0, cloud.to_owned()));
        // Libra's second body of a device came together with the zone.
        if has("api_server") && !has("az") {
            self.unless_set("known_drivers.mgm.hp_rest.config.body", "seed");
        }
        if options::STOCK.iter().any(|key| has(key)) {
            self.unless_set("pool.driver", "hp_rest");
            self.unless_set("known_drivers.mgm.hp_rest.library", library("mgm", "hp_rest"));
            self.unless_set("known_drivers.mgm.hp_rest.config.servers", vec!["localhost:8889"]);
            self.driver("pool.driver", "mgm", "hp_rest");
            return;
        }
        self.unless_set("pool.driver", "dummy");
        self.unless_set("known_drivers.mgm.dummy.library", library("mgm", "dummy"));
        self.unless_set("pool.nodes", 0);
        let why = "libra's last pool manager kept no stock and asked no API server; set pool.driver and pool.nodes to have one kept";
        self.notes.push((0, format!("[mgm]: {why}")));
    }
}

fn library(kind: &str, name: &str) -> String {
    format!("libcapstan_{kind}_{}.so", name.replace('-', "_"))
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn seconds(value: &str) -> Option<Json> {
    let seconds = value.parse::<f64>().ok().filter(|seconds| duration(*seconds).is_some())?;
    Some(value.parse::<u32>().map_or_else(|_| seconds.into(), Json::from))
}

fn minutes(value: &str) -> Option<Json> {
    let seconds =
        value.parse::<f64>().ok().map(|minutes| minutes * 60.0).filter(|seconds| duration(*seconds).is_some())?;
    let whole = value.parse::<u32>().ok().and_then(|minutes| minutes.checked_mul(60));
    Some(whole.map_or_else(|| seconds.into(), Json::from))
}
