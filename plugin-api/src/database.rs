//! Database servers on a node: what an agent does there.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{CallContext, Driver, DriverError, Outcome, Secret, Token, dispatch::interface};

/// Parameters of `initialise`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Initialise {
    /// Name of the server on its node; its data and program are found by it.
    pub server: String,
    /// Replication id, unique in the group; 1 or more.
    pub server_id: u32,
    /// Password of the administrator, set before the server listens.
    #[serde(default)]
    pub root_password: Secret,
    /// Settings of the server's own configuration file.
    #[serde(default)]
    pub settings: std::collections::BTreeMap<String, String>,
}

/// Names one server on the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerRequest {
    /// See [`Initialise::server`].
    pub server: String,
    /// A driver refuses a generation older than the one it acted on last; 0 in calls that change nothing.
    #[serde(default)]
    pub generation: u64,
}

/// Names of [`ServerStatus::state`], an open string.
pub mod server_state {
    /// No data directory.
    pub const ABSENT: &str = "absent";
    /// Data, but no process.
    pub const STOPPED: &str = "stopped";
    /// Process that does not answer yet.
    pub const STARTING: &str = "starting";
    /// Answers.
    pub const RUNNING: &str = "running";
    /// Answers with an error, or ended by itself.
    pub const FAILED: &str = "failed";
}

/// Names of [`ServerStatus::role`], an open string.
pub mod role {
    /// Takes writes.
    pub const PRIMARY: &str = "primary";
    /// Follows a primary.
    pub const REPLICA: &str = "replica";
    /// Neither.
    pub const STANDALONE: &str = "standalone";
}

/// Answer of `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// One of [`server_state`].
    pub state: String,
    /// One of [`role`].
    pub role: String,
    /// Version of the server program.
    #[serde(default)]
    pub version: String,
    /// Writes are refused.
    #[serde(default)]
    pub read_only: bool,
    /// Seconds that a replica is behind; none when it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_s: Option<u64>,
    /// Where the server stands in the stream of changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What is wrong, in the server's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault: String,
}

/// A place in the stream of changes, comparable only by the driver's own kind of server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Global transaction ids as the server writes them.
    pub gtid: String,
}

/// Parameters of `create_user` and `set_password`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// See [`Initialise::server`].
    pub server: String,
    /// Name.
    pub name: String,
    /// Host pattern that the user may come from.
    pub host: String,
    /// Password.
    #[serde(default)]
    pub password: Secret,
    /// Databases on which the user gets all rights.
    #[serde(default)]
    pub databases: Vec<String>,
}

/// Parameters of `replicate_from`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicateFrom {
    /// See [`Initialise::server`].
    pub server: String,
    /// See [`ServerRequest::generation`].
    pub generation: u64,
    /// Address of the primary.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Replication user.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl Default for ReplicateFrom {
    fn default() -> Self {
        Self {
            server: String::new(),
            generation: 0,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 0,
            user: String::new(),
            password: Secret::default(),
        }
    }
}

/// Parameters of `promote`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Promote {
    /// See [`Initialise::server`].
    pub server: String,
    /// See [`ServerRequest::generation`].
    pub generation: u64,
    /// Wait until this place has been applied; none promotes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Position>,
}

/// Parameters of `dump` and `restore`: the bytes go through a file or FIFO of the call's own directory, never through a body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// See [`Initialise::server`].
    pub server: String,
    /// Absolute path that the host supplies.
    pub path: PathBuf,
    /// Only these databases; empty means all.
    #[serde(default)]
    pub databases: Vec<String>,
}

/// Answer of `dump` and `restore`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transferred {
    /// Bytes written or read.
    pub bytes: u64,
    /// Place in the stream of changes that the dump shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// Answer of `logs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Logs {
    /// The last part of the server's error log, at most 64 KiB.
    pub text: String,
}

/// A database server on a node.
pub trait DatabaseDriver: Driver {
    /// Makes the data directory; done already is no error.
    fn initialise(&self, call: &CallContext, request: &Initialise) -> Result<Outcome<()>, DriverError>;

    /// Starts the server and returns when it answers; running already is no error.
    fn start(&self, call: &CallContext, request: &ServerRequest) -> Result<Outcome<ServerStatus>, DriverError>;

    /// Stops the server cleanly; stopped already is no error.
    fn stop(&self, call: &CallContext, request: &ServerRequest) -> Result<Outcome<()>, DriverError>;

    /// State, role and place of the server.
    fn status(&self, call: &CallContext, request: &ServerRequest) -> Result<ServerStatus, DriverError>;

    /// Makes a user, or sets the rights of the one that exists.
    fn create_user(&self, _call: &CallContext, _request: &User) -> Result<(), DriverError> {
        Err(DriverError::not_supported("create_user"))
    }

    /// Removes a user; a missing one is no error.
    fn delete_user(&self, _call: &CallContext, _request: &User) -> Result<(), DriverError> {
        Err(DriverError::not_supported("delete_user"))
    }

    /// Sets a user's password.
    fn set_password(&self, _call: &CallContext, _request: &User) -> Result<(), DriverError> {
        Err(DriverError::not_supported("set_password"))
    }

    /// Takes writes and lets replicas follow.
    fn become_primary(&self, _call: &CallContext, _request: &ServerRequest) -> Result<(), DriverError> {
        Err(DriverError::not_supported("become_primary"))
    }

    /// Follows a primary.
    fn replicate_from(&self, _call: &CallContext, _request: &ReplicateFrom) -> Result<Outcome<()>, DriverError> {
        Err(DriverError::not_supported("replicate_from"))
    }

    /// Turns a replica into the primary.
    fn promote(&self, _call: &CallContext, _request: &Promote) -> Result<Outcome<Position>, DriverError> {
        Err(DriverError::not_supported("promote"))
    }

    /// Where the server stands.
    fn position(&self, _call: &CallContext, _request: &ServerRequest) -> Result<Position, DriverError> {
        Err(DriverError::not_supported("position"))
    }

    /// Writes a dump.
    fn dump(&self, _call: &CallContext, _request: &Transfer) -> Result<Outcome<Transferred>, DriverError> {
        Err(DriverError::not_supported("dump"))
    }

    /// Reads a dump.
    fn restore(&self, _call: &CallContext, _request: &Transfer) -> Result<Outcome<Transferred>, DriverError> {
        Err(DriverError::not_supported("restore"))
    }

    /// The server's own log.
    fn logs(&self, _call: &CallContext, _request: &ServerRequest) -> Result<Logs, DriverError> {
        Err(DriverError::not_supported("logs"))
    }

    /// How far a pending call is.
    fn poll(&self, _call: &CallContext, _token: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Err(DriverError::not_supported("poll"))
    }

    /// Finds a pending call again after a restart.
    fn recover(&self, _call: &CallContext, _token: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Err(DriverError::not_supported("recover"))
    }
}

interface! {
    /// Exports a [`DatabaseDriver`].
    Database<D: DatabaseDriver> {
        long initialise(Initialise);
        long start(ServerRequest);
        long stop(ServerRequest);
        status(ServerRequest);
        create_user(User);
        delete_user(User);
        set_password(User);
        become_primary(ServerRequest);
        long replicate_from(ReplicateFrom);
        long promote(Promote);
        position(ServerRequest);
        long dump(Transfer);
        long restore(Transfer);
        logs(ServerRequest);
        long poll(Token);
        long recover(Token);
    }
}
