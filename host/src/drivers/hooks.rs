//! What drivers push and print, handed to whoever runs the daemon.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::Kind;

/// What a driver pushed with `notify`.
#[derive(Clone, Debug, Serialize)]
pub struct Notification {
    /// Kind of the driver.
    pub kind: Kind,
    /// Name of the driver.
    pub name: String,
    /// `status`, `resync`, or a word that a later driver knows.
    pub what: String,
    /// What belongs to the word.
    pub detail: Value,
    /// When the host got it, in seconds since 1970.
    pub at: u64,
}

/// Hook for what drivers push with `notify`; called on a thread of the driver, so it must not block.
pub type NotifyHook = Arc<dyn Fn(&Notification) + Send + Sync>;

/// Hook for what drivers log and print, one line each, before any is dropped for being too many.
pub type LogHook = Arc<dyn Fn(&str) + Send + Sync>;
