//! The database driver `@NAME@`: its servers are entries in the host's state. Put your server where the notes say so.

use capstan_plugin_api::{
    CallContext, ConfigSchema, DatabaseDriver, Driver, DriverError, Host, Outcome,
    database::{Initialise, ServerRequest, ServerStatus, role, server_state},
    driver,
};
use serde::Deserialize;

/// What stands in the entry's `config`; the host checks it against this before the driver is opened.
#[derive(Debug, Default, Deserialize, ConfigSchema)]
#[serde(default)]
pub struct Config {
    /// Folder of the server's data.
    data_directory: String,
}

pub struct Database {
    // Here: what starts and stops a server, made of this.
    #[expect(dead_code, reason = "the servers are entries in the host's state")]
    config: Config,
    host: Host,
}

impl Database {
    fn state(&self, server: &str) -> Result<String, DriverError> {
        let kept = self.host.state_get::<String>(&key(server)?)?;
        Ok(kept.map_or_else(|| server_state::ABSENT.to_owned(), |kept| kept.value))
    }

    fn set(&self, server: &str, state: &str) -> Result<(), DriverError> {
        if self.state(server)? == server_state::ABSENT {
            return Err(DriverError::not_found(format!("server {server:?} was never initialised")));
        }
        self.host.state_put(&key(server)?, &state, None).map(drop)
    }

    fn look(&self, server: &str) -> Result<ServerStatus, DriverError> {
        Ok(ServerStatus { state: self.state(server)?, role: role::STANDALONE.to_owned(), ..ServerStatus::default() })
    }
}

fn key(server: &str) -> Result<String, DriverError> {
    let is_well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if server.is_empty() || server.len() > 64 || !server.chars().all(is_well_formed) {
        return Err(DriverError::invalid_argument("a server's name is 1 to 64 of a-z, 0-9, - and _"));
    }
    Ok(format!("server/{server}"))
}

impl Driver for Database {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, DriverError> {
        Ok(Self { config, host })
    }
}

#[driver(name = "@NAME@", vendor = "Your company", description = "Runs your database server")]
impl DatabaseDriver for Database {
    fn initialise(&self, _call: &CallContext, request: &Initialise) -> Result<Outcome<()>, DriverError> {
        if self.state(&request.server)? == server_state::ABSENT {
            // Here: make the data directory.
            self.host.state_put(&key(&request.server)?, &server_state::STOPPED, None)?;
        }
        Ok(Outcome::Done(()))
    }

    fn start(&self, _call: &CallContext, request: &ServerRequest) -> Result<Outcome<ServerStatus>, DriverError> {
        // Here: `program.start`, so that the server outlives this driver.
        self.set(&request.server, server_state::RUNNING)?;
        self.look(&request.server).map(Outcome::Done)
    }

    fn stop(&self, _call: &CallContext, request: &ServerRequest) -> Result<Outcome<()>, DriverError> {
        self.set(&request.server, server_state::STOPPED).map(Outcome::Done)
    }

    fn status(&self, _call: &CallContext, request: &ServerRequest) -> Result<ServerStatus, DriverError> {
        self.look(&request.server)
    }
}
