//! Nodes: seen, tagged and destroyed.

use std::collections::BTreeMap;

use capstan_plugin_api::{
    DriverError, Outcome,
    cloud::{List, Node, Page, Quota, Quotas, Tags as TagRequest, node_state},
};

use serde_json::Value;

use super::{
    change::{Change, Plan, Turn, nothing},
    node::{PENDING_TOKEN, Record},
    paging::Paging,
    shelf::number,
    state::World,
    tags::Tags,
};
use crate::{catalog::unknown, config::Settings, faults::Fault, random::index_hash};

/// Somebody else's nodes are numbered from here on.
const PHANTOMS: u64 = 1 << 40;
/// How many, when nothing else is said.
const MANY: u32 = 1_000_000;
const PHANTOM: &str = "phantom-";

impl World {
    pub(crate) fn list_nodes(&self, request: &List, turn: &Turn<'_>) -> Result<Page<Node>, DriverError> {
        let most = if turn.fired.has(Fault::IgnoresLimit) { u32::MAX } else { turn.settings.page_size };
        let asked = List { limit: request.limit.filter(|limit| *limit == 0 || most < u32::MAX), ..request.clone() };
        let paging = Paging::of(&asked, most)?;
        let (after, from) = (paging.after, paging.after.saturating_add(1));
        let own: Box<dyn Iterator<Item = u64>> = match request.name.as_deref().map(index_hash) {
            Some(hash) => Box::new(self.names.range((hash, from)..=(hash, u64::MAX)).map(|(_, number)| *number)),
            None => Box::new(self.nodes.items.range(from..).map(|(number, _)| *number)),
        };
        let own = own.filter_map(|number| Some((number, Some(self.nodes.items.get(&number)?))));
        let own = own.filter(|(_, record)| record.is_some_and(|record| is_wanted(record, request, turn.now)));
        let count = turn.fired.find(Fault::ManyNodes).map_or(0, |rule| rule.count.unwrap_or(MANY));
        let phantoms = phantoms(request, after, u64::from(count)).map(|number| (number, None));
        let mut page = paging.page(own.chain(phantoms), |number, record: Option<&Record>| match record {
            Some(record) => record.view(number, self, turn.settings, turn.now),
            None => phantom(number),
        });
        if turn.fired.has(Fault::RepeatedCursor) {
            page.next = request.cursor.clone().or(page.next).or_else(|| Some("0".to_owned()));
        }
        Ok(page)
    }

    pub(crate) fn get_node(&self, id: &str, turn: &Turn<'_>) -> Result<Node, DriverError> {
        let (number, record) = self.seen(id, turn.now)?;
        Ok(record.view(number, self, turn.settings, turn.now))
    }

    pub(crate) fn destroy_node(&self, id: &str, turn: &Turn<'_>) -> Plan<()> {
        let (number, record) = self.alive(id, turn.now)?;
        if turn.fired.has(Fault::NeverGone) {
            return nothing(());
        }
        let after = turn.fired.delay(Fault::EventuallyConsistent).map(|delay| Record {
            is_destroyed: true,
            gone_from: Some(turn.now.saturating_add(delay)),
            ..record.clone()
        });
        let mut changes = self.detached(number);
        changes.push(Change::Node(number, after));
        Ok((changes, ()))
    }

    pub(crate) fn set_tags(&self, request: &TagRequest, turn: &Turn<'_>) -> Plan<()> {
        let (number, record) = self.alive(&request.id, turn.now)?;
        let mut tags: BTreeMap<String, String> = record.tags.to_map();
        tags.retain(|name, _| !request.remove.contains(name));
        tags.extend(request.set.clone());
        let tags = Tags::of(&tags).map_err(DriverError::invalid_argument)?;
        Ok((vec![Change::Node(number, Some(Record { tags, ..record.clone() }))], ()))
    }

    /// How far a pending create is.
    pub(crate) fn poll(&self, token: &str, turn: &Turn<'_>) -> Result<Outcome<Value>, DriverError> {
        let found = number(PENDING_TOKEN, token).and_then(|number| Some((number, self.nodes.items.get(&number)?)));
        let found = found.filter(|(_, record)| !record.is_destroyed);
        let (number, record) = found.ok_or_else(|| unknown("pending call", token))?;
        Ok(match self.made(number, record, turn).pending() {
            Outcome::Pending(pending) => Outcome::Pending(pending),
            Outcome::Done(node) => Outcome::Done(
                serde_json::to_value(node)
                    .map_err(|error| DriverError::internal(format!("the node cannot be written: {error}")))?,
            ),
        })
    }

    pub(crate) fn quotas(&self, settings: &Settings) -> Quotas {
        let limits = &settings.quotas;
        let volume_gib = self.volume_gib();
        let quotas = [
            ("nodes", self.living, Some(u64::from(settings.max_nodes))),
            ("vcpus", self.vcpus, limits.vcpus),
            ("ram_mib", self.ram_mib, limits.ram_mib),
            ("floating_ips", self.ips.len(), limits.floating_ips),
            ("volumes", self.volumes.len(), limits.volumes),
            ("volume_gib", volume_gib, limits.volume_gib),
            ("snapshots", self.snapshots.len(), limits.snapshots),
            ("key_pairs", self.key_pairs.len(), limits.key_pairs),
            ("security_groups", self.groups.len(), limits.security_groups),
        ];
        Quotas { quotas: quotas.map(|(name, used, limit)| Quota { name: name.into(), used, limit }).into() }
    }
}

fn is_wanted(record: &Record, request: &List, now: i64) -> bool {
    record.is_seen(now)
        && request.name.as_deref().is_none_or(|name| name == &*record.name)
        && record.tags.carry(&request.tags)
}

fn phantoms(request: &List, after: u64, count: u64) -> impl Iterator<Item = u64> {
    let first = after.saturating_sub(PHANTOMS) + 1;
    let (first, last) = match request.name.as_deref().map(|name| number(PHANTOM, name)) {
        _ if !request.tags.is_empty() => (1, 0),
        None => (first, count),
        Some(Some(number)) if number <= count => (first.max(number), number),
        Some(_) => (1, 0),
    };
    (first..=last).map(|number| PHANTOMS + number)
}

fn phantom(number: u64) -> Node {
    let name = format!("{PHANTOM}{}", number - PHANTOMS);
    Node { id: name.clone(), name, state: node_state::RUNNING.to_owned(), ..Node::default() }
}
