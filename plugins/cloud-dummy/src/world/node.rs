//! One node.

use std::net::{IpAddr, Ipv4Addr};

use capstan_plugin_api::{
    Pending,
    cloud::{Node, node_state},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{fate::Fate, state::World, tags::Tags};
use crate::{
    catalog::{Contents, Place},
    config::Settings,
};

/// Begins the token of a pending create; the node's number follows.
pub(super) const PENDING_TOKEN: &str = "node ";
/// A pending call is asked for at least so often.
const LONGEST_POLL_MS: i64 = 1_000;

/// What a node does until [`Record::until`], after which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Starting,
    Rebooting,
    Stopped,
}

/// A node as it is kept; times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Where it is not `node-NUMBER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Box<str>>,
    pub(super) name: Box<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(super) token: Box<str>,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub(super) tags: Tags,
    pub(super) image: Place,
    pub(super) size: Place,
    pub(super) location: Place,
    pub(super) host: u16,
    pub(super) created: i64,
    pub(super) phase: Phase,
    pub(super) until: i64,
    /// Not seen before; 0 for seen at once, whatever the clock does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) seen_from: i64,
    /// Removed, and not seen any more, from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gone_from: Option<i64>,
    /// Destroyed, and only seen still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_destroyed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fate: Option<Box<Fate>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<Box<Details>>,
}

/// What few nodes have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Details {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// The data itself may hold a token, and is not kept.
    #[serde(default)]
    pub user_data_bytes: usize,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl Record {
    pub(super) fn id(&self, number: u64) -> String {
        self.id.as_ref().map_or_else(|| format!("node-{number}"), ToString::to_string)
    }

    /// Seen in lists, and found.
    pub(super) fn is_seen(&self, now: i64) -> bool {
        self.seen_from <= now && self.gone_from.is_none_or(|gone| now < gone)
    }

    pub(super) fn is_in_error(&self, now: i64) -> bool {
        self.fate.as_ref().is_some_and(|fate| fate.error(now).is_some())
    }

    pub(super) fn is_never_up(&self) -> bool {
        self.fate.as_ref().is_some_and(|fate| fate.is_never_up)
    }

    /// Before faults.
    pub(super) fn state(&self, now: i64) -> &'static str {
        match self.phase {
            Phase::Stopped => node_state::STOPPED,
            _ if self.is_never_up() => node_state::PENDING,
            Phase::Starting if now < self.until => node_state::PENDING,
            Phase::Rebooting if now < self.until => node_state::REBOOTING,
            Phase::Starting | Phase::Rebooting => node_state::RUNNING,
        }
    }

    /// How to ask for it while it is built.
    pub(super) fn pending(&self, number: u64, now: i64) -> Option<Pending> {
        if self.state(now) != node_state::PENDING || self.is_in_error(now) {
            return None;
        }
        let left = if self.is_never_up() { LONGEST_POLL_MS } else { self.until - now };
        let poll_after_ms = left.clamp(1, LONGEST_POLL_MS).unsigned_abs();
        Some(Pending { token: format!("{PENDING_TOKEN}{number}"), poll_after_ms })
    }

    /// The node as the API shows it.
    pub(super) fn view(&self, number: u64, world: &World, settings: &Settings, now: i64) -> Node {
        let contents = world.contents();
        let location = contents.location_id(self.location);
        let mut node = Node {
            id: self.id(number),
            name: self.name.to_string(),
            state: self.state(now).to_owned(),
            image: contents.image_id(self.image),
            size: contents.size_id(self.size),
            location: location.map(str::to_owned),
            host: location.map(|location| format!("{location}-host-{}", self.host)),
            created_at: rfc_3339(self.created),
            tags: self.tags.to_map(),
            ..Node::default()
        };
        match contents {
            Contents::Default => {
                node.private_ips.push(offset(PRIVATE, number & 0x00FF_FFFF));
                if settings.public_addresses {
                    node.public_ips.push(offset(PUBLIC, number & 0x003F_FFFF));
                }
            }
            Contents::Libcloud => {
                node.public_ips
                    .push(offset(Ipv4Addr::new(127, 0, 0, 0), node.id.parse().unwrap_or(number) & 0x00FF_FFFF));
                node.extra.insert("foo".into(), json!("bar"));
            }
        }
        node.public_ips.extend(world.addresses_of(number));
        if let Some(details) = &self.details {
            node.extra.extend(details.extra());
        }
        if let Some(fate) = &self.fate {
            fate.befall(&mut node, now);
        }
        node
    }
}

impl Details {
    fn extra(&self) -> impl Iterator<Item = (String, serde_json::Value)> {
        let lists = [("security_groups", &self.security_groups), ("networks", &self.networks)];
        let lists = lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name, json!(list)));
        let key_pair = self.key_pair.iter().map(|name| ("key_pair", json!(name)));
        key_pair.chain(lists).map(|(name, value)| (name.to_owned(), value))
    }
}

/// 10.0.0.0/8: room for 16 million nodes, then it begins again.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// 100.64.0.0/10, which is nobody's on the internet (RFC 6598).
const PUBLIC: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);

fn offset(network: Ipv4Addr, number: u64) -> IpAddr {
    Ipv4Addr::from(u32::from(network) | number as u32).into()
}

fn rfc_3339(milliseconds: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()?;
    time.format(&Rfc3339).ok()
}
