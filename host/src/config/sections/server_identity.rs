//! What a server of the daemon shows: files, or a certificate that the daemon's own authority makes.

use std::path::PathBuf;

use super::pem::readable;
use crate::config::read::TableReader;

/// What a server shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerIdentity {
    /// Certificate and private key, in PEM.
    #[allow(missing_docs)] // the names say it
    Files { cert: PathBuf, key: PathBuf },
    /// A certificate of the daemon's own authority for these names and addresses.
    Names(Vec<String>),
}

impl ServerIdentity {
    /// The names of an issued certificate.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::Files { .. } => &[],
            Self::Names(names) => names,
        }
    }

    /// `names`, or else `cert` and `key`.
    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Option<Self> {
        let names: Vec<String> =
            table.checked("names", Vec::new(), |names: &Vec<String>| match names.iter().find(|name| !is_host(name)) {
                None => Ok(()),
                Some(_) => Err((
                    "names and addresses by which this daemon is reached, without ports".to_owned(),
                    "correct them, as in [\"10.0.0.1\", \"pool.example.org\"]".to_owned(),
                )),
            });
        let files = ["cert", "key"].map(|name| {
            let path: Option<PathBuf> = if names.is_empty() {
                table.required(name, "a PEM file, or names in place of cert and key")
            } else {
                table.optional(name)
            };
            (table.session.is_stated(&table.key(name)), path.and_then(|path| readable(table, name, path)))
        });
        if !names.is_empty() {
            if files.iter().any(|(is_stated, _)| *is_stated) {
                let key = table.key("names");
                let expected = "names, for a certificate that the daemon makes, or cert and key";
                table.session.fault_at(&key, "names beside cert or key", expected, "remove one of them");
            }
            return Some(Self::Names(names));
        }
        let [(_, cert), (_, key)] = files;
        Some(Self::Files { cert: cert?, key: key? })
    }
}

fn is_host(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
        || (!name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
            && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}
