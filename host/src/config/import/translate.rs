//! `libra.ini` to our TOML.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde_json::Value as Json;

use super::{
    ini::{self, Entry},
    options::{self, Fate, Form},
};
use crate::config::{Endpoint, fault::one_line, read::duration, show};

/// What came of an old file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Imported {
    /// A configuration that says the same in our form.
    pub toml: String,
    /// One line for each option that has no counterpart, or whose counterpart needs a look: `FILE:LINE: [SECTION] KEY: WHY`.
    pub notes: Vec<String>,
}

const HAPROXY: &str = "known_drivers.load_balancer.haproxy";

/// Translates the worker's options of a `libra.ini` that was read from `file`; every option that is not carried over is named in
/// the notes.
#[must_use]
pub fn libra_ini(file: &Path, text: &str) -> Imported {
    let (entries, strays) = ini::parse(text);
    let mut import = Import::default();
    for (line, text) in strays {
        import.notes.push((line, format!("no option: {text:?}")));
    }
    for entry in &entries {
        import.entry(entry);
    }
    import.finish(&file.display().to_string())
}

#[derive(Default)]
struct Import {
    /// By dotted key.
    values: BTreeMap<String, Json>,
    notes: Vec<(usize, String)>,
}

impl Import {
    fn entry(&mut self, entry: &Entry) {
        let Entry { section, key, value, .. } = entry;
        if let Some(home) = options::other_program(section) {
            self.note(entry, &format!("not part of the worker; its later home is {home}"));
            return;
        }
        match options::fate(section, key) {
            None => self.note(entry, "not an option of libra's worker"),
            Some(Fate::None(why)) => self.note(entry, &format!("no counterpart: {why}")),
            Some(Fate::Level(level)) => match boolean(value) {
                // --debug outweighs --verbose, in whatever order they stand.
                Some(true) if self.values.get("telemetry.level").is_none_or(|set| set != "debug") => {
                    self.values.insert("telemetry.level".to_owned(), level.into());
                }
                Some(_) => {}
                None => self.note(entry, &format!("{value:?} is neither true nor false")),
            },
            Some(Fate::Key(ours, form)) => self.key(entry, ours, form),
        }
    }

    fn key(&mut self, entry: &Entry, ours: &str, form: Form) {
        let value = &entry.value;
        let rewritten = match form {
            Form::Boolean => boolean(value).map(Json::from),
            Form::Endpoints => {
                let servers: Vec<&str> = value.split([',', ' ', '\t']).filter(|server| !server.is_empty()).collect();
                let is_valid = !servers.is_empty() && servers.iter().all(|server| server.parse::<Endpoint>().is_ok());
                is_valid.then(|| servers.into())
            }
            Form::Seconds => seconds(value),
            Form::Service => {
                if value != "ubuntu" {
                    self.note(
                        entry,
                        &format!(
                            "no counterpart: the service {value:?} is unknown; set control and service_name by hand"
                        ),
                    );
                    return;
                }
                self.values.insert(format!("{HAPROXY}.config.control"), "systemd".into());
                Some("haproxy.service".into())
            }
            Form::Whole => value.parse::<u32>().ok().map(Json::from),
            Form::Text if value.is_empty() => None,
            Form::Text => Some(value.as_str().into()),
        };
        let Some(rewritten) = rewritten else {
            self.note(entry, &format!("{value:?} cannot be carried over; set {ours} by hand"));
            return;
        };
        if matches!(entry.key.as_str(), "user" | "group") {
            self.note(entry, &format!("carried over as {ours}; the daemon's own identity is set in its unit"));
        }
        self.values.insert(ours.to_owned(), rewritten);
    }

    fn note(&mut self, entry: &Entry, why: &str) {
        self.notes.push((entry.line, format!("[{}] {}: {why}", entry.section, entry.key)));
    }

    fn finish(mut self, file: &str) -> Imported {
        // libra's defaults where ours differ.
        self.values.entry("gearman.servers".to_owned()).or_insert_with(|| vec!["localhost:4730"].into());
        self.values.entry("telemetry.level".to_owned()).or_insert("warn".into());
        self.values.entry("worker.driver".to_owned()).or_insert("haproxy".into());
        self.values.entry(format!("{HAPROXY}.config.control")).or_insert("systemd".into());
        self.values.entry(format!("{HAPROXY}.config.service_name")).or_insert("haproxy.service".into());
        self.values.insert("daemon.roles".to_owned(), vec!["worker"].into());
        self.values.insert(format!("{HAPROXY}.library"), library("haproxy").into());
        self.other_driver();
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
        Imported { toml, notes: notes.map(|note| one_line(&note).into_owned()).collect() }
    }

    /// A driver of another name needs an entry, for `worker.driver` to be found.
    fn other_driver(&mut self) {
        let Some(name) = self.values.get("worker.driver").and_then(Json::as_str).map(str::to_owned) else { return };
        if name == "haproxy" {
            return;
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if name.len() > 64 || !name.bytes().all(plain) {
            self.notes.push((
                0,
                format!("the driver {name:?} cannot be a name here (a-z, 0-9, _ and -); haproxy is set in its place"),
            ));
            self.values.insert("worker.driver".to_owned(), "haproxy".into());
            return;
        }
        self.notes.push((
            0,
            format!("the driver {name} is looked for in {}; correct the entry if it is elsewhere", library(&name)),
        ));
        self.values.insert(format!("known_drivers.load_balancer.{name}.library"), library(&name).into());
    }
}

fn library(name: &str) -> String {
    format!("libcapstan_load_balancer_{}.so", name.replace('-', "_"))
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
