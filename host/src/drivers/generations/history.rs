//! Which files of a driver served, over restarts of the daemon: what a rollback goes back to.

use std::{fs, io, path::PathBuf, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::drivers::store;

/// So many files of a driver are kept, the one that serves included.
const KEPT: usize = 3;

/// The last files that served, the oldest first; the last one serves, or served last.
pub(in crate::drivers) struct History {
    path: PathBuf,
    served: Vec<Served>,
}

/// A file that served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::drivers) struct Served {
    pub sha256: String,
    pub version: String,
    /// When it began, in seconds since 1970.
    pub since: u64,
}

impl History {
    /// What is kept at `path`; nothing when there is nothing that can be read.
    pub fn read(path: PathBuf) -> Self {
        let served = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "which files served before is not known");
                Vec::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "which files served before is not known");
                }
                Vec::new()
            }
        };
        Self { path, served }
    }

    /// The hashes that it needs.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        self.served.iter().map(|served| served.sha256.as_str())
    }

    /// What a rollback brings: the file before the one that serves, or the last that served when none does.
    pub fn before(&self, serving: Option<&str>) -> Option<&Served> {
        match self.served.split_last() {
            Some((last, before)) if Some(last.sha256.as_str()) == serving => before.last(),
            Some((last, _)) => Some(last),
            None => None,
        }
    }

    /// Notes that a file serves from now on; `is_back` when it was gone back to, so that what came after it is forgotten.
    pub fn note(&mut self, sha256: &str, version: &str, is_back: bool) {
        if self.served.last().is_some_and(|last| last.sha256 == sha256) {
            return;
        }
        match self.served.iter().rposition(|served| served.sha256 == sha256) {
            Some(at) if is_back => self.served.truncate(at + 1),
            _ => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                self.served.push(Served { sha256: sha256.to_owned(), version: version.to_owned(), since });
                self.served.drain(..self.served.len().saturating_sub(KEPT));
            }
        }
        let bytes = serde_json::to_vec(&self.served).unwrap_or_default();
        if let Err(error) = store::replace(&self.path, &bytes, 0o600) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "which files served cannot be kept; a rollback after a restart will miss it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(history: &History, serving: Option<&str>) -> Option<String> {
        history.before(serving).map(|served| served.sha256.clone())
    }

    #[test]
    fn three_are_kept_and_a_rollback_walks_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud.a.history.json");
        let mut history = History::read(path.clone());
        assert_eq!(before(&history, Some("a")), None);
        for hash in ["a", "b", "b", "c", "d"] {
            history.note(hash, "1", false);
        }
        assert_eq!(history.hashes().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(before(&history, Some("d")).as_deref(), Some("c"));
        assert_eq!(before(&history, None).as_deref(), Some("d"), "nothing serves");
        history.note("c", "1", true);
        let mut history = History::read(path.clone());
        assert_eq!(history.hashes().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(before(&history, Some("c")).as_deref(), Some("b"));
        // A file that comes again is the newest, not one gone back to.
        history.note("b", "1", false);
        assert_eq!(history.hashes().collect::<Vec<_>>(), ["b", "c", "b"]);
        assert_eq!(before(&history, Some("b")).as_deref(), Some("c"));

        fs::write(&path, "{no list").unwrap();
        assert_eq!(History::read(path).hashes().count(), 0);
    }
}
