//! All that the cloud holds, and how it changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use capstan_plugin_api::{
    DriverError,
    cloud::{KeyPair, SecurityGroup},
};

use super::{
    addresses::{IpRecord, address},
    change::Change,
    node::Record,
    shelf::{Shelf, number},
    storage::{SnapshotRecord, VolumeRecord},
};
use crate::{
    catalog::{Contents, unknown},
    random::index_hash,
};

/// Numbers of nodes by the hash of a text, in the order of their numbers.
type Index = BTreeSet<(u64, u64)>;

/// The contents.
pub(crate) struct World {
    contents: Contents,
    pub(super) nodes: Shelf<Record>,
    pub(super) names: Index,
    tokens: Index,
    /// Nodes whose id is another than `node-NUMBER`.
    ids: HashMap<Box<str>, BTreeSet<u64>>,
    /// When nodes go.
    leaving: BTreeSet<(i64, u64)>,
    /// Nodes that are not destroyed, their processors and their memory.
    pub(super) living: u64,
    pub(super) vcpus: u64,
    pub(super) ram_mib: u64,
    pub(super) last_gone: Option<Box<str>>,
    pub(super) ips: Shelf<IpRecord>,
    ips_of: BTreeMap<u64, BTreeSet<u64>>,
    pub(super) volumes: Shelf<VolumeRecord>,
    pub(super) snapshots: Shelf<SnapshotRecord>,
    pub(super) key_pairs: Shelf<KeyPair>,
    pub(super) groups: Shelf<SecurityGroup>,
}

impl World {
    /// Without anything.
    pub(crate) fn empty(contents: Contents) -> Self {
        Self {
            contents,
            nodes: Shelf::new(),
            names: Index::new(),
            tokens: Index::new(),
            ids: HashMap::new(),
            leaving: BTreeSet::new(),
            living: 0,
            vcpus: 0,
            ram_mib: 0,
            last_gone: None,
            ips: Shelf::new(),
            ips_of: BTreeMap::new(),
            volumes: Shelf::new(),
            snapshots: Shelf::new(),
            key_pairs: Shelf::new(),
            groups: Shelf::new(),
        }
    }

    /// With what is there at the start.
    pub(crate) fn begun(contents: Contents, now: i64) -> Self {
        let mut world = Self::empty(contents);
        let group = SecurityGroup { id: "group-1".into(), name: "default".into(), ..SecurityGroup::default() };
        world.apply(Change::SecurityGroup(1, Some(group)));
        if contents == Contents::Libcloud {
            for number in 1..=2 {
                world.apply(Change::Node(number, Some(Record::of_libcloud(number, now))));
            }
        }
        world
    }

