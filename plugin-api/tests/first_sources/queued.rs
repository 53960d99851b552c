//! A load balancer of the seed's form, of the first release.

use std::sync::Mutex;

use capstan_plugin_api::{
    CallContext, Driver, DriverError, Host, LoadBalancerDriver,
    load_balancer::{
        Algorithm, ArchiveRequest, Archived, ListenerStatistics, MemberStatus, MonitorSettings, Server, Statistics,
        Status, TimeoutSettings,
    },
};

pub struct Acme(Mutex<Vec<String>>);

impl Driver for Acme {
    type Config = ();

    fn open(_config: (), _host: Host) -> Result<Self, DriverError> {
        Ok(Self(Mutex::default()))
    }
}

impl Acme {
    fn took(&self, what: String) -> Result<(), DriverError> {
        self.0.lock().unwrap().push(what);
        Ok(())
    }
}

impl LoadBalancerDriver for Acme {
    fn init(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("init".into())
    }

    fn add_server(&self, _call: &CallContext, server: &Server) -> Result<(), DriverError> {
        let Server { protocol, id, host, port, weight, backup, .. } = server;
        self.took(format!("{protocol} {id} {host} {port} {weight} {backup}"))
    }

    fn set_protocol(&self, _call: &CallContext, protocol: &str, port: Option<u16>) -> Result<(), DriverError> {
        self.took(format!("{protocol} {port:?}"))
    }

    fn set_algorithm(&self, _call: &CallContext, protocol: &str, algorithm: Algorithm) -> Result<(), DriverError> {
        match algorithm {
            Algorithm::RoundRobin => self.took(format!("{protocol} in turn")),
            Algorithm::LeastConnections => self.took(format!("{protocol} by connections")),
            _ => Err(DriverError::not_supported("this algorithm")),
        }
    }

    fn create(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("create".into())
    }

    fn suspend(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("suspend".into())
    }

    fn enable(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("enable".into())
    }

    fn delete(&self, _call: &CallContext) -> Result<(), DriverError> {
        self.took("delete".into())
    }

    fn add_monitor(&self, _call: &CallContext, protocol: &str, monitor: &MonitorSettings) -> Result<(), DriverError> {
        let MonitorSettings { kind, delay_s, timeout_s, attempts, path, .. } = monitor;
        self.took(format!("{protocol} {kind} {delay_s} {timeout_s} {attempts} {path}"))
    }

    fn set_timeouts(&self, _call: &CallContext, protocol: &str, limits: &TimeoutSettings) -> Result<(), DriverError> {
        let TimeoutSettings { client_ms, server_ms, connect_ms, retries, .. } = limits;
        self.took(format!("{protocol} {client_ms} {server_ms} {connect_ms} {retries}"))
    }

    fn status(&self, _call: &CallContext) -> Result<Status, DriverError> {
        let member = MemberStatus { id: "1".into(), up: true, detail: "UP".into(), ..Default::default() };
        Ok(Status { members: vec![member], ..Default::default() })
    }

    fn statistics(&self, _call: &CallContext) -> Result<Statistics, DriverError> {
        let listener = ListenerStatistics { protocol: "http".into(), bytes_out: 1, ..Default::default() };
        Ok(Statistics { start: String::new(), listeners: vec![listener], ..Default::default() })
    }

    fn archive(&self, _call: &CallContext, request: &ArchiveRequest) -> Result<Archived, DriverError> {
        Ok(Archived { object: request.basepath.clone(), bytes: 0, ..Default::default() })
    }
}
