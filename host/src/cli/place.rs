//! Where a command finds its configuration and its daemon.

use std::path::PathBuf;

use tokio::runtime::Runtime;

use super::{
    client::{Credentials, Daemon},
    exit::Failure,
    output::Output,
    settings,
};
use crate::{
    config::{
        DriverSchemas, Drivers, InstanceConfig, KnownDriver, Loaded, Loader, Misfit, ProcessEnvironment, SchemaFault,
    },
    drivers::{self, DriverFile, LoadError},
    http::OwnToken,
    pool,
};

/// What the options that every command has say.
#[derive(Clone, Debug)]
pub struct Place {
    /// The configuration file.
    pub config: PathBuf,
    /// The daemon's socket, if it is not the one of the configuration.
    pub socket: Option<PathBuf>,
    /// The daemon's URL, in place of a socket.
    pub url: Option<String>,
    /// Form of the result.
    pub output: Output,
    /// How the commands make themselves known to a daemon that they reach by its URL.
    pub credentials: Credentials,
    /// The token that the daemon makes at its start, for references to its file.
    pub own_token: Option<OwnToken>,
}

/// A value that an option of the command lays over the configuration.
#[derive(Clone, Debug)]
pub struct SetByOption {
    /// The key.
    pub key: &'static str,
    /// The value, as TOML or text.
    pub value: String,
    /// How the operator knows it.
    pub option: &'static str,
}

impl Place {
    /// Reads the configuration for a command that talks to a daemon, or that writes the lock file; the drivers' own sections and
    /// the lock file are that daemon's business.
    pub fn load(&self) -> Result<Loaded, Failure> {
        finish(&Loader::new(&ProcessEnvironment).file(&self.config).without_lock())
    }

    /// Reads the configuration for a command that loads a driver itself, which tells of its own section at its stage.
    pub fn load_with_lock(&self) -> Result<Loaded, Failure> {
        finish(&Loader::new(&ProcessEnvironment).file(&self.config))
    }

    /// Reads the configuration for a look at all that can be looked at without starting anything.
    pub fn load_to_check(&self) -> Result<Loaded, Failure> {
        let loader = Loader::new(&ProcessEnvironment).file(&self.config).schemas(&Schemas).driver_files();
        finish(&loader.stock_files(pool::asks_for_enrolment))
    }

    /// Reads the configuration for a daemon, with what the command's options lay over it. The drivers' own sections are held
    /// against their schemas.
    pub fn load_all(&self, options: &[SetByOption]) -> Result<Loaded, Failure> {
        let loader = Loader::new(&ProcessEnvironment).file(&self.config).schemas(&Schemas);
        let mut loader = loader.stock_files(pool::asks_for_enrolment);
        for SetByOption { key, value, option } in options {
            loader = loader.set(key, value, option);
        }
        if let Some(own) = &self.own_token {
            loader = loader.device_token(own.expose());
        }
        finish(&loader)
    }

    /// The running daemon, by the options or by the configuration.
    pub fn daemon(&self) -> Result<Daemon, Failure> {
        match (&self.url, &self.socket) {
            (Some(url), _) => Daemon::from_url(url, &self.credentials),
            (None, Some(socket)) => Daemon::on_socket(socket.clone(), &self.credentials),
            (None, None) => {
                let loaded = self.load().map_err(|failure| self.beside_a_broken_file(failure))?;
                Daemon::on_socket(loaded.config.http.socket, &self.credentials)
            }
        }
    }

    /// Names the way to a daemon that runs on with what the file said before it was broken.
    fn beside_a_broken_file(&self, failure: Failure) -> Failure {
        let Failure::Usage(text) = failure else { return failure };
        let socket = Loader::new(&ProcessEnvironment).file(&self.config).socket();
        Failure::Usage(format!(
            "{text}\na daemon that runs is asked without this file by --socket {}",
            socket.display()
        ))
    }
}

fn finish(loader: &Loader<'_>) -> Result<Loaded, Failure> {
    loader.load().map_err(|faults| Failure::Usage(format!("the configuration cannot be used\n{faults}")))
}

/// The runtime of a command.
pub fn runtime() -> Result<Runtime, Failure> {
    Runtime::new().map_err(|error| Failure::Unavailable(format!("no threads are to be had: {error}")))
}

/// The configuration room's way to the drivers' schemas: the manifest is read, the driver is not run.
struct Schemas;

impl DriverSchemas for Schemas {
    fn faults(&self, drivers: &Drivers, driver: &KnownDriver, config: &InstanceConfig) -> Vec<SchemaFault> {
        // A file that cannot be read is told of when the driver is loaded.
        let Some(Ok(facts)) = inspect(drivers, driver) else { return Vec::new() };
        let mut faults = drivers::schema_faults(&facts.manifest, config.expose());
        let referred = config.secret_pointers();
        let plain = drivers::secret_texts(&facts.manifest, config.expose());
        faults.extend(plain.into_iter().filter(|pointer| !referred.contains(pointer)).map(|pointer| SchemaFault {
            pointer,
            expected: "a reference to a secret".to_owned(),
            misfit: Misfit::Value {
                choices: Vec::new(),
                is_secret: true,
                remedy: "keep it outside this file and name its place: { file = \"...\" }, { env = \"...\" } or { credential = \"...\" }",
            },
        }));
        faults
    }

    fn unloadable(&self, drivers: &Drivers, driver: &KnownDriver) -> Option<String> {
        match inspect(drivers, driver) {
            Some(inspected) => inspected.err().map(|error| error.to_string()),
            None => {
                let program = settings::program(drivers, driver);
                program.metadata().err().map(|error| format!("{} cannot be read ({error})", program.display()))
            }
        }
    }
}

/// What a library's file says of itself; none for a command.
fn inspect(drivers: &Drivers, driver: &KnownDriver) -> Option<Result<DriverFile, LoadError>> {
    Some(drivers::inspect(&settings::library(drivers, driver)?, drivers.trust_own_files))
}
