//! Small state that the host keeps for an instance, on disk before the call returns.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Host,
    service::{StateKey, StateList, StatePut},
};
use crate::DriverError;

/// A value and its version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Grows with each `put` of the key.
    pub version: u64,
}

impl Host {
    /// The value under `key`, or none. Keys are `[a-z0-9._/-]`, at most 200 bytes; values at most 64 KiB of JSON.
    pub fn state_get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, DriverError> {
        self.call("state.get", &StateKey { key: key.into() })
    }

    /// Stores a value and returns its version. With `expected` the value is stored only when the key has that version
    /// (0: when it does not exist), else `conflict`.
    pub fn state_put<T: Serialize>(&self, key: &str, value: &T, expected: Option<u64>) -> Result<u64, DriverError> {
        self.call("state.put", &StatePut { key: key.into(), value, expected })
    }

    /// Removes a key; a missing one is no error.
    pub fn state_delete(&self, key: &str) -> Result<(), DriverError> {
        self.call("state.delete", &StateKey { key: key.into() })
    }

    /// The keys that begin with `prefix`, sorted.
    pub fn state_list(&self, prefix: &str) -> Result<Vec<String>, DriverError> {
        self.call("state.list", &StateList { prefix: prefix.into() })
    }
}
