//! The files that the stocks of the pool name: a pool manager that cannot read one of them does not start.

use std::collections::BTreeSet;

use super::{Config, read::Session, sections::Role, text_file};

/// Bytes of the longest text for a node's first start; no cloud takes as much.
const LONGEST: u64 = 1 << 20;

/// Reads them, if this daemon runs the pool manager. `asks_for_enrolment` says of a text whether only an authority with an address
/// can complete it.
pub(super) fn check(config: &Config, asks_for_enrolment: fn(&str) -> bool, session: &mut Session<'_>) {
    if !config.daemon.roles.contains(&Role::PoolManager) {
        return;
    }
    let mut seen = BTreeSet::new();
    for stock in &config.pool.stocks {
        let Some(path) = &stock.user_data else { continue };
        // One that all stocks have from [pool] is told of there, once.
        let own = format!("pool.stocks.{}.user_data", stock.name);
        let key = if session.is_stated(&own) { own } else { "pool.user_data".to_owned() };
        if !seen.insert(key.clone()) {
            continue;
        }
        let shown = path.display();
        match text_file::read(path, LONGEST) {
            Err(error) => session.fault_at(
                &key,
                &format!("{shown}, which cannot be read ({error})"),
                "a text file that the daemon's user can read",
                "create it, correct its permissions, or correct the path",
            ),
            Ok((text, _)) if config.identity.url.is_none() && asks_for_enrolment(&text) => session.fault_at(
                &key,
                &format!(
                    "{shown}, which has a place for a token, an address or an authority, while identity.url is not set"
                ),
                "a text without such places, or identity.url",
                "set identity.url to where nodes reach this daemon",
            ),
            Ok(_) => {}
        }
    }
}
