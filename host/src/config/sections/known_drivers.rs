//! `[known_drivers.KIND.NAME]`: the drivers that services choose from.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{Drivers, Isolation, Limits, Sandbox, confinement, own_api::OwnApi};
use crate::config::{
    InstanceConfig, Origin, Uncompared, Warning,
    read::{TableReader, choices, nearest},
    text_file,
    trust::{Sha256, SignatureKey, Trust},
};

choices! {
    /// What a driver is for.
    DriverKind {
        /// Makes and removes nodes.
        Cloud = "cloud",
        /// Creates and steers database servers.
        Database = "database",
        /// Serves traffic on a node.
        LoadBalancer = "load_balancer",
        /// Registers nodes with an API server.
        Mgm = "mgm",
    }
}

choices! {
    /// Where a command finds its frames.
    Channel {
        /// On a descriptor of its own, number 3.
        Descriptor = "descriptor",
        /// On standard input and output.
        Stdio = "stdio",
    }
}

/// What runs a driver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DriverProgram {
    /// A program with its arguments; it speaks the frames of an isolated driver.
    Command(Vec<String>),
    /// A shared library, absolute or relative to `drivers.directory`.
    Library(PathBuf),
}

/// One entry of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownDriver {
    /// Its kind.
    pub kind: DriverKind,
    /// Its name, unique within the kind.
    pub name: String,
    /// The library or command.
    pub program: DriverProgram,
    /// Where a command finds its frames.
    pub channel: Channel,
    /// Where its code runs.
    pub isolation: Isolation,
    /// Calls at one time; further ones wait.
    pub max_concurrency: usize,
    /// Calls that may wait; further ones are answered `unavailable` at once.
    pub max_queue: usize,
    /// Deadline of a call that has no shorter one.
    pub call_timeout: Duration,
    /// Whether the daemon refuses to start without this driver.
    pub required: bool,
    /// The user that its process runs as; none stands for the daemon's own.
    pub user: Option<String>,
    /// What its process may use.
    pub limits: Limits,
    /// What its process may reach; none stands for all that its user may.
    pub sandbox: Option<Sandbox>,
    /// The SHA-256 that the file must have.
    pub sha256: Option<[u8; 32]>,
    /// What else its file must have to be trusted.
    pub trust: Trust,
    /// The configuration of the default instance.
    pub config: InstanceConfig,
    /// Where the entry begins.
    pub origin: Uncompared<Origin>,
}

/// `[known_drivers]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownDrivers(BTreeMap<(DriverKind, String), KnownDriver>);

impl KnownDrivers {
    /// The driver of this kind and name.
    #[must_use]
    pub fn get(&self, kind: DriverKind, name: &str) -> Option<&KnownDriver> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// All drivers, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &KnownDriver> {
        self.0.values()
    }

    pub(in crate::config) fn iter_mut(&mut self) -> impl Iterator<Item = &mut KnownDriver> {
        self.0.values_mut()
    }

    /// The names of one kind, sorted.
    #[must_use]
    pub fn names(&self, kind: DriverKind) -> Vec<&str> {
        self.iter().filter(|driver| driver.kind == kind).map(|driver| driver.name.as_str()).collect()
    }

    pub(super) fn read(table: &mut TableReader<'_, '_>, defaults: &Drivers, own: &OwnApi) -> Self {
        let kinds = table.each(|name, table| {
            let kind = DriverKind::from_name(name);
            if kind.is_none() {
                let names: Vec<_> = DriverKind::ALL.iter().map(|kind| kind.as_str()).collect();
                let near = nearest(name, names.iter().copied());
                let remedy = near.map_or_else(|| "choose one".to_owned(), |near| format!("did you mean \"{near}\"?"));
                let (origin, path) = (table.origin.clone(), table.path.clone());
                table.session.fault(origin, &path, "an unknown kind of driver", &names.join(", "), &remedy);
                // The entries below are read all the same: their faults show, and none of their keys counts as unknown.
            }
            let read_as = kind.unwrap_or(DriverKind::Cloud);
            Some(table.each(|name, table| KnownDriver::read(read_as, name, table, defaults, own)))
                .filter(|_| kind.is_some())
        });
        Self(kinds.into_iter().flatten().map(|driver| ((driver.kind, driver.name.clone()), driver)).collect())
    }
}

impl KnownDriver {
    /// The dotted name of the entry.
    #[must_use]
    pub fn key(&self) -> String {
        format!("known_drivers.{}.{}", self.kind, self.name)
    }

