//! Parameters of the host's services, as drivers write them and the host reads them.

use serde::{Deserialize, Serialize};

/// Parameters of `secret.get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretGet {
    /// Path of the secret in the configuration.
    pub name: String,
}

/// Parameters of `metric`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Name of the figure: `[a-z][a-z0-9_]{0,63}`.
    pub name: String,
    /// What is added to it.
    pub value: f64,
}

/// Parameters of `progress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
    /// What the call is at.
    #[serde(default)]
    pub what: String,
}

/// Parameters of `notify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notify {
    /// `status`, `resync`, or a word that a later driver knows; 1 to 64 bytes.
    pub what: String,
    /// What belongs to the word.
    #[serde(default)]
    pub detail: serde_json::Value,
}

/// Parameters of `state.get` and `state.delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateKey {
    /// `[a-z0-9._/-]`, at most 200 bytes.
    pub key: String,
}

/// Parameters of `state.put`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePut<T> {
    /// As [`StateKey::key`].
    pub key: String,
    /// At most 64 KiB of JSON.
    pub value: T,
    /// Store only when the key has this version (0: does not exist); none stores in any case.
    #[serde(default)]
    pub expected: Option<u64>,
}

/// Parameters of `state.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateList {
    /// What the keys begin with.
    pub prefix: String,
}

/// Parameters of `program.find`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFind {
    /// As [`super::ProgramSpec::name`].
    pub name: String,
}

/// Parameters of `program.stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramStop {
    /// As [`super::ProgramSpec::name`].
    pub name: String,
    /// Milliseconds between SIGTERM and SIGKILL.
    #[serde(default)]
    pub grace_ms: u64,
}
