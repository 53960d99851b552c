//! The settings in force. A reload of the configuration puts others in their place while the pool runs; each run of a schedule and each
//! step of a job goes by those that it found when it began.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use capstan_plugin_api::Secret;
use tokio::sync::watch;

use super::Pool;
use crate::config;

/// What only a start can put in force: its parts are made once.
const AT_START: [&str; 4] = ["pool.driver", "pool.builds_at_once", "pool.function", "pool.messages_at_once"];

/// `[pool]`, and what the files say that it names.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub section: config::Pool,
    /// By stock, what a node gets at its first start.
    pub user_data: BTreeMap<String, Secret>,
}

impl Deref for Settings {
    type Target = config::Pool;

    fn deref(&self) -> &config::Pool {
        &self.section
    }
}

/// What other settings changed, by the names of keys and stocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Stocks that are new.
    pub added: Vec<String>,
    /// Keys, and stocks that are asked for otherwise.
    pub changed: Vec<String>,
    /// Stocks that are gone. Their nodes are kept until somebody retires them.
    pub removed: Vec<String>,
    /// What differs and stays as it was until the daemon is started again.
    pub needs_restart: Vec<String>,
}

impl Applied {
    /// Nothing was put in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl Pool {
    /// The settings in force now.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.inner.settings.borrow().clone()
    }

    /// Tells when others are put in force.
    pub(super) fn settings_changes(&self) -> watch::Receiver<Arc<Settings>> {
        self.inner.settings.subscribe()
    }

    /// Puts other settings in force, save for what needs a restart. `user_data` is what its stocks' files say.
    pub fn apply(&self, wanted: &config::Pool, user_data: BTreeMap<String, Secret>) -> Applied {
        let old = self.settings();
        let mut new = Settings { section: wanted.clone(), user_data };
        let keys = differing(&old, wanted).filter(|key| AT_START.contains(key));
        let mut applied = Applied { needs_restart: keys.map(str::to_owned).collect(), ..Applied::default() };
        new.section.driver.clone_from(&old.driver);
        new.section.builds_at_once = old.builds_at_once;
        new.section.function.clone_from(&old.function);
        new.section.messages_at_once = old.messages_at_once;
        applied.needs_restart.extend(self.keep_stocks_of_new_clouds(&old, &mut new));

        applied.changed.extend(differing(&old, &new).map(str::to_owned));
        for stock in &new.stocks {
            match old.stock(&stock.name) {
                None => applied.added.push(key_of(&stock.name)),
                Some(before) if before != stock || !old.says_alike(&new, &stock.name) => {
                    applied.changed.push(key_of(&stock.name));
                }
                Some(_) => {}
            }
        }
        let gone = old.stocks.iter().filter(|stock| new.stock(&stock.name).is_none());
        applied.removed.extend(gone.map(|stock| key_of(&stock.name)));
        if !applied.is_empty() {
            for cloud in self.inner.clouds.values() {
                cloud.ask_at_most(new.calls_per_second);
                cloud.forget_ids();
            }
            self.inner.settings.send_replace(Arc::new(new));
        }
        applied
    }

    /// A stock in a cloud that this daemon was started without stays as it was, or away. Names those stocks.
    fn keep_stocks_of_new_clouds(&self, old: &Settings, new: &mut Settings) -> Vec<String> {
        let mut kept = Vec::new();
        let mut stocks = Vec::new();
        for stock in std::mem::take(&mut new.section.stocks) {
            if self.inner.clouds.contains_key(&stock.cloud) {
                stocks.push(stock);
                continue;
            }
            kept.push(key_of(&stock.name));
            new.user_data.remove(&stock.name);
            if let Some(before) = old.stock(&stock.name) {
                new.user_data
                    .extend(old.user_data.get_key_value(&stock.name).map(|(name, text)| (name.clone(), text.clone())));
                stocks.push(before.clone());
            }
        }
        new.section.stocks = stocks;
        kept
    }
}

impl Settings {
    fn says_alike(&self, other: &Self, stock: &str) -> bool {
        self.user_data.get(stock) == other.user_data.get(stock)
    }
}

fn key_of(stock: &str) -> String {
    format!("pool.stocks.{stock}")
}

/// The keys of the section itself whose values differ.
fn differing(old: &config::Pool, new: &config::Pool) -> impl Iterator<Item = &'static str> {
    // Taken apart, so that a key that is added later cannot be forgotten here.
    let config::Pool {
        driver,
        check_interval,
        failed_interval,
        reconcile_interval,
        builds_at_once,
        calls_per_second,
        function,
        messages_at_once,
        diagnostics,
        diagnostics_timeout,
        health_interval,
        health_limit,
        reservation,
        max_age,
        search_time,
        orphan_age,
        loss_limit,
        loss_share,
        loss_window,
        assign_checks,
        assign_check_interval,
        tcp_check_port,
        remove_ip_ignores_errors,
        stocks: _,
    } = old;
    [
        ("pool.driver", *driver != new.driver),
        ("pool.check_interval_seconds", *check_interval != new.check_interval),
        ("pool.failed_interval_seconds", *failed_interval != new.failed_interval),
        ("pool.reconcile_interval_seconds", *reconcile_interval != new.reconcile_interval),
        ("pool.builds_at_once", *builds_at_once != new.builds_at_once),
        ("pool.calls_per_second", *calls_per_second != new.calls_per_second),
        ("pool.function", *function != new.function),
        ("pool.messages_at_once", *messages_at_once != new.messages_at_once),
        ("pool.diagnostics", *diagnostics != new.diagnostics),
        ("pool.diagnostics_timeout_seconds", *diagnostics_timeout != new.diagnostics_timeout),
        ("pool.health_interval_seconds", *health_interval != new.health_interval),
        ("pool.health_limit", *health_limit != new.health_limit),
        ("pool.reservation_seconds", *reservation != new.reservation),
        ("pool.max_age_seconds", *max_age != new.max_age),
        ("pool.search_seconds", *search_time != new.search_time),
        ("pool.orphan_age_seconds", *orphan_age != new.orphan_age),
        ("pool.loss_limit", *loss_limit != new.loss_limit),
        ("pool.loss_share_percent", *loss_share != new.loss_share),
        ("pool.loss_window_seconds", *loss_window != new.loss_window),
        ("pool.assign_checks", *assign_checks != new.assign_checks),
        ("pool.assign_check_interval_seconds", *assign_check_interval != new.assign_check_interval),
        ("pool.tcp_check_port", *tcp_check_port != new.tcp_check_port),
        ("pool.remove_ip_ignores_errors", *remove_ip_ignores_errors != new.remove_ip_ignores_errors),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
}
