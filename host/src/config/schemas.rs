//! What only the drivers know: whether their own sections are what they take.

use super::{
    Config, DriverProgram, Drivers, KnownDriver, Origin, Warning,
    instance::{InstanceConfig, dotted},
    read::{Session, nearest},
    secret::REDACTED,
    sections::DriverKind,
};

/// One fault that a driver's schema finds in a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SchemaFault {
    /// JSON pointer into the configuration; empty for the whole. A key that is missing or unknown is pointed at.
    pub pointer: String,
    /// What the schema expects there. Need not be free of secrets: known ones are blotted out before it is shown.
    pub expected: String,
    /// In which way it is not so.
    pub misfit: Misfit,
}

/// In which way a configuration does not fit its schema.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Misfit {
    /// The schema itself cannot be used.
    FaultySchema,
    /// A key that must be there is not.
    MissingKey,
    /// The schema knows no such key.
    UnknownKey {
        /// The keys that it knows.
        known: Vec<String>,
    },
    /// A value is not of the kind, or out of its bounds.
    Value {
        /// The words that could stand there, where it must be one of a few.
        choices: Vec<String>,
        /// The schema says that the value is never shown.
        is_secret: bool,
        /// What to do where no choice is near.
        remedy: &'static str,
    },
}

impl SchemaFault {
    /// The dotted key that is pointed at, below the key of the configuration.
    #[must_use]
    pub fn key_below(&self, configuration: &str) -> String {
        dotted(configuration, &self.pointer)
    }
}

/// The driver room's part in validation: it knows the schemas.
pub trait DriverSchemas {
    /// Holds a configuration against the schema of the driver it is for.
    ///
    /// `config` is what the instance would be opened with, secrets resolved: the driver's own `config` table, or
    /// `{ user, password, extra_params }` for a cloud of the farm. A driver that cannot be read is no fault here: loading
    /// reports it, and only a required one is fatal.
    fn faults(&self, drivers: &Drivers, driver: &KnownDriver, config: &InstanceConfig) -> Vec<SchemaFault>;

    /// Why the driver's file cannot be loaded, as far as the file itself tells; nothing is run.
    fn unloadable(&self, drivers: &Drivers, driver: &KnownDriver) -> Option<String>;
}

/// Whether something is wrong with an entry itself.
fn faulty_entries(session: &Session<'_>) -> impl Fn(&str) -> bool + use<> {
    let faulty: Vec<String> = session.faults.iter().map(|fault| fault.key.clone()).collect();
    move |entry| {
        faulty.iter().any(|key| key.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

/// Looks at the drivers' files. Without a required one the daemon does not start; any other costs itself alone.
pub(super) fn check_files(config: &Config, files: &dyn DriverSchemas, session: &mut Session<'_>) {
    let is_faulty = faulty_entries(session);
    for driver in config.known_drivers.iter().filter(|driver| !is_faulty(&driver.key())) {
        let Some(why) = files.unloadable(&config.drivers, driver) else { continue };
        let key = match driver.program {
            DriverProgram::Library(_) => format!("{}.library", driver.key()),
            DriverProgram::Command(_) => format!("{}.command", driver.key()),
        };
        if driver.required {
            let expected = "a file that can be loaded, for the driver is required";
            session.fault_at(
                &key,
                &format!("that it will not load: {why}"),
                expected,
                "correct it, or remove required",
            );
        } else {
            let origin = session.origin(&key);
            session.warnings.push(Warning { origin, key, text: format!("will not load: {why}") });
        }
    }
}

/// Asks the drivers' schemas about every instance. Entries that have faults of their own are left out.
pub(super) fn check(config: &Config, schemas: &dyn DriverSchemas, session: &mut Session<'_>) {
    let is_faulty = faulty_entries(session);
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
        for fault in schemas.faults(&config.drivers, driver, instance) {
            tell(&fault, driver, instance, session);
        }
    }
}

fn tell(fault: &SchemaFault, driver: &KnownDriver, instance: &InstanceConfig, session: &mut Session<'_>) {
    let SchemaFault { pointer, expected, misfit } = fault;
    let name = pointer.rsplit('/').next().unwrap_or_default();
    let meant = |word: &str, words: &[String]| {
        nearest(word, words.iter().map(String::as_str)).map(|near| format!("did you mean \"{near}\"?"))
    };
    let (found, remedy) = match misfit {
        Misfit::FaultySchema => {
            ("a faulty schema in the driver's file".to_owned(), "ask the driver's vendor".to_owned())
        }
        Misfit::MissingKey => {
            ("nothing".to_owned(), format!("add {name}; capstan driver info {} says what it is for", driver.name))
        }
        Misfit::UnknownKey { known } => {
            ("an unknown key".to_owned(), meant(name, known).unwrap_or_else(|| "remove it".to_owned()))
        }
        Misfit::Value { choices, is_secret, remedy } => {
            let word = instance.redacted().pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
            let remedy = meant(word, choices).unwrap_or_else(|| (*remedy).to_owned());
            (instance.describe(pointer, *is_secret), remedy)
        }
    };
    let expected =
        session.secrets.iter().fold(expected.clone(), |text, secret| text.replace(secret.as_str(), REDACTED));
    let origin = match instance.origin_of(pointer) {
        // The table is not there: then it is the driver's entry that wants it.
        Origin::Default => driver.origin.0.clone(),
        origin => origin,
    };
    session.fault(origin, &instance.key_of(pointer), &found, &expected, &remedy);
}

fn has_keys(config: &InstanceConfig) -> bool {
    config.redacted().as_object().is_some_and(|table| !table.is_empty())
}
