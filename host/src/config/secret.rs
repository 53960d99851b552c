//! Secrets: references to a file, an environment variable or a systemd credential, and the values behind them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use super::{
    Environment, Origin, Warning,
    read::{Node, Session, Table, Value},
    text_file,
};

/// What stands in place of a secret wherever it would be printed.
pub(super) const REDACTED: &str = "*****";

/// A value that is never printed: `Debug` and `Serialize` give `*****`.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    pub(super) const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret({REDACTED})")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(REDACTED)
    }
}

/// Where a secret is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reference {
    Credential(String),
    Environment(String),
    File(PathBuf),
}

impl Reference {
    /// A table with exactly one of the keys `file`, `env` and `credential`, and a text behind it, is a reference.
    pub(super) fn of(table: &Table, origin: &Origin) -> Option<Self> {
        let (name, Node { value: Value::Text(text), .. }) = table.first_key_value()? else { return None };
        if table.len() != 1 {
            return None;
        }
        match name.as_str() {
            "credential" => Some(Self::Credential(text.clone())),
            "env" => Some(Self::Environment(text.clone())),
            "file" => Some(Self::File(origin.absolute(Path::new(text)))),
            _ => None,
        }
    }

    /// As it stands in the configuration, with the path made absolute.
    pub(super) fn shown(&self) -> serde_json::Value {
        match self {
            Self::Credential(name) => serde_json::json!({ "credential": name }),
            Self::Environment(name) => serde_json::json!({ "env": name }),
            Self::File(path) => serde_json::json!({ "file": path.display().to_string() }),
        }
    }

    /// Fetches the value. A fault is recorded, and `None` given, when it cannot be had.
    pub(super) fn resolve(&self, session: &mut Session<'_>, key: &str, origin: &Origin) -> Option<Secret> {
        let value = match self {
            Self::Credential(name) => credential(session.environment, name).and_then(|path| file(&path)),
            Self::Environment(name) => session
                .environment
                .get(name)
                .filter(|value| !value.is_empty())
                .map(|value| (value, None))
                .ok_or_else(|| (format!("no environment variable {name}"), "set it before the daemon starts")),
            Self::File(path) if session.issued_file.as_ref() == Some(path) => match &session.issued {
                Some(issued) => Ok((issued.clone(), None)),
                None => match file(path) {
                    Ok(read) => Ok(read),
                    // No daemon has written it yet, which is no fault of the configuration.
                    Err(_) => return Some(Secret::new("issued at the daemon's start".to_owned())),
                },
            },
            Self::File(path) => file(path),
        };
        match value {
            Ok((value, exposed)) => {
                session.warnings.extend(exposed.map(|text| Warning {
                    origin: origin.clone(),
                    key: key.to_owned(),
                    text,
                }));
                session.secrets.insert(value.clone());
                Some(Secret::new(value))
            }
            Err((found, remedy)) => {
                session.fault(origin.clone(), key, &found, "a secret that can be read", remedy);
                None
            }
        }
    }
}

type Fetched = Result<(String, Option<String>), (String, &'static str)>;

fn credential(environment: &dyn Environment, name: &str) -> Result<PathBuf, (String, &'static str)> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err((format!("the credential name {name:?}"), "name it as in LoadCredential= of the unit"));
    }
    let folder = environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        (format!("no CREDENTIALS_DIRECTORY for the credential {name}"), "start the daemon by its systemd unit")
    })?;
    Ok(Path::new(&folder).join(name))
}

/// Reads a secret of at most 64 KiB; one line end at its end is not part of it.
fn file(path: &Path) -> Fetched {
    const LIMIT: u64 = 64 * 1024;
    let fault =
        |what: String| (format!("the secret file {} {what}", path.display()), "create it or correct its permissions");
    let (text, mode) = text_file::read(path, LIMIT).map_err(|error| fault(format!("unreadable ({error})")))?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if value.is_empty() {
        return Err(fault("empty".to_owned()));
    }
    Ok((value.to_owned(), exposed(path, mode)))
}

/// The warning about a file with a secret that everybody on this machine may read.
pub(super) fn exposed(path: &Path, mode: u32) -> Option<String> {
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        format!("{path} is open to every user of this machine (mode {:03o}): chmod o= {path}", mode & 0o777)
    })
}
