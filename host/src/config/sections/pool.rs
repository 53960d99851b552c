//! `[pool]`: the stock of load-balancer nodes that is kept ready.
//!
//! The options of libra's pool manager are here under today's names; docs/services/pool-manager.md has the table.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::known_drivers::check_name;
use crate::config::read::{Port, TableReader};

/// The stock that `[pool]` itself describes when it names none.
pub(in crate::config) const DEFAULT_STOCK: &str = "default";

/// What an API server takes as a device's name, in characters.
const LONGEST_DEVICE_NAME: usize = 128;
/// What follows `node_basename` in a name: a dash and the node's id, a UUID.
const ID_IN_NAME: usize = 1 + 36;
/// The longest `node_basename`.
const LONGEST_BASENAME: usize = LONGEST_DEVICE_NAME - ID_IN_NAME;

/// `[pool]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The API server's driver: a name under `known_drivers.mgm`.
    pub driver: String,
    /// From the end of one check of the stock to the next.
    pub check_interval: Duration,
    /// From the end of one test of failed nodes to the next.
    pub failed_interval: Duration,
    /// From one comparison with the clouds to the next, give or take a fifth.
    pub reconcile_interval: Duration,
    /// Builds at one time, over all stocks.
    pub builds_at_once: usize,
    /// Calls to one cloud in a second.
    pub calls_per_second: u32,
    /// Gearman function under which the node operations are offered; empty offers none.
    pub function: String,
    /// Node operations at one time.
    pub messages_at_once: usize,
    /// Whether a node answers DIAGNOSTICS before it enters the stock, and while it is in it.
    pub diagnostics: bool,
    /// How long one DIAGNOSTICS may take.
    pub diagnostics_timeout: Duration,
    /// From one DIAGNOSTICS of a spare node to the next.
    pub health_interval: Duration,
    /// After so many failures in a row a spare node is replaced.
    pub health_limit: u32,
    /// How long a spare node is kept for somebody who takes it and has not got it yet.
    pub reservation: Duration,
    /// A spare node older than this is replaced.
    pub max_age: Option<Duration>,
    /// After a create without an answer, the cloud is searched for so long before it is asked again.
    pub search_time: Duration,
    /// A node of ours that no record knows is left alone until it is this old.
    pub orphan_age: Duration,
    /// More losses than this within `loss_window` stop all replacement, if they are more than `loss_share` as well.
    pub loss_limit: u32,
    /// Percent of a stock; see `loss_limit`.
    pub loss_share: u32,
    /// See `loss_limit`.
    pub loss_window: Duration,
    /// A floating address that was assigned is looked at so often, and so long apart, until the cloud says it is there.
    pub assign_checks: u32,
    /// See `assign_checks`.
    pub assign_check_interval: Duration,
    /// The port that must answer at a floating address after it was assigned.
    pub tcp_check_port: Option<u16>,
    /// Whether an internal error of the cloud while a floating address is removed counts as success (some Nova versions).
    pub remove_ip_ignores_errors: bool,
    /// What is kept, by name.
    pub stocks: Vec<Stock>,
}

/// One stock: nodes that are alike.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the manual explains them; their names are the cloud's words
pub struct Stock {
    pub name: String,
    /// How many spare nodes are wanted.
    pub nodes: usize,
    /// A name in the cloud farm.
    pub cloud: String,
    /// Id or name.
    pub image: String,
    /// Id or name.
    pub size: String,
    pub location: Option<String>,
    pub key_pair: Option<String>,
    pub security_groups: Vec<String>,
    pub networks: Vec<String>,
    /// What stands before the node's id in its name.
    pub node_basename: Option<String>,
    /// The number that the API server is told.
    pub az: u32,
    /// File whose text the node gets at its first start.
    pub user_data: Option<PathBuf>,
    /// How long a node may take until it runs.
    pub build_timeout: Duration,
    /// From one look at a node that is being built to the next.
    pub poll_interval: Duration,
}