    fn read(
        kind: DriverKind,
        name: &str,
        table: &mut TableReader<'_, '_>,
        defaults: &Drivers,
        own: &OwnApi,
    ) -> Option<Self> {
        check_name(name, table);
        let program = program(table);
        own.complete(&program, table);
        for key in ["max_concurrency", "max_queue", "call_timeout_seconds", "user"] {
            table.inherit(key, &format!("drivers.{key}"));
        }
        let (limits, limits_stated) = table.table("limits", |table| {
            for key in ["memory", "files", "processes"] {
                table.inherit(key, &format!("drivers.limits.{key}"));
            }
            (Limits::read(table, &defaults.limits), table.origin != Origin::Default)
        });
        let driver = Self {
            kind,
            name: name.to_owned(),
            channel: channel(table, &program),
            isolation: isolation(table, &program, defaults),
            max_concurrency: table.within("max_concurrency", defaults.max_concurrency, 1..=4096),
            max_queue: table.within("max_queue", defaults.max_queue, 0..=1_000_000),
            call_timeout: table.get("call_timeout_seconds", defaults.call_timeout),
            required: table.get("required", false),
            user: confinement::read_user(table, defaults.user.clone()),
            limits,
            sandbox: table.optional_table("sandbox", Sandbox::read),
            sha256: table.optional::<Sha256>("sha256").map(|hash| hash.0),
            trust: trust(table, defaults),
            config: table.instance("config"),
            origin: Uncompared(table.origin.clone()),
            program,
        };
        // Those that hold anyway are stated by `config show`, whose output is to be readable again.
        let limits_differ = limits_stated && driver.limits != defaults.limits;
        let user_differs = table.session.is_stated(&table.key("user")) && driver.user != defaults.user;
        let stated = [("limits", limits_differ), ("sandbox", driver.sandbox.is_some()), ("user", user_differs)];
        confinement::refuse_in_process(driver.isolation, &stated, table);
        if driver.isolation == Isolation::Process {
            driver.limits.check_threads(driver.max_concurrency, table);
        }
        Some(driver)
    }
}

fn trust(table: &mut TableReader<'_, '_>, defaults: &Drivers) -> Trust {
    let own: Option<SignatureKey> = table.optional("signature_key");
    let key = table.key("signature_key");
    warn_if_open(own.as_ref(), &key, table);
    let signature_keys = own.map_or_else(|| defaults.signature_keys.clone(), |own| vec![own.key]);
    Trust { policy: defaults.policy, signature_keys, locked: None }
}

/// Warns of files of keys that everybody may write.
pub(super) fn warn_if_open<'k>(
    keys: impl IntoIterator<Item = &'k SignatureKey>,
    name: &str,
    table: &mut TableReader<'_, '_>,
) {
    let origin = table.session.origin(name);
    let files = keys.into_iter().filter_map(|key| key.file.as_ref());
    let warnings = files.filter_map(|(path, mode)| text_file::open_to_all(path, *mode));
    table.session.warnings.extend(warnings.map(|text| Warning { origin: origin.clone(), key: name.to_owned(), text }));
}

/// The name becomes part of file names, labels of figures and environment variables.
pub(super) fn check_name(name: &str, table: &mut TableReader<'_, '_>) {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if name.len() <= 64 && !name.is_empty() && name.bytes().all(allowed) {
        return;
    }
    let (origin, path) = (table.origin.clone(), table.path.clone());
    let expected = "1 to 64 of a-z, 0-9, _ and -";
    table.session.fault(origin, &path, &format!("the name {name:?}"), expected, "rename it");
}

fn program(table: &mut TableReader<'_, '_>) -> DriverProgram {
    let library: Option<String> = table.optional("library");
    let command: Option<Vec<String>> = table.optional("command");
    let path = table.path.clone();
    let mut fault = |key: String, found: &str, expected: &str, remedy: &str| {
        let origin = table.session.effective.iter().find(|value| value.key == key && value.origin != Origin::Default);
        let origin = origin.map_or_else(|| table.origin.clone(), |value| value.origin.clone());
        table.session.fault(origin, &key, found, expected, remedy);
    };
    match (library, command) {
        (Some(library), None) if library.is_empty() => {
            fault(format!("{path}.library"), "an empty text", "the file of the library", "name it, or use command");
            DriverProgram::Library(PathBuf::new())
        }
        (Some(library), None) => DriverProgram::Library(PathBuf::from(library)),
        (None, Some(command)) => {
            if command.first().is_none_or(String::is_empty) {
                fault(format!("{path}.command"), "no program", "a program and its arguments", "name the program first");
            }
            DriverProgram::Command(command)
        }
        (Some(library), Some(_)) => {
            fault(format!("{path}.command"), "a library and a command", "one of the two", "remove library or command");
            DriverProgram::Library(PathBuf::from(library))
        }
        (None, None) => {
            fault(path, "neither library nor command", "one of the two", "add library = \"lib....so\"");
            DriverProgram::Library(PathBuf::new())
        }
    }
}

fn channel(table: &mut TableReader<'_, '_>, program: &DriverProgram) -> Channel {
    let channel = table.get("channel", Channel::Stdio);
    if matches!(program, DriverProgram::Library(_)) && channel != Channel::Stdio {
        let key = table.key("channel");
        table.session.fault_at(
            &key,
            "a channel for a library",
            "a command",
            "remove the key: a library has a socket of its own",
        );
    }
    channel
}

/// A command is a process of its own whatever holds for libraries.
fn isolation(table: &mut TableReader<'_, '_>, program: &DriverProgram, defaults: &Drivers) -> Isolation {
    if matches!(program, DriverProgram::Library(_)) {
        table.inherit("isolation", "drivers.isolation");
        return table.get("isolation", defaults.isolation);
    }
    if table.get("isolation", Isolation::Process) == Isolation::InProcess {
        let key = table.key("isolation");
        table.session.fault_at(
            &key,
            "in-process for a command",
            "process",
            "remove the key: a command is a process of its own",
        );
    }
    Isolation::Process
}
