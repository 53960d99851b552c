//! Reading it all: files, environment, command line; then the checks.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Config, DriverSchemas, Effective, Environment, Fault, Faults, Origin, Secret, Warning, checks,
    origin::absolute,
    read::{self, Gathered, Session, Table},
    schemas, stock_files, trust,
};

/// A configuration without faults, and what is known about it.
#[derive(Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    /// What the operator should look at.
    pub warnings: Vec<Warning>,
    effective: Vec<Effective>,
    secrets: BTreeSet<String>,
}

impl Loaded {
    /// Every value in force and where it comes from, section by section. No secret is among them.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// Where the value of a dotted key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.effective.iter().find(|value| value.key == key).map(|value| &value.origin)
    }

    /// The secrets that were resolved, for the log to blot out.
    #[must_use]
    pub fn secret_values(&self) -> Vec<Secret> {
        self.secrets.iter().cloned().map(Secret::new).collect()
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Loaded")
            .field("config", &self.config)
            .field("files", &self.files)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Reads a configuration, with what a command adds to it.
#[derive(Clone)]
pub struct Loader<'a> {
    file: Option<PathBuf>,
    environment: &'a dyn Environment,
    options: Vec<(String, String, String)>,
    schemas: Option<&'a dyn DriverSchemas>,
    lock: bool,
    driver_files: bool,
    asks_for_enrolment: Option<fn(&str) -> bool>,
    device_token: Option<Secret>,
}

impl<'a> Loader<'a> {
    /// Defaults, environment and options; no file.
    #[must_use]
    pub fn new(environment: &'a dyn Environment) -> Self {
        Self {
            file: None,
            environment,
            options: Vec::new(),
            schemas: None,
            lock: true,
            driver_files: false,
            asks_for_enrolment: None,
            device_token: None,
        }
    }

    /// Reads this file, and `conf.d/*.toml` in its folder. However it is named, what it says comes to the same: a relative path
    /// is taken from the working directory of now.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some(absolute(path.as_ref()));
        self
    }

    /// Lays an option of the command line over file and environment. `value` is TOML when it parses as such, else text;
    /// `option` is how the operator knows it: `set("worker.driver", "noop", "--driver")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str, option: &str) -> Self {
        self.options.push((key.to_owned(), value.to_owned(), option.to_owned()));
        self
    }

    /// Has the drivers' configurations held against their schemas.
    #[must_use]
    pub fn schemas(mut self, schemas: &'a dyn DriverSchemas) -> Self {
        self.schemas = Some(schemas);
        self
    }

    /// Looks at the drivers' files too, if schemas are asked; a daemon tells of them when it loads them.
    #[must_use]
    pub fn driver_files(mut self) -> Self {
        self.driver_files = true;
        self
    }

    /// Has the files read that the stocks name, where this configuration runs the pool manager: it does not start without them.
    /// `asks_for_enrolment` says of a text whether only an authority with an address can complete it.
    #[must_use]
    pub fn stock_files(mut self, asks_for_enrolment: fn(&str) -> bool) -> Self {
        self.asks_for_enrolment = Some(asks_for_enrolment);
        self
    }

    /// Leaves the lock file beside the configuration alone.
    #[must_use]
    pub fn without_lock(mut self) -> Self {
        self.lock = false;
        self
    }

    /// What the daemon's own token file will hold, for references to it.
    #[must_use]
    pub fn device_token(mut self, token: &str) -> Self {
        self.device_token = Some(Secret::new(token.to_owned()));
        self
    }

    /// Reads and checks. Reads files, starts nothing.
    ///
    /// # Errors
    /// Every fault of every source at once; where a file cannot be read or is no TOML, what is wrong with the files as such alone,
    /// for nothing is known of what they would say.
    pub fn load(&self) -> Result<Loaded, Faults> {
        let mut session = Session::new(self.environment);
        session.issued = self.device_token.as_ref().map(|token| token.expose().to_owned());
        let Gathered { mut tree, files, is_whole } = self.gather(&mut session.faults);
        if !is_whole {
            return Err(Faults::new(session.faults));
        }
        read::apply(&mut tree, self.environment, &self.options, &mut session.faults);
        let mut config = session.table(tree, "", Origin::Default, Config::read);
        if let Some(path) = self.file.as_ref().filter(|_| self.lock) {
            trust::apply(path, &mut config, &mut session);
        }
        checks::across(&config, &mut session);
        if let Some(asks_for_enrolment) = self.asks_for_enrolment {
            stock_files::check(&config, asks_for_enrolment, &mut session);
        }
        if let Some(drivers) = self.schemas {
            schemas::check(&config, drivers, &mut session);
            if self.driver_files {
                schemas::check_files(&config, drivers, &mut session);
            }
        }
        let Session { faults, warnings, effective, secrets, .. } = session;
        if faults.is_empty() {
            Ok(Loaded { config, files, warnings, effective, secrets })
        } else {
            Err(Faults::new(faults))
        }
    }

    /// Where the daemon's socket is, as far as this configuration tells, whatever else is wrong with it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let mut session = Session::new(self.environment);
        let Gathered { mut tree, .. } = self.gather(&mut session.faults);
        read::apply(&mut tree, self.environment, &self.options, &mut session.faults);
        session.table(tree, "", Origin::Default, Config::read).http.socket
    }

    fn gather(&self, faults: &mut Vec<Fault>) -> Gathered {
        match &self.file {
            Some(path) => read::gather(path, faults),
            None => Gathered { tree: Table::new(), files: Vec::new(), is_whole: true },
        }
    }
}

impl fmt::Debug for Loader<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Loader").field("file", &self.file).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Reads the file at `path`, `conf.d/*.toml` beside it and the overrides of the environment.
///
/// # Errors
/// Every fault of every source at once.
pub fn load(path: &Path, environment: &dyn Environment) -> Result<Loaded, Faults> {
    Loader::new(environment).file(path).load()
}

/// Every key there is, with its default. `name` stands for a name that the operator chooses, `load_balancer` for any kind.
#[must_use]
pub fn reference() -> Vec<Effective> {
    let environment = std::collections::BTreeMap::new();
    let mut session = Session::new(&environment);
    // Tables that exist only by name have to be there for their keys to be read.
    let named = "[http.tls]\n[gearman.embedded_tls]\n[known_drivers.load_balancer.name]\n[known_drivers.load_balancer.name.sandbox]\n\
                 [cloud_farm.name]\n";
    let tree = read::parse(Path::new("reference"), named, &mut session.faults);
    let _config = session.table(tree, "", Origin::Default, Config::read);
    session.effective.into_iter().map(|value| Effective { origin: Origin::Default, ..value }).collect()
}