impl Pool {
    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        let seconds = Duration::from_secs;
        let driver = table.get("driver", "hp_rest".to_owned());
        let like = Stock::read(DEFAULT_STOCK, table, None);
        let mut stocks = table.optional_table("stocks", |table| {
            table.each(|name, table| {
                check_name(name, table);
                Some(Stock::read(name, table, Some(&like)))
            })
        });
        let stocks = stocks.take().filter(|stocks| !stocks.is_empty()).unwrap_or_else(|| vec![like]);
        Self {
            driver,
            check_interval: table.get("check_interval_seconds", seconds(300)),
            failed_interval: table.get("failed_interval_seconds", seconds(900)),
            reconcile_interval: table.get("reconcile_interval_seconds", seconds(60)),
            builds_at_once: table.within("builds_at_once", 8, 1..=1024),
            calls_per_second: table.within("calls_per_second", 20, 1..=100_000),
            function: table.get("function", "libra_pool_mgm".to_owned()),
            messages_at_once: table.within("messages_at_once", 4, 1..=256),
            diagnostics: table.get("diagnostics", true),
            diagnostics_timeout: table.get("diagnostics_timeout_seconds", seconds(10)),
            health_interval: table.get("health_interval_seconds", seconds(60)),
            health_limit: table.within("health_limit", 10, 1..=1000),
            reservation: table.get("reservation_seconds", seconds(60)),
            max_age: table.optional("max_age_seconds"),
            search_time: table.get("search_seconds", seconds(120)),
            orphan_age: table.get("orphan_age_seconds", seconds(900)),
            loss_limit: table.within("loss_limit", 3, 1..=1_000_000),
            loss_share: table.within("loss_share_percent", 20, 0..=100),
            loss_window: table.get("loss_window_seconds", seconds(600)),
            assign_checks: table.within("assign_checks", 5, 1..=100),
            assign_check_interval: table.get("assign_check_interval_seconds", seconds(5)),
            tcp_check_port: table.optional::<Port>("tcp_check_port").map(|port| port.0),
            remove_ip_ignores_errors: table.get("remove_ip_ignores_errors", false),
            stocks,
        }
    }

    /// The stock of this name.
    #[must_use]
    pub fn stock(&self, name: &str) -> Option<&Stock> {
        self.stocks.iter().find(|stock| stock.name == name)
    }

    /// The stocks by name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&str, &Stock> {
        self.stocks.iter().map(|stock| (stock.name.as_str(), stock)).collect()
    }
}

impl Stock {
    /// Reads a stock; what it does not say is as in `like`.
    fn read(name: &str, table: &mut TableReader<'_, '_>, like: Option<&Self>) -> Self {
        let keys = [
            "nodes",
            "cloud",
            "image",
            "size",
            "location",
            "key_pair",
            "security_groups",
            "networks",
            "node_basename",
            "az",
            "user_data",
            "build_timeout_seconds",
            "poll_interval_seconds",
        ];
        if like.is_some() {
            for key in keys {
                table.inherit(key, &format!("pool.{key}"));
            }
        }
        let base = like.cloned().unwrap_or_else(Self::nameless);
        Self {
            name: name.to_owned(),
            nodes: table.within("nodes", base.nodes, 0..=1_000_000),
            cloud: table.get("cloud", base.cloud),
            image: table.get("image", base.image),
            size: table.get("size", base.size),
            location: table.get("location", base.location),
            key_pair: table.get("key_pair", base.key_pair),
            security_groups: table.get("security_groups", base.security_groups),
            networks: table.get("networks", base.networks),
            node_basename: table.checked("node_basename", base.node_basename, |name: &Option<String>| {
                if name.as_deref().is_none_or(is_basename) { Ok(()) } else { Err(basename_rule()) }
            }),
            az: table.get("az", base.az),
            user_data: table.get("user_data", base.user_data),
            build_timeout: table.get("build_timeout_seconds", base.build_timeout),
            poll_interval: table.get("poll_interval_seconds", base.poll_interval),
        }
    }

    /// What holds where nothing is said.
    fn nameless() -> Self {
        Self {
            name: String::new(),
            nodes: 1,
            cloud: "default".to_owned(),
            image: String::new(),
            size: String::new(),
            location: None,
            key_pair: None,
            security_groups: Vec::new(),
            networks: Vec::new(),
            node_basename: None,
            az: 0,
            user_data: None,
            build_timeout: Duration::from_secs(120),
            poll_interval: Duration::from_secs(3),
        }
    }
}

/// Whether this can begin the names of nodes, which are host names and the names of devices. `_` is taken: it becomes `-`.
pub(in crate::config) fn is_basename(name: &str) -> bool {
    let begins_well = name.bytes().next().is_none_or(|byte| byte.is_ascii_alphanumeric());
    begins_well
        && name.len() <= LONGEST_BASENAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn basename_rule() -> (String, String) {
    let expected = format!(
        "at most {LONGEST_BASENAME} letters, digits, \".\", \"_\" and \"-\", a letter or digit first: with the node's id it makes a \
         host name and the name of a device"
    );
    (expected, "choose a shorter or plainer one".to_owned())
}
