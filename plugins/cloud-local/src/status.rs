//! What a node's supervisor says of it.

use serde::{Deserialize, Serialize};

/// Where a run of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The program was started and is not ready.
    Starting,
    /// It is ready.
    Ready,
    /// It ended and will be started again.
    Waiting,
    /// It is not started any more, and nothing of it runs.
    Failed,
    /// It was ended on request, and nothing of it runs.
    Ended,
}

/// Written by the supervisor at each change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Of [`crate::record::Record::run`].
    pub run: u64,
    pub phase: Phase,
    /// It was ready once in this run.
    pub was_ready: bool,
    /// How often the program was started in this run.
    pub starts: u64,
    pub supervisor: i32,
    pub program: Option<u32>,
    /// Why it is in this phase, where that is not plain.
    pub detail: Option<String>,
    pub boot_id: String,
}

/// Tells one run of the machine from another (random(4)).
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
