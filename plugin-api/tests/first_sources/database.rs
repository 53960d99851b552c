//! A database driver of the first release, with every service of the host.

use std::path::PathBuf;

use capstan_plugin_api::{
    CallContext, DatabaseDriver, Driver, DriverError, Host, Outcome, Program, ProgramSpec, Secret, Token, Versioned,
    database::{
        Initialise, Position, Promote, ReplicateFrom, ServerRequest, ServerStatus, Transfer, Transferred, User, role,
        server_state,
    },
};

pub struct Acme(Host);

impl Driver for Acme {
    type Config = ();

    fn open(_config: (), host: Host) -> Result<Self, DriverError> {
        if host.ending() { Err(DriverError::cancelled()) } else { Ok(Self(host.clone())) }
    }
}

impl DatabaseDriver for Acme {
    fn initialise(&self, call: &CallContext, request: &Initialise) -> Result<Outcome<()>, DriverError> {
        let Initialise { server, server_id, root_password, settings, .. } = request;
        let _secret: Secret = call.host().secret("root")?;
        self.0.state_put(server, &(server_id, root_password.expose(), settings), Some(0)).map(|_version: u64| ().into())
    }

    fn start(&self, call: &CallContext, request: &ServerRequest) -> Result<Outcome<ServerStatus>, DriverError> {
        let spec = ProgramSpec {
            name: request.server.clone(),
            command: vec!["/usr/sbin/server".into()],
            directory: Some(PathBuf::from("/")),
            ..Default::default()
        };
        let Program { pid, found, .. } = self.0.program_start(&spec)?;
        self.0.metric("starts", f64::from(u8::from(!found)));
        self.0.notify("status", &serde_json::json!({ "pid": pid, "request": call.request_id() }))?;
        self.status(call, request).map(Outcome::from)
    }

    fn stop(&self, _call: &CallContext, request: &ServerRequest) -> Result<Outcome<()>, DriverError> {
        self.0.program_stop(&request.server, 1000)?;
        self.0.state_delete(&request.server)?;
        Ok(Outcome::Done(()))
    }

    fn status(&self, _call: &CallContext, request: &ServerRequest) -> Result<ServerStatus, DriverError> {
        let kept: Option<Versioned<String>> = self.0.state_get(&request.server)?;
        let runs = self.0.program_find(&request.server)?.is_some();
        Ok(ServerStatus {
            state: if runs { server_state::RUNNING } else { server_state::STOPPED }.into(),
            role: role::STANDALONE.into(),
            position: kept.map(|kept| Position { gtid: kept.value, ..Default::default() }),
            ..Default::default()
        })
    }

    fn create_user(&self, _call: &CallContext, request: &User) -> Result<(), DriverError> {
        let User { server, name, host, password, databases, .. } = request;
        let _all = (server, name, host, password, databases);
        self.0.call("a.service.of.2040", &serde_json::json!({}))
    }

    fn replicate_from(&self, _call: &CallContext, request: &ReplicateFrom) -> Result<Outcome<()>, DriverError> {
        let ReplicateFrom { server, generation, address, port, user, password, .. } = request;
        Err(DriverError::unavailable(format!("{server} {generation} {address} {port} {user} {password:?}")))
    }

    fn promote(&self, _call: &CallContext, request: &Promote) -> Result<Outcome<Position>, DriverError> {
        request.after.clone().map(Outcome::Done).ok_or_else(|| DriverError::timeout("not yet"))
    }

    fn dump(&self, _call: &CallContext, request: &Transfer) -> Result<Outcome<Transferred>, DriverError> {
        let keys: Vec<String> = self.0.state_list("")?;
        if request.path.is_absolute() && request.databases.is_empty() && keys.is_empty() {
            return Ok(Outcome::Done(Transferred { bytes: 0, ..Default::default() }));
        }
        Err(DriverError::internal("no"))
    }

    fn recover(&self, _call: &CallContext, token: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Err(DriverError::not_found(token.token.clone()))
    }
}
