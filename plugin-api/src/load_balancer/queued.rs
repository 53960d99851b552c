//! The queued form, the seed's: calls collect a configuration, `create` applies it.

use super::{ArchiveRequest, Archived, Statistics, Status, adapter::Adapter};
use crate::{CallContext, Driver, DriverError, Health, Host};

/// A server that takes traffic, as `add_server` gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Protocol (lower case) of the load balancer that it belongs to.
    pub protocol: String,
    /// Id of the member.
    pub id: String,
    /// Address or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// 1 to 256; a driver without weights refuses any but 1.
    pub weight: u32,
    /// Takes traffic only when no other server can.
    pub backup: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self { protocol: String::new(), id: String::new(), host: String::new(), port: 0, weight: 1, backup: false }
    }
}

/// How traffic is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// Each server in turn.
    RoundRobin,
    /// The server with the fewest connections.
    LeastConnections,
}

/// Parameters of `add_monitor`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MonitorSettings {
    /// `connect` or `http`.
    pub kind: String,
    /// Seconds between two checks.
    pub delay_s: u32,
    /// Seconds until a check counts as failed.
    pub timeout_s: u32,
    /// Checks in a row that change a server's state.
    pub attempts: u32,
    /// Path for `http`.
    pub path: String,
}

/// Parameters of `set_timeouts`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeoutSettings {
    /// Milliseconds.
    pub client_ms: u32,
    /// Milliseconds.
    pub server_ms: u32,
    /// Milliseconds.
    pub connect_ms: u32,
    /// Attempts after the first.
    pub retries: u32,
}

/// A load balancer of the seed's form. `add_server`, `set_protocol`, `set_algorithm` and the other setters are only queued until
/// `create`; `suspend`, `enable` and `delete` act at once. The adapter runs the queued calls one after the other inside one
/// `apply` and never two of them at the same time.
pub trait LoadBalancerDriver: Driver {
    /// Forgets what is queued.
    fn init(&self, call: &CallContext) -> Result<(), DriverError>;

    /// Queues a server.
    fn add_server(&self, call: &CallContext, server: &Server) -> Result<(), DriverError>;

    /// Sets the protocol (lower case) and port of the device's one load balancer.
    fn set_protocol(&self, call: &CallContext, protocol: &str, port: Option<u16>) -> Result<(), DriverError>;

    /// Sets how the traffic of `protocol` is spread.
    fn set_algorithm(&self, call: &CallContext, protocol: &str, algorithm: Algorithm) -> Result<(), DriverError>;

    /// Applies what is queued.
    fn create(&self, call: &CallContext) -> Result<(), DriverError>;

    /// Stops serving at once.
    fn suspend(&self, call: &CallContext) -> Result<(), DriverError>;

    /// Serves again at once.
    fn enable(&self, call: &CallContext) -> Result<(), DriverError>;

    /// Removes everything at once.
    fn delete(&self, call: &CallContext) -> Result<(), DriverError>;

    /// Adds a further load balancer to the device. Without it the device carries one.
    fn add_protocol(&self, _call: &CallContext, _protocol: &str, _port: Option<u16>) -> Result<(), DriverError> {
        Err(DriverError::not_supported("add_protocol"))
    }

    /// Queues a health check.
    fn add_monitor(&self, _call: &CallContext, _protocol: &str, _monitor: &MonitorSettings) -> Result<(), DriverError> {
        Err(DriverError::not_supported("add_monitor"))
    }

    /// Queues time limits.
    fn set_timeouts(
        &self,
        _call: &CallContext,
        _protocol: &str,
        _timeouts: &TimeoutSettings,
    ) -> Result<(), DriverError> {
        Err(DriverError::not_supported("set_timeouts"))
    }

    /// Health of the servers.
    fn status(&self, _call: &CallContext) -> Result<Status, DriverError> {
        Err(DriverError::not_supported("status"))
    }

    /// Traffic since the last call.
    fn statistics(&self, _call: &CallContext) -> Result<Statistics, DriverError> {
        Err(DriverError::not_supported("statistics"))
    }

    /// Puts a copy of the log away.
    fn archive(&self, _call: &CallContext, _request: &ArchiveRequest) -> Result<Archived, DriverError> {
        Err(DriverError::not_supported("archive"))
    }
}

/// Exports a [`LoadBalancerDriver`] through the [`Adapter`].
pub struct Queued<D>(Adapter<D>);

impl<D: LoadBalancerDriver> crate::dispatch::Interface for Queued<D> {
    type Config = D::Config;

    fn open(config: Self::Config, host: Host) -> Result<Self, DriverError> {
        Adapter::open(config, host).map(Self)
    }

    fn dispatch(
        &self,
        call: &CallContext,
        method: &str,
        params: Option<&serde_json::value::RawValue>,
    ) -> Result<crate::dispatch::Answer, DriverError> {
        super::Declared::<Adapter<D>>::run(&self.0, call, method, params)
    }

    fn health(&self) -> Result<Health, DriverError> {
        self.0.driver().health()
    }

    fn close(self) {
        self.0.into_driver().close();
    }
}
