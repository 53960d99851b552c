//! The lock file: what each driver's file was when the operator last looked. Its form, read and written.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use crate::config::{
    Config, DriverKind, DriverPolicy, Environment, Fault, Origin, Warning,
    read::{self, Session, TableReader, Value},
    show, text_file,
    trust::Sha256,
};

/// Largest lock file; thousands of drivers fit.
const LIMIT: u64 = 1 << 20;
/// The form that is written, and the only one that is read.
const VERSION: u32 = 1;
const REWRITE: &str = "run capstan driver lock to write it anew";

/// What a file was when it was locked.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LockedFile {
    /// Where it was.
    pub path: PathBuf,
    /// The SHA-256 of its content, in 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The version in its manifest; a program has none.
    pub version: Option<String>,
}

/// The lines of a lock file, by kind and name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DriverLock(BTreeMap<(DriverKind, String), LockedFile>);

/// Where the lock file of a configuration is: `drivers.lock` beside it.
#[must_use]
pub fn lock_file(config: &Path) -> PathBuf {
    config.with_file_name("drivers.lock")
}

impl DriverLock {
    /// The line of one driver.
    #[must_use]
    pub fn get(&self, kind: DriverKind, name: &str) -> Option<&LockedFile> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// All lines, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = (DriverKind, &str, &LockedFile)> {
        self.0.iter().map(|((kind, name), file)| (*kind, name.as_str(), file))
    }

    /// Adds a line, in place of one that is there.
    pub fn insert(&mut self, kind: DriverKind, name: &str, file: LockedFile) {
        self.0.insert((kind, name.to_owned()), file);
    }

    /// The content of the file; the same lines give the same text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# What the files of known_drivers were when `capstan driver lock` last ran. A driver whose file differs is not\n\
             # loaded; after an update on purpose, look at `capstan driver lock --check` and run `capstan driver lock` again.\n\
             version = {VERSION}\n"
        );
        for (kind, name, file) in self.iter() {
            let path = file.path.display().to_string();
            let _ = write!(
                text,
                "\n[[driver]]\nkind = {}\nname = {}\npath = {}\nsha256 = {}\n",
                show::inline(&kind.as_str().into()),
                show::inline(&name.into()),
                show::inline(&path.into()),
                show::inline(&file.sha256.as_str().into()),
            );
            if let Some(version) = &file.version {
                let _ = writeln!(text, "version = {}", show::inline(&version.as_str().into()));
            }
        }
        text
    }

    /// Reads the lock file of a configuration.
    ///
    /// # Errors
    /// Every fault of it. A file that does not exist is no fault.
    pub fn read(path: &Path) -> Result<Option<Self>, Vec<Fault>> {
        let mut warnings = Vec::new();
        Self::read_with(path, &mut warnings)
    }

    fn read_with(path: &Path, warnings: &mut Vec<Warning>) -> Result<Option<Self>, Vec<Fault>> {
        let place = |line| Origin::File { path: Arc::from(path), line };
        let (text, mode) = match text_file::read(path, LIMIT) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(vec![Fault {
                    origin: place(1),
                    key: String::new(),
                    found: format!("that it cannot be read ({error})"),
                    expected: "a lock file that the daemon's user can read".to_owned(),
                    remedy: format!("correct its permissions, or {REWRITE}"),
                }]);
            }
        };
        let exposed = text_file::open_to_all(path, mode);
        warnings.extend(exposed.map(|text| Warning { origin: place(1), key: "drivers.lock".to_owned(), text }));
        let nowhere: BTreeMap<String, String> = BTreeMap::new();
        let mut session = Session::new(&nowhere as &dyn Environment);
        let table = read::parse(path, &text, &mut session.faults);
        let lock = session.table(table, "", place(1), Self::fields);
        if session.faults.is_empty() { Ok(Some(lock)) } else { Err(session.faults) }
    }

    fn fields(root: &mut TableReader<'_, '_>) -> Self {
        let mut lock = Self::default();
        let version = root.required("version", &VERSION.to_string());
        if version.is_some_and(|version: u32| version != VERSION) {
            root.session.fault_at("version", "a lock file of another version", &VERSION.to_string(), REWRITE);
        }
        let Some(node) = root.take("driver") else { return lock };
        let Value::Array(drivers) = node.value else {
            root.session.fault(node.origin, "driver", "something else than a list of tables", "[[driver]]", REWRITE);
            return lock;
        };
        for driver in drivers {
            let Value::Table(table) = driver.value else {
                root.session.fault(driver.origin, "driver", "something else than a table", "[[driver]]", REWRITE);
                continue;
            };
            let origin = driver.origin.clone();
            let line = root.session.table(table, "driver", driver.origin, |table| {
                let kind: Option<DriverKind> = table.required("kind", "a kind of driver");
                let name: Option<String> = table.required("name", "a name of known_drivers");
                let path: Option<PathBuf> = table.required("path", "the driver's file");
                let sha256: Option<Sha256> = table.required("sha256", "the SHA-256 of the driver's file");
                let version = table.optional("version");
                Some((kind?, name?, LockedFile { path: path?, sha256: sha256?.to_string(), version }))
            });
            let Some((kind, name, file)) = line else { continue };
            if lock.get(kind, &name).is_some() {
                let found = format!("a second line for {kind}.{name}");
                root.session.fault(origin, "driver", &found, "one", REWRITE);
            }
            lock.insert(kind, &name, file);
        }
        lock
    }
}

/// Gives each entry its line of the lock file beside the configuration, and says which have none.
pub(in crate::config) fn apply(main: &Path, config: &mut Config, session: &mut Session<'_>) {
    let path = lock_file(main);
    let lock = match DriverLock::read_with(&path, &mut session.warnings) {
        Ok(None) => return,
        Ok(Some(lock)) => lock,
        Err(faults) => return session.faults.extend(faults),
    };
    let origin = Origin::File { path: Arc::from(path.as_path()), line: 1 };
    for (kind, name, _) in lock.iter().filter(|(kind, name, _)| config.known_drivers.get(*kind, name).is_none()) {
        session.warnings.push(Warning {
            origin: origin.clone(),
            key: format!("{kind}.{name}"),
            text: "a line for a driver that known_drivers does not have; capstan driver lock removes it".to_owned(),
        });
    }
    for driver in config.known_drivers.iter_mut() {
        driver.trust.locked = lock.get(driver.kind, &driver.name).cloned();
        // Under "pinned" the checks that follow say more.
        if driver.trust.locked.is_none() && driver.trust.policy != DriverPolicy::Pinned {
            session.warnings.push(Warning {
                origin: driver.origin.0.clone(),
                key: driver.key(),
                text: format!("no line in {}; capstan driver lock adds it", path.display()),
            });
        }
    }
}
