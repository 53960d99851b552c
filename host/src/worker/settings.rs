//! What the operator decides about the worker.

use std::time::Duration;

use crate::config::Endpoint;

/// Which messages the worker understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageForm {
    /// libra's envelope; a message without `loadBalancers` but with `nodes` at its top is read as a flat one.
    #[default]
    Libra,
    /// The flat message of the first generation only.
    Seed,
}

/// Settings of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The device that the driver is told it serves.
    pub device: String,
    /// Which messages are understood.
    pub form: MessageForm,
    /// Job servers, in the order in which DIAGNOSTICS reports them.
    pub job_servers: Vec<Endpoint>,
    /// What DIAGNOSTICS connects to for `network`; empty means the job servers.
    pub diagnostics_targets: Vec<Endpoint>,
    /// How long DIAGNOSTICS waits for each connection.
    pub diagnostics_timeout: Duration,
    /// Deadline of UPDATE and CREATE, the first `observe` included.
    pub apply_timeout: Duration,
    /// Deadline of the other actions.
    pub call_timeout: Duration,
    /// Longest payload that is read.
    pub max_message_bytes: usize,
    /// Deepest nesting of lists and objects that is read. More than 127 has no effect: that is the JSON reader's own limit.
    pub max_depth: usize,
}

impl Settings {
    /// The defaults for a device, without job servers.
    pub fn new(device: impl Into<String>) -> Self {
        Self {
            device: device.into(),
            form: MessageForm::Libra,
            job_servers: Vec::new(),
            diagnostics_targets: Vec::new(),
            diagnostics_timeout: Duration::from_secs(5),
            // libra's API side waits 120 seconds for the reply.
            apply_timeout: Duration::from_secs(100),
            call_timeout: Duration::from_secs(30),
            max_message_bytes: 16 << 20,
            max_depth: 64,
        }
    }
}
