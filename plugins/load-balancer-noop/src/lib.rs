//! A load balancer that drives nothing: it counts its calls and, when told to, records them. It has the eight calls of the
//! seed's interface and no other, so a host sees with it what such a driver can and cannot do.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, Host, LoadBalancerDriver, driver,
    load_balancer::{Algorithm, Server},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Configuration of the driver `noop`.
#[derive(Debug, Default, Deserialize, ConfigSchema)]
#[serde(default)]
pub struct Config {
    /// File that gets one line of JSON for each call, with its name and arguments. Without it calls are only counted.
    record: Option<PathBuf>,
    /// Names of calls that are answered with `not_supported`, as by a driver that lacks them.
    lacks: Vec<String>,
}

/// The driver `noop`.
pub struct Noop {
    record: Option<Mutex<File>>,
    lacks: Vec<String>,
}

impl Noop {
    /// Counts the call in the host's figures and writes it down.
    fn took(&self, call: &CallContext, name: &str, arguments: &Value) -> Result<(), DriverError> {
        if self.lacks.iter().any(|lacking| lacking == name) {
            return Err(DriverError::not_supported(name));
        }
        call.host().metric(name, 1.0);
        let Some(record) = &self.record else { return Ok(()) };
        let line = format!("{}\n", json!({ "call": name, "arguments": arguments }));
        // A thread that panicked while it held the file left whole lines behind.
        let mut file = record.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|error| {
            DriverError::unavailable("the call could not be recorded")
                .for_operator(format!("writing to the file of `record`: {error}"))
        })
    }
}

impl Driver for Noop {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        let open = |path: PathBuf| match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => Ok(Mutex::new(file)),
            Err(error) => Err(DriverError::invalid_argument("the file of `record` cannot be written")
                .for_operator(format!("{}: {error}", path.display()))),
        };
        Ok(Self { record: config.record.map(open).transpose()?, lacks: config.lacks })
    }
}

#[driver(name = "noop", vendor = "Capstan")]
impl LoadBalancerDriver for Noop {
    fn init(&self, call: &CallContext) -> Result<(), DriverError> {
        self.took(call, "init", &json!({}))
    }

    fn add_server(&self, call: &CallContext, server: &Server) -> Result<(), DriverError> {
        let Server { protocol, id, host, port, weight, backup, .. } = server;
        let arguments = json!({
            "protocol": protocol, "id": id, "host": host, "port": port, "weight": weight, "backup": backup,
        });
        self.took(call, "add_server", &arguments)
    }

    fn set_protocol(&self, call: &CallContext, protocol: &str, port: Option<u16>) -> Result<(), DriverError> {
        self.took(call, "set_protocol", &json!({ "protocol": protocol, "port": port }))
    }

    fn set_algorithm(&self, call: &CallContext, protocol: &str, algorithm: Algorithm) -> Result<(), DriverError> {
        let algorithm = match algorithm {
            Algorithm::RoundRobin => "round_robin",
            Algorithm::LeastConnections => "least_connections",
            _ => return Err(DriverError::not_supported("this algorithm")),
        };
        self.took(call, "set_algorithm", &json!({ "protocol": protocol, "algorithm": algorithm }))
    }

    fn create(&self, call: &CallContext) -> Result<(), DriverError> {
        self.took(call, "create", &json!({}))
    }

    fn suspend(&self, call: &CallContext) -> Result<(), DriverError> {
        self.took(call, "suspend", &json!({}))
    }

    fn enable(&self, call: &CallContext) -> Result<(), DriverError> {
        self.took(call, "enable", &json!({}))
    }

    fn delete(&self, call: &CallContext) -> Result<(), DriverError> {
        self.took(call, "delete", &json!({}))
    }
}
