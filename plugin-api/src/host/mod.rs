//! Host services: everything that a driver gets from outside itself.

mod program;
pub mod service;
mod state;

use std::sync::Arc;

pub use program::{Program, ProgramSpec};
use serde::{Serialize, de::DeserializeOwned};
pub use state::Versioned;

use crate::{DriverError, Secret, abi, boundary::HostLink};
use service::{Metric, Notify, Progress, SecretGet};

/// How urgent a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something that an operator wants to know happened.
    Info,
    /// For whoever mends the driver.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// As it crosses the boundary.
    pub fn number(self) -> u32 {
        match self {
            Self::Error => abi::LOG_ERROR,
            Self::Warn => abi::LOG_WARN,
            Self::Info => abi::LOG_INFO,
            Self::Debug => abi::LOG_DEBUG,
            Self::Trace => abi::LOG_TRACE,
        }
    }
}

/// The host, as one instance sees it. Cheap to clone; usable from any thread until `close`.
#[derive(Clone)]
pub struct Host {
    link: Arc<HostLink>,
    call_id: u64,
}

impl Host {
    pub(crate) fn new(link: Arc<HostLink>) -> Self {
        Self { link, call_id: 0 }
    }

    pub(crate) fn in_call(&self, call_id: u64) -> Self {
        Self { link: Arc::clone(&self.link), call_id }
    }

    pub(crate) fn is_cancelled(&self, call_id: u64) -> bool {
        self.link.cancelled(call_id)
    }

    /// Any host service by name; what the typed methods below use. A service that this host does not have answers `not_supported`.
    pub fn call<P: Serialize, R: DeserializeOwned>(&self, service: &str, params: &P) -> Result<R, DriverError> {
        let body = serde_json::to_vec(params).map_err(|error| {
            DriverError::internal(format!("the parameters of {service} cannot be written: {error}"))
        })?;
        let answer = self.link.call(self.call_id, service, &body)?;
        serde_json::from_slice(&answer)
            .map_err(|error| DriverError::internal(format!("the host's answer to {service} cannot be read: {error}")))
    }

    /// One log line of the driver as a whole.
    pub fn log(&self, level: LogLevel, message: &str) {
        self.link.log(self.call_id, level, "", message, b"");
    }

    /// One log line with fields, about a part of the driver (`target`, empty for the driver as a whole).
    pub fn log_with(
        &self,
        level: LogLevel,
        target: &str,
        message: &str,
        fields: &serde_json::Map<String, serde_json::Value>,
    ) {
        let fields = serde_json::to_vec(fields).unwrap_or_default();
        self.link.log(self.call_id, level, target, message, &fields);
    }

    /// True once the host wants the instance to end: its `open` has run out of time, or `close` is about to come. A thread
    /// of the driver's own asks between two steps, so that `close` need not wait for it.
    pub fn ending(&self) -> bool {
        self.link.cancelled(0)
    }

    /// A secret that the configuration names by reference and that may change while the instance is open.
    pub fn secret(&self, name: &str) -> Result<Secret, DriverError> {
        self.call("secret.get", &SecretGet { name: name.into() })
    }

    /// Adds `value` to a figure of this driver; the host puts the driver's name before `name`.
    pub fn metric(&self, name: &str, value: f64) {
        let _figure_is_optional: Result<(), _> = self.call("metric", &Metric { name: name.into(), value });
    }

    /// Tells how far a long call has come.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        let _progress_is_optional: Result<(), _> = self.call("progress", &Progress { done, total, what: what.into() });
    }

    /// Tells the host that something changed by itself: `status` (with the new status) or `resync` (the device came back and
    /// must be applied again).
    pub fn notify(&self, what: &str, detail: &serde_json::Value) -> Result<(), DriverError> {
        self.call("notify", &Notify { what: what.into(), detail: detail.clone() })
    }
}
