//! What can only be said of several values together, and what only the drivers know.

use std::net::SocketAddr;

use serde_json::Value as Json;

use super::{
    Config, DriverPolicy, Drivers, KnownDriver, Origin, Warning,
    instance::InstanceConfig,
    read::{Session, nearest},
    secret::REDACTED,
    sections::{DriverKind, Role},
};

/// One fault that a driver's schema finds in a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SchemaFault {
    /// JSON pointer into the configuration; empty for the whole.
    pub pointer: String,
    /// What the schema expects there. Need not be free of secrets: known ones are blotted out before it is shown.
    pub expected: String,
    /// The keys that could stand there, where an unknown one does; else empty.
    pub known_keys: Vec<String>,
}

/// The driver room's part in validation: it knows the schemas.
pub trait DriverSchemas {
    /// Holds a configuration against the schema of the driver it is for.
    ///
    /// `config` is what the instance would be opened with, secrets resolved: the driver's own `config` table, or
    /// `{ user, password, extra_params }` for a cloud of the farm. A driver that cannot be read is no fault here: loading
    /// reports it, and only a required one is fatal.
    fn faults(&self, drivers: &Drivers, driver: &KnownDriver, config: &InstanceConfig) -> Vec<SchemaFault>;
}

/// Checks between sections.
pub(super) fn across(config: &Config, session: &mut Session<'_>) {
    listeners(config, session);
    worker_driver(config, session);
    engines(config, session);
    policy(config, session);
}

/// No two listeners on one port. Port 0 asks for any free one and never collides.
fn listeners(config: &Config, session: &mut Session<'_>) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let http = config.http.listen.iter().filter(|_| config.http.enabled).map(|address| ("http.listen", *address));
    let embedded = config.gearman.is_embedded().then_some(("gearman.embedded_listen", config.gearman.embedded_listen));
    for (key, address) in http.chain(embedded) {
        let clash = |other: &SocketAddr| {
            let overlap = other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            address.port() != 0 && other.port() == address.port() && overlap
        };
        if let Some((by, other)) = taken.iter().find(|(_, other)| clash(other)) {
            let expected = format!("a port of its own, for {by} has {other} ({})", session.origin(by));
            let origin = stated(session, &[key, by]);
            session.fault(origin, key, &address.to_string(), &expected, "choose another port");
        }
        taken.push((key, address));
    }
}

/// Where the first of these keys that is not at its default stands: a default clashes with something that somebody wrote.
fn stated(session: &Session<'_>, keys: &[&str]) -> Origin {
    keys.iter().map(|key| session.origin(key)).find(|origin| *origin != Origin::Default).unwrap_or(Origin::Default)
}

fn worker_driver(config: &Config, session: &mut Session<'_>) {
    let kind = DriverKind::LoadBalancer;
    if !config.daemon.roles.contains(&Role::Worker) || config.known_drivers.get(kind, &config.worker.driver).is_some() {
        return;
    }
    let origin = stated(session, &["worker.driver", "daemon.roles"]);
    unknown_driver(origin, "worker.driver", &config.worker.driver, kind, config, session);
}

fn engines(config: &Config, session: &mut Session<'_>) {
    for cloud in config.cloud_farm.iter() {
        if config.known_drivers.get(DriverKind::Cloud, &cloud.engine).is_none() {
            let key = format!("cloud_farm.{}.engine", cloud.name);
            unknown_driver(session.origin(&key), &key, &cloud.engine, DriverKind::Cloud, config, session);
        }
    }
}

