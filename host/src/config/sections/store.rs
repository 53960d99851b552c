//! `[store]`: where state is kept.

use std::{path::PathBuf, time::Duration};

use super::{Daemon, pem::pem_file};
use crate::config::{
    Secret,
    read::{TableReader, Value},
    secret::Reference,
};

/// Connections to PostgreSQL, unless the file says otherwise.
const CONNECTIONS: u32 = 8;

/// `[store]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// `sqlite:PATH` on one machine, `postgres://USER@HOST:PORT/DATABASE` for several daemons; without a password.
    pub url: String,
    /// PostgreSQL's password for this user.
    pub password: Option<Secret>,
    /// The authority that PostgreSQL's certificate has to come from, in PEM; with it, the connection is encrypted.
    pub ca: Option<PathBuf>,
    /// Connections to PostgreSQL.
    pub connections: u32,
    /// How long work is held by a daemon that gives no sign of life; then another daemon goes on with it.
    pub lease: Duration,
}

impl Store {
    pub(super) fn read(table: &mut TableReader<'_, '_>, daemon: &Daemon) -> Self {
        let default = format!("sqlite:{}", daemon.state_dir.join("capstan.db").display());
        table.inherit("url", "daemon.state_dir");
        let url = if refuse_password(table) {
            default
        } else {
            table.checked("url", default, |url: &String| {
                let schemes = ["sqlite:", "postgres://", "postgresql://"];
                if schemes.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
                    return Ok(());
                }
                Err(("sqlite:PATH or postgres://...".to_owned(), "correct the scheme".to_owned()))
            })
        };
        let password = password(table);
        // Beside a file of SQLite it is refused whatever it holds.
        let ca = if url.starts_with("sqlite:") { table.optional("ca") } else { pem_file(table, "ca") };
        let connections = table.within("connections", CONNECTIONS, 1..=100);
        if url.starts_with("sqlite:") {
            for (name, is_given) in [("password", password.is_some()), ("ca", ca.is_some())] {
                let key = table.key(name);
                if is_given {
                    let expected = "it beside a url of PostgreSQL alone";
                    table.session.fault_at(&key, "it beside a file of SQLite", expected, "remove it, or set store.url");
                }
            }
        }
        let lease = table.checked("lease_seconds", Duration::from_secs(30), |lease: &Duration| {
            let range = Duration::from_secs(1)..=Duration::from_secs(3600);
            let expected = || ("1 to 3600 seconds".to_owned(), "correct the number".to_owned());
            range.contains(lease).then_some(()).ok_or_else(expected)
        });
        Self { url, password, ca, connections, lease }
    }
}

/// A password in the URL would be printed wherever the URL is, so it is refused, and what was found is not repeated.
fn refuse_password(table: &mut TableReader<'_, '_>) -> bool {
    let Some(node) = table.take("url") else { return false };
    let Value::Text(text) = &node.value else {
        table.put_back("url", node);
        return false;
    };
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let in_authority = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    if !in_authority && !text.contains("password=") {
        table.put_back("url", node);
        return false;
    }
    let key = table.key("url");
    let remedy = "take it out, and set store.password = { file = \"...\" } or { env = \"...\" }";
    table.session.fault(node.origin, &key, "a url with a password in it", "a url without a password", remedy);
    true
}

fn password(table: &mut TableReader<'_, '_>) -> Option<Secret> {
    let key = table.key("password");
    let Some(node) = table.take("password") else {
        table.session.record(key, serde_json::Value::Null, crate::config::Origin::Default);
        return None;
    };
    if let Value::Table(parts) = &node.value
        && let Some(reference) = Reference::of(parts, &node.origin)
    {
        table.session.record(key.clone(), reference.shown(), node.origin.clone());
        return reference.resolve(table.session, &key, &node.origin);
    }
    let expected = "{ file = \"...\" }, { env = \"...\" } or { credential = \"...\" }";
    let remedy = "keep the secret outside this file and name its place";
    table.session.fault(node.origin, &key, "something other than a reference to a secret", expected, remedy);
    None
}
