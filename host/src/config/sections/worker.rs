//! `[worker]`: the service that takes messages and drives the appliance on this node.

use std::time::Duration;

use super::{Endpoint, Gearman};
use crate::config::read::{TableReader, choices};

choices! {
    /// The messages a worker understands.
    WorkerProtocol {
        /// libra's envelope, and the flat message where a payload has that form.
        Libra = "libra",
        /// The flat message of the first generation only.
        Seed = "seed",
    }
}

/// `[worker]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Worker {
    /// A name under `known_drivers.load_balancer`.
    pub driver: String,
    /// The Gearman function under which this node is called.
    pub function: String,
    /// The device that the driver is told it serves.
    pub device: String,
    /// How messages are read.
    pub protocol: WorkerProtocol,
    /// Longest payload that is parsed; a longer one is answered with a failure.
    pub max_message_bytes: usize,
    /// Deepest nesting that is parsed.
    pub max_depth: usize,
    /// What DIAGNOSTICS tries to reach.
    pub diagnostics_targets: Vec<Endpoint>,
    /// How long DIAGNOSTICS waits for each.
    pub diagnostics_timeout: Duration,
}

impl Worker {
    pub(super) fn read(table: &mut TableReader<'_, '_>, gearman: &Gearman) -> Self {
        let driver = table.get("driver", "haproxy".to_owned());
        let host = table.session.environment.host_name();
        let function = table.checked("function", host, |name: &String| gearman_name(name));
        table.inherit("device", "worker.function");
        for key in ["gearman.servers", "gearman.embedded_listen"] {
            table.inherit("diagnostics_targets", key);
        }
        Self {
            driver,
            device: table.checked("device", function.clone(), |name: &String| gearman_name(name)),
            function,
            protocol: table.get("protocol", WorkerProtocol::Libra),
            max_message_bytes: table.within("max_message_bytes", 16 << 20, 1024..=1 << 30),
            max_depth: table.within("max_depth", 64, 8..=120),
            diagnostics_targets: table.get("diagnostics_targets", gearman.endpoints()),
            diagnostics_timeout: table.get("diagnostics_timeout_seconds", Duration::from_secs(5)),
        }
    }
}

/// Job servers list functions in lines of columns, so a name has neither spaces nor control characters.
fn gearman_name(name: &str) -> Result<(), (String, String)> {
    if (1..=512).contains(&name.len()) && !name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(("1 to 512 bytes without spaces or control characters".to_owned(), "choose another name".to_owned()))
}