/// A policy that nothing can meet is a fault; an entry that alone cannot meet it costs itself when it is loaded.
fn policy(config: &Config, session: &mut Session<'_>) {
    let (meets, lack): (fn(&KnownDriver) -> bool, _) = match config.drivers.policy {
        DriverPolicy::Any => return,
        DriverPolicy::Pinned => (
            |driver| driver.sha256.is_some() || driver.trust.locked.is_some(),
            "\"pinned\" and nothing pins its file; add sha256, or run capstan driver lock",
        ),
        DriverPolicy::Signed => (
            |driver| !driver.trust.signature_keys.is_empty(),
            "\"signed\" and there is no key for its file; add signature_key",
        ),
    };
    let none = config.known_drivers.iter().next().is_some() && !config.known_drivers.iter().any(meets);
    if none && config.drivers.policy == DriverPolicy::Signed {
        session.fault_at(
            "drivers.policy",
            "\"signed\" without any key",
            "the public keys of those whose files are trusted",
            "add drivers.signature_keys = [\"FILE\"]",
        );
        return;
    }
    for driver in config.known_drivers.iter().filter(|driver| !meets(driver)) {
        let text = format!("will not load: drivers.policy is {lack}");
        session.warnings.push(Warning { origin: driver.origin.clone(), key: driver.key(), text });
    }
}

fn unknown_driver(origin: Origin, key: &str, name: &str, kind: DriverKind, config: &Config, session: &mut Session<'_>) {
    let names = config.known_drivers.names(kind);
    let known =
        if names.is_empty() { "none is known yet".to_owned() } else { format!("known are {}", names.join(", ")) };
    let expected = format!("a name under known_drivers.{kind} ({known})");
    let remedy = nearest(name, names).map_or_else(
        || format!("add [known_drivers.{kind}.{name}] or choose another"),
        |near| format!("did you mean \"{near}\"?"),
    );
    session.fault(origin, key, &format!("the unknown driver \"{name}\""), &expected, &remedy);
}

/// Asks the drivers' schemas about every instance. Entries that have faults of their own are left out.
pub(super) fn schemas(config: &Config, schemas: &dyn DriverSchemas, session: &mut Session<'_>) {
    let faulty: Vec<String> = session.faults.iter().map(|fault| fault.key.clone()).collect();
    let is_faulty = |entry: &str| {
        faulty.iter().any(|key| key.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    let clouds = config.cloud_farm.iter().filter_map(|cloud| {
        let driver = config.known_drivers.get(DriverKind::Cloud, &cloud.engine)?;
        Some((driver, format!("cloud_farm.{}", cloud.name), &cloud.config))
    });
    // A cloud driver that the farm uses is opened with the farm's entries, never with a table of its own.
    let own = config
        .known_drivers
        .iter()
        .filter(|driver| driver.kind != DriverKind::Cloud || has_keys(&driver.config))
        .map(|driver| (driver, driver.key(), &driver.config));
    for (driver, entry, instance) in own.chain(clouds) {
        if is_faulty(&entry) || is_faulty(&driver.key()) {
            continue;
        }
        for SchemaFault { pointer, expected, known_keys } in schemas.faults(&config.drivers, driver, instance) {
            let found = match instance.redacted().pointer(&pointer) {
                None => "nothing".to_owned(),
                // What stands behind it may be a secret under a misspelt name.
                Some(_) if !known_keys.is_empty() => "an unknown key".to_owned(),
                Some(_) if instance.secret_pointers().contains(&pointer) => "a secret".to_owned(),
                Some(value @ (Json::Array(_) | Json::Object(_))) => {
                    if value.is_array() { "a list" } else { "a table" }.to_owned()
                }
                Some(value) => value.to_string(),
            };
            let expected = blot(&expected, session);
            let (origin, key) = (instance.origin_of(&pointer), instance.key_of(&pointer));
            let name = pointer.rsplit('/').next().unwrap_or_default();
            let remedy = nearest(name, known_keys.iter().map(String::as_str)).map_or_else(
                || format!("see capstan driver info {}", driver.name),
                |near| format!("did you mean \"{near}\"?"),
            );
            session.fault(origin, &key, &found, &expected, &remedy);
        }
    }
}

fn has_keys(config: &InstanceConfig) -> bool {
    config.redacted().as_object().is_some_and(|table| !table.is_empty())
}

fn blot(text: &str, session: &Session<'_>) -> String {
    session.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REDACTED))
}