    pub(crate) fn contents(&self) -> Contents {
        self.contents
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Node(number, record) => self.put_node(number, record),
            Change::Ip(number, record) => self.put_ip(number, record),
            Change::Volume(number, volume) => drop(self.volumes.put(number, volume)),
            Change::Snapshot(number, snapshot) => drop(self.snapshots.put(number, snapshot)),
            Change::KeyPair(number, pair) => drop(self.key_pairs.put(number, pair)),
            Change::SecurityGroup(number, group) => drop(self.groups.put(number, group)),
            Change::Made(made) => {
                let [nodes, ips, volumes, snapshots, pairs, groups] = made;
                self.nodes.made = self.nodes.made.max(nodes);
                self.ips.made = self.ips.made.max(ips);
                self.volumes.made = self.volumes.made.max(volumes);
                self.snapshots.made = self.snapshots.made.max(snapshots);
                self.key_pairs.made = self.key_pairs.made.max(pairs);
                self.groups.made = self.groups.made.max(groups);
            }
        }
    }

    /// All that is there, as changes of an empty one.
    pub(crate) fn all(&self) -> impl Iterator<Item = Change> {
        let made = [
            self.nodes.made,
            self.ips.made,
            self.volumes.made,
            self.snapshots.made,
            self.key_pairs.made,
            self.groups.made,
        ];
        std::iter::once(Change::Made(made))
            .chain(self.nodes.items.iter().map(|(number, item)| Change::Node(*number, Some(item.clone()))))
            .chain(self.ips.items.iter().map(|(number, item)| Change::Ip(*number, Some(item.clone()))))
            .chain(self.volumes.items.iter().map(|(number, item)| Change::Volume(*number, Some(item.clone()))))
            .chain(self.snapshots.items.iter().map(|(number, item)| Change::Snapshot(*number, Some(item.clone()))))
            .chain(self.key_pairs.items.iter().map(|(number, item)| Change::KeyPair(*number, Some(item.clone()))))
            .chain(self.groups.items.iter().map(|(number, item)| Change::SecurityGroup(*number, Some(item.clone()))))
    }

    /// How many things there are.
    pub(crate) fn size(&self) -> u64 {
        self.nodes.len()
            + self.ips.len()
            + self.volumes.len()
            + self.snapshots.len()
            + self.key_pairs.len()
            + self.groups.len()
    }

    /// Lets go of the nodes whose time has come.
    pub(crate) fn settle(&mut self, now: i64) {
        while let Some((at, number)) = self.leaving.first().copied().filter(|(at, _)| *at <= now) {
            self.leaving.remove(&(at, number));
            for change in self.detached(number) {
                self.apply(change);
            }
            self.put_node(number, None);
        }
    }

    /// What takes addresses and volumes off a node.
    pub(super) fn detached(&self, node: u64) -> Vec<Change> {
        let ips = self.ips_of.get(&node).into_iter().flatten().filter_map(|number| {
            self.ips.items.contains_key(number).then_some(Change::Ip(*number, Some(IpRecord { node: None })))
        });
        let volumes = self.volumes.items.iter().filter(|(_, volume)| volume.node == Some(node));
        let volumes = volumes.map(|(number, volume)| Change::Volume(*number, Some(volume.detached())));
        ips.chain(volumes).collect()
    }

    /// A node that is seen.
    pub(super) fn seen(&self, id: &str, now: i64) -> Result<(u64, &Record), DriverError> {
        self.by_id(id).find(|(_, record)| record.is_seen(now)).ok_or_else(|| unknown("node", id))
    }

    /// A node that is seen and not destroyed.
    pub(super) fn alive(&self, id: &str, now: i64) -> Result<(u64, &Record), DriverError> {
        let mut alive = self.by_id(id).filter(|(_, record)| record.is_seen(now) && !record.is_destroyed);
        alive.next().ok_or_else(|| unknown("node", id))
    }

    fn by_id(&self, id: &str) -> impl Iterator<Item = (u64, &Record)> {
        let own = number("node-", id).and_then(|number| Some((number, self.nodes.items.get(&number)?)));
        let named = self.ids.get(id).into_iter().flatten();
        let named = named.filter_map(|number| Some((*number, self.nodes.items.get(number)?)));
        own.into_iter().filter(|(_, record)| record.id.is_none()).chain(named)
    }

    /// The node that a client token made, unless that is destroyed.
    pub(super) fn by_token(&self, token: &str) -> Option<(u64, &Record)> {
        let hash = index_hash(token);
        let numbers = self.tokens.range((hash, 0)..=(hash, u64::MAX));
        let mut nodes = numbers.filter_map(|(_, number)| Some((*number, self.nodes.items.get(number)?)));
        nodes.find(|(_, record)| &*record.token == token && !record.is_destroyed)
    }

    pub(super) fn addresses_of(&self, node: u64) -> impl Iterator<Item = IpAddr> {
        self.ips_of.get(&node).into_iter().flatten().map(|number| address(*number))
    }

    fn put_node(&mut self, number: u64, record: Option<Record>) {
        if let Some(record) = &record {
            self.names.insert((index_hash(&record.name), number));
            if !record.token.is_empty() {
                self.tokens.insert((index_hash(&record.token), number));
            }
            if let Some(id) = &record.id {
                self.ids.entry(id.clone()).or_default().insert(number);
            }
            if let Some(at) = record.gone_from {
                self.leaving.insert((at, number));
            }
            self.count(record, u64::wrapping_add);
        }
        let is_removed = record.is_none();
        // Name, token and id never change, so only a removal takes them out of the indices.
        let Some(before) = self.nodes.put(number, record) else { return };
        self.count(&before, u64::wrapping_sub);
        let gone_now = self.nodes.items.get(&number).and_then(|record| record.gone_from);
        if let Some(at) = before.gone_from.filter(|at| Some(*at) != gone_now) {
            self.leaving.remove(&(at, number));
        }
        if is_removed {
            self.names.remove(&(index_hash(&before.name), number));
            self.tokens.remove(&(index_hash(&before.token), number));
            if let Some(id) = &before.id
                && let Some(numbers) = self.ids.get_mut(id)
            {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.ids.remove(id);
                }
            }
            self.last_gone = Some(before.id(number).into());
        }
    }

    fn count(&mut self, record: &Record, how: fn(u64, u64) -> u64) {
        if !record.is_destroyed {
            let (vcpus, ram_mib) = self.contents.weight(record.size);
            self.living = how(self.living, 1);
            self.vcpus = how(self.vcpus, vcpus);
            self.ram_mib = how(self.ram_mib, ram_mib);
        }
    }

    fn put_ip(&mut self, number: u64, record: Option<IpRecord>) {
        if let Some(node) = record.as_ref().and_then(|record| record.node) {
            self.ips_of.entry(node).or_default().insert(number);
        }
        let node = record.as_ref().and_then(|record| record.node);
        let before = self.ips.put(number, record).and_then(|before| before.node).filter(|before| Some(*before) != node);
        if let Some(before) = before
            && let Some(numbers) = self.ips_of.get_mut(&before)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.ips_of.remove(&before);
            }
        }
    }
}
