//! The smallest database driver: its servers are entries in the host's state service, so they outlive the instance.

use capstan_plugin_api::{
    CallContext, DatabaseDriver, Driver, DriverError, Host, Outcome,
    database::{Initialise, ServerRequest, ServerStatus, role, server_state},
    driver,
};

/// The driver `minimal`.
pub struct Minimal {
    host: Host,
}

impl Minimal {
    fn state(&self, server: &str) -> Result<String, DriverError> {
        let kept = self.host.state_get::<String>(&key(server)?)?;
        Ok(kept.map_or_else(|| server_state::ABSENT.to_owned(), |kept| kept.value))
    }

    fn set(&self, server: &str, state: &str) -> Result<(), DriverError> {
        if self.state(server)? == server_state::ABSENT {
            return Err(DriverError::not_found(format!("server {server:?} was never initialised")));
        }
        self.host.state_put(&key(server)?, &state, None).map(|_version| ())
    }

    fn look(&self, server: &str) -> Result<ServerStatus, DriverError> {
        Ok(ServerStatus { state: self.state(server)?, role: role::STANDALONE.to_owned(), ..ServerStatus::default() })
    }
}

fn key(server: &str) -> Result<String, DriverError> {
    let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if server.is_empty() || !server.chars().all(well_formed) {
        return Err(DriverError::invalid_argument("a server's name is a-z, 0-9, - and _"));
    }
    Ok(format!("server/{server}"))
}

impl Driver for Minimal {
    type Config = ();

    fn open(_config: (), host: Host) -> Result<Self, DriverError> {
        Ok(Self { host })
    }
}

#[driver(name = "minimal", vendor = "Capstan")]
impl DatabaseDriver for Minimal {
    fn initialise(&self, _call: &CallContext, request: &Initialise) -> Result<Outcome<()>, DriverError> {
        if self.state(&request.server)? == server_state::ABSENT {
            self.host.state_put(&key(&request.server)?, &server_state::STOPPED, None)?;
        }
        Ok(Outcome::Done(()))
    }

    fn start(&self, _call: &CallContext, request: &ServerRequest) -> Result<Outcome<ServerStatus>, DriverError> {
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
