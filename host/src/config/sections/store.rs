//! `[store]`: where state is kept.

use super::Daemon;
use crate::config::read::TableReader;

/// `[store]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// `sqlite:PATH` on one machine.
    pub url: String,
}

impl Store {
    pub(super) fn read(table: &mut TableReader<'_, '_>, daemon: &Daemon) -> Self {
        let default = format!("sqlite:{}", daemon.state_dir.join("capstan.db").display());
        table.inherit("url", "daemon.state_dir");
        let url = table.checked("url", default, |url: &String| {
            let schemes = ["sqlite:", "postgres://", "postgresql://"];
            if schemes.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
                return Ok(());
            }
            Err(("sqlite:PATH or postgres://...".to_owned(), "correct the scheme".to_owned()))
        });
        Self { url }
    }
}
