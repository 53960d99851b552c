//! The `state.*` services: small values, versioned, one file each, on disk before the driver is answered.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use capstan_plugin_api::{
    DriverError, ErrorCode, Versioned,
    host::service::{StateKey, StateList, StatePut},
};
use serde_json::value::RawValue;

use super::{error::one_line, store};

const LONGEST_KEY: usize = 200;
const LONGEST_VALUE: usize = 64 << 10;
const MOST_KEYS: usize = 4096;

/// State of one instance, below a folder of its own. One process at a time uses it, through one value of this type.
pub(super) struct InstanceState {
    folder: PathBuf,
    turn: Mutex<()>,
}

type Put = StatePut<Box<RawValue>>;
/// What a file holds, and what the driver is answered.
type Kept = Versioned<Box<RawValue>>;

fn failed(what: &str, error: &dyn std::fmt::Display) -> DriverError {
    DriverError::internal("the host cannot keep the driver's state").for_operator(one_line(&format!("{what}: {error}")))
}

impl InstanceState {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, turn: Mutex::new(()) }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, request: &StateKey) -> Result<Option<Kept>, DriverError> {
        let path = self.path(&request.key)?;
        let _turn = self.turn();
        self.read(&path)
    }

    pub fn put(&self, request: &Put) -> Result<u64, DriverError> {
        let path = self.path(&request.key)?;
        let size = request.value.get().len();
        if size > LONGEST_VALUE {
            return Err(DriverError::invalid_argument(format!(
                "the value of {} has {size} bytes, at most {LONGEST_VALUE} are kept",
                request.key
            )));
        }
        let _turn = self.turn();
        let before = self.read(&path)?.map_or(0, |kept| kept.version);
        if let Some(expected) = request.expected.filter(|expected| *expected != before) {
            return Err(DriverError::conflict(format!(
                "{} has version {before}, not {expected}; nothing was stored",
                request.key
            )));
        }
        store::private_folder(&self.folder).map_err(|error| failed("folder", &error))?;
        if before == 0 && self.names()?.len() >= MOST_KEYS {
            return Err(DriverError::new(
                ErrorCode::QUOTA_EXCEEDED,
                format!("the driver keeps {MOST_KEYS} keys already, which is the most"),
            ));
        }
        let kept = Kept { value: request.value.clone(), version: before + 1 };
        let bytes = serde_json::to_vec(&kept).map_err(|error| failed(&request.key, &error))?;
        store::replace(&path, &bytes, 0o600).map_err(|error| failed(&request.key, &error))?;
        Ok(kept.version)
    }

    pub fn delete(&self, request: &StateKey) -> Result<(), DriverError> {
        let path = self.path(&request.key)?;
        let _turn = self.turn();
        store::remove(&path).map_err(|error| failed(&request.key, &error))
    }

    pub fn list(&self, request: &StateList) -> Result<Vec<String>, DriverError> {
        let _turn = self.turn();
        let mut keys = self.names()?;
        keys.retain(|key| key.starts_with(&request.prefix));
        keys.sort_unstable();
        Ok(keys)
    }

    fn read(&self, path: &std::path::Path) -> Result<Option<Kept>, DriverError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path.display().to_string(), &error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&path.display().to_string(), &error))
    }

    fn names(&self) -> Result<Vec<String>, DriverError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("folder", &error)),
        };
        let name = |entry: io::Result<fs::DirEntry>| match entry {
            Ok(entry) => Ok(entry.file_name().to_str().and_then(|name| name.strip_suffix(".json")).map(to_key)),
            Err(error) => Err(failed("folder", &error)),
        };
        entries.filter_map(|entry| name(entry).transpose()).collect()
    }

    fn path(&self, key: &str) -> Result<PathBuf, DriverError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'/' | b'-');
        if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(allowed) {
            return Err(DriverError::invalid_argument(format!(
                "the key {:?} is not of a-z, 0-9, '.', '_', '/' and '-' with 1 to {LONGEST_KEY} bytes",
                one_line(key)
            )));
        }
        // One file name for each key: the percent sign is no part of a key.
        Ok(self.folder.join(format!("{}.json", key.replace('/', "%"))))
    }
}

fn to_key(name: &str) -> String {
    name.replace('%', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str, expected: Option<u64>) -> Put {
        Put { key: key.into(), value: RawValue::from_string(value.into()).unwrap(), expected }
    }

    #[test]
    fn versions_grow_and_an_expected_one_is_held_to() {
        let folder = tempfile::tempdir().unwrap();
        let state = InstanceState::new(folder.path().join("cloud.a/default"));
        assert_eq!(state.put(&put("a/b", "1", Some(0))).unwrap(), 1);
        assert_eq!(state.put(&put("a/b", "2", None)).unwrap(), 2);
        assert_eq!(state.put(&put("a/b", "3", Some(1))).unwrap_err().code, ErrorCode::CONFLICT);
        assert_eq!(state.put(&put("a/b", "3", Some(2))).unwrap(), 3);
        let again = InstanceState::new(folder.path().join("cloud.a/default"));
        let kept = again.get(&StateKey { key: "a/b".into() }).unwrap().unwrap();
        assert_eq!((kept.value.get(), kept.version), ("3", 3));
        state.put(&put("a.b", "{}", None)).unwrap();
        assert_eq!(state.list(&StateList { prefix: "a".into() }).unwrap(), ["a.b", "a/b"]);
        assert_eq!(state.list(&StateList { prefix: "a/".into() }).unwrap(), ["a/b"]);
        state.delete(&StateKey { key: "a/b".into() }).unwrap();
        state.delete(&StateKey { key: "a/b".into() }).unwrap();
        assert!(state.get(&StateKey { key: "a/b".into() }).unwrap().is_none());
    }

    #[test]
    fn a_key_never_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let state = InstanceState::new(folder.path().join("x"));
        for key in ["../up", "..", "/etc/passwd", ".", "a/../../b"] {
            let stored =
                state.put(&put(key, "1", None)).map(|_| state.list(&StateList { prefix: String::new() }).unwrap());
            assert_eq!(stored.unwrap(), [key]);
            state.delete(&StateKey { key: key.into() }).unwrap();
        }
        for key in ["", "A", "a b", "ä", "a\0", "%", &"a".repeat(201)] {
            assert_eq!(state.put(&put(key, "1", None)).unwrap_err().code, ErrorCode::INVALID_ARGUMENT, "{key:?}");
        }
        let large = format!("\"{}\"", "a".repeat(LONGEST_VALUE));
        assert_eq!(state.put(&put("a", &large, None)).unwrap_err().code, ErrorCode::INVALID_ARGUMENT);
        let inside: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(inside.len(), 1);
    }
}
