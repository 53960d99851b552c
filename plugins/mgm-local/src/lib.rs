//! Registers nodes with the daemon of this machine: the device API over its Unix socket.

use std::{path::PathBuf, time::Duration};

use capstan_device_api::{Client, Generation, Options, Unix};
use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, Host, MgmDriver, Secret, driver,
    mgm::{Added, Device, DeviceRequest, Devices, ListDevices, NewDevice, UpdateDevice, Usage},
};
use serde::Deserialize;

/// Bytes of the longest path of a socket (`sockaddr_un`, its end not counted).
const LONGEST_PATH: usize = 107;

/// Keys of `[known_drivers.mgm.NAME.config]`.
#[derive(Clone, Debug, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The daemon's Unix socket, by absolute path; a daemon that hosts this driver names its own, `http.socket`.
    pub socket: PathBuf,
    /// Bearer token, a secret; a daemon that hosts this driver names its own beside its own socket.
    pub token: Option<Secret>,
    /// The longest time of one request.
    pub timeout_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { socket: "/run/capstan/capstan.sock".into(), token: None, timeout_seconds: 30 }
    }
}

impl Settings {
    fn client(self) -> Result<Client<Unix>, DriverError> {
        let bad = |key: &str, what: &str| Err(DriverError::invalid_argument(format!("{key}: {what}")));
        let Some(path) = self.socket.to_str().filter(|path| path.starts_with('/')) else {
            return bad("socket", &format!("found {:?}; expected an absolute path", self.socket));
        };
        if path.len() > LONGEST_PATH {
            return bad("socket", &format!("found a path of {} bytes; expected at most {LONGEST_PATH}", path.len()));
        }
        if self.timeout_seconds == 0 {
            return bad("timeout_seconds", "found 0; expected at least 1");
        }
        let shown = format!("unix:{path}:/v1");
        let options = Options {
            user_agent: concat!("capstan-mgm-local/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: self.token,
            timeout: Duration::from_secs(self.timeout_seconds.into()),
            generation: Generation::Final,
        };
        Client::named(Unix::new(self.socket), "http://localhost/v1", shown, options)
    }
}

/// The driver `local`.
pub struct Local {
    client: Client<Unix>,
}

impl Driver for Local {
    type Config = Settings;

    fn open(config: Settings, _host: Host) -> Result<Self, DriverError> {
        Ok(Self { client: config.client()? })
    }
}

#[driver(name = "local", vendor = "Capstan", serial_by = "none")]
impl MgmDriver for Local {
    fn get_free_count(&self, call: &CallContext) -> Result<u64, DriverError> {
        Ok(self.client.usage(call)?.free)
    }

    fn add_node(&self, call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        self.client.add(call, request)
    }

    fn is_online(&self, call: &CallContext) -> Result<bool, DriverError> {
        self.client.is_online(call)
    }

    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        Ok(self.client.url())
    }

    fn usage(&self, call: &CallContext) -> Result<Usage, DriverError> {
        self.client.usage(call)
    }

    fn list_nodes(&self, call: &CallContext, request: &ListDevices) -> Result<Devices, DriverError> {
        self.client.list(call, request)
    }

    fn get_node(&self, call: &CallContext, request: &DeviceRequest) -> Result<Device, DriverError> {
        self.client.get(call, request)
    }

    fn update_node(&self, call: &CallContext, request: &UpdateDevice) -> Result<(), DriverError> {
        self.client.update(call, request)
    }

    fn delete_node(&self, call: &CallContext, request: &DeviceRequest) -> Result<(), DriverError> {
        self.client.delete(call, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_key() {
        let long = format!(r#"{{"socket":"/{}"}}"#, "x".repeat(107));
        for (json, key) in [
            (r#"{"socket":"capstan.sock"}"#, "socket"),
            (long.as_str(), "socket"),
            (r#"{"timeout_seconds":0}"#, "timeout_seconds"),
            (r#"{"token":"a b"}"#, "token"),
        ] {
            let error = serde_json::from_str::<Settings>(json).unwrap().client().unwrap_err();
            assert!(error.message.starts_with(key), "{json}: {error}");
        }
        assert_eq!(Settings::default().client().unwrap().url(), "unix:/run/capstan/capstan.sock:/v1");
    }
}
