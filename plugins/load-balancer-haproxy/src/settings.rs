//! The configuration of an instance, checked once as it is opened.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use capstan_plugin_api::{ConfigSchema, DriverError};
use serde::Deserialize;

use crate::config::{
    LogTarget,
    token::{self, Kind},
};

/// Who starts, stops and reloads HAProxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ConfigSchema)]
#[serde(rename_all = "lowercase")]
pub enum ControlMode {
    /// The driver, through the daemon's program service: one HAProxy for each device.
    #[default]
    Process,
    /// systemd: the machine's one HAProxy service.
    Systemd,
}

/// Keys of `[known_drivers.load_balancer.NAME.config]`.
#[derive(Clone, Debug, PartialEq, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `process` (default) or `systemd`.
    pub control: ControlMode,
    /// The HAProxy program; absolute.
    pub haproxy_path: PathBuf,
    /// The systemctl program; absolute; `control = "systemd"` only.
    pub systemctl_path: PathBuf,
    /// Unit that systemctl acts on.
    pub service_name: String,
    /// The configuration that the unit reads; `control = "systemd"` only.
    pub config_path: PathBuf,
    /// Where sockets live, one private directory for each device. Short: a socket's path has at most 90 bytes.
    pub runtime_directory: PathBuf,
    /// Where configurations live, one private directory for each device.
    pub state_directory: PathBuf,
    /// Address to bind where a listener names none.
    pub bind_address: IpAddr,
    /// File that syslog writes HAProxy's lines to; `archive` reads it, `delete` empties it.
    pub log_file: PathBuf,
    /// Where HAProxy logs to: a datagram socket's path, or `IP:port` for UDP.
    pub log_target: String,
    /// Directory below which `archive` with the method `directory` may write.
    pub archive_directory: PathBuf,
    /// Certificates (PEM) that a Swift service is trusted by; none means those of Mozilla's list.
    pub swift_ca_file: Option<PathBuf>,
    /// Servers rendered beforehand in each backend that sets cookies, so that members are added without a reload.
    pub spare_slots: u16,
    /// Greatest number of connections of the process; lowered to what the limit on open files allows.
    pub maxconn: u32,
    /// Owner of the stats socket; none leaves it to the user that starts HAProxy.
    pub stats_user: Option<String>,
    /// Group that may use the stats socket too.
    pub stats_group: Option<String>,
    /// User that HAProxy runs as when it is started by root.
    pub user: String,
    /// Group likewise.
    pub group: String,
    /// Seconds until a reload or start that was not confirmed counts as failed.
    pub reload_timeout_seconds: u32,
    /// Seconds that a process which was replaced may still finish its connections.
    pub hard_stop_after_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            control: ControlMode::Process,
            haproxy_path: "/usr/sbin/haproxy".into(),
            systemctl_path: "/usr/bin/systemctl".into(),
            service_name: "haproxy".into(),
            config_path: "/etc/haproxy/haproxy.cfg".into(),
            runtime_directory: "/run/capstan/haproxy".into(),
            state_directory: "/var/lib/capstan/haproxy".into(),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            log_file: "/var/log/haproxy.log".into(),
            log_target: "/dev/log".into(),
            archive_directory: "/var/lib/capstan/archive".into(),
            swift_ca_file: None,
            spare_slots: 8,
            maxconn: 4096,
            stats_user: None,
            stats_group: None,
            user: "haproxy".into(),
            group: "haproxy".into(),
            reload_timeout_seconds: 10,
            hard_stop_after_seconds: 1800,
        }
    }
}

impl Settings {
    /// Refuses what could not be written or run; the message names the key.
    pub fn checked(self) -> Result<Self, DriverError> {
        let paths = [
            ("haproxy_path", &self.haproxy_path),
            ("systemctl_path", &self.systemctl_path),
            ("config_path", &self.config_path),
            ("runtime_directory", &self.runtime_directory),
            ("state_directory", &self.state_directory),
            ("log_file", &self.log_file),
            ("archive_directory", &self.archive_directory),
        ];
        for (key, path) in paths {
            word(key, Kind::File, text(path)?)?;
        }
        let names =
            [("service_name", Some(&self.service_name)), ("user", Some(&self.user)), ("group", Some(&self.group))];
        let stats = [("stats_user", self.stats_user.as_ref()), ("stats_group", self.stats_group.as_ref())];
        for (key, name) in names.into_iter().chain(stats) {
            if let Some(name) = name {
                word(key, Kind::User, name)?;
            }
        }
        self.log_target()?;
        for (key, value) in [
            ("maxconn", self.maxconn),
            ("reload_timeout_seconds", self.reload_timeout_seconds),
            ("hard_stop_after_seconds", self.hard_stop_after_seconds),
        ] {
            if value == 0 {
                return Err(DriverError::invalid_argument(format!("{key} is 0; it must be at least 1")));
            }
        }
        if self.spare_slots > 1000 {
            return Err(DriverError::invalid_argument(format!("spare_slots is {}; at most 1000", self.spare_slots)));
        }
        Ok(self)
    }

    /// Where HAProxy logs to.
    pub fn log_target(&self) -> Result<LogTarget, DriverError> {
        match self.log_target.parse() {
            Ok(address) => Ok(LogTarget::Address(address)),
            Err(_) => {
                word("log_target", Kind::File, &self.log_target)?;
                Ok(LogTarget::Socket(self.log_target.clone()))
            }
        }
    }
}

/// A path as text, which every path of this driver is.
pub fn text(path: &Path) -> Result<&str, DriverError> {
    path.to_str().ok_or_else(|| DriverError::invalid_argument(format!("the path {} is not UTF-8", path.display())))
}

fn word(key: &str, kind: Kind, value: &str) -> Result<(), DriverError> {
    token::check(kind, value).map_err(|error| DriverError::invalid_argument(format!("{key}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_key() {
        for (json, key) in [
            (r#"{"haproxy_path":"haproxy"}"#, "haproxy_path"),
            (r#"{"log_target":"/dev/log\nuser root"}"#, "log_target"),
            (r#"{"service_name":"a b"}"#, "service_name"),
            (r#"{"maxconn":0}"#, "maxconn"),
            (r#"{"spare_slots":2000}"#, "spare_slots"),
            (r#"{"state_directory":"/var/../etc"}"#, "state_directory"),
        ] {
            let error = serde_json::from_str::<Settings>(json).unwrap().checked().unwrap_err();
            assert!(error.message.starts_with(key), "{json}: {error}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"max_conn":1}"#).is_err());
        assert!(Settings::default().checked().is_ok());
    }
}
