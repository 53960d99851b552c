//! Random sequences of calls against a model that is simple enough to be believed, in memory and through a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use capstan_plugin_api::cloud::{AllocateIp, AssignIp};
use proptest::prelude::*;

use super::*;
use crate::journal::Journal;

/// A call; numbers choose among what is there, and at times what is not.
#[derive(Clone, Debug)]
enum Call {
    Create { name: u8, token: u8, is_late: bool },
    Destroy(u8),
    Stop(u8),
    Start(u8),
    Allocate,
    Release(u8),
    Assign(u8, u8),
    Remove(u8, u8),
    Pass(u16),
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (0..4_u8, 0..6_u8, prop::bool::weighted(0.2))
            .prop_map(|(name, token, is_late)| Call::Create { name, token, is_late }),
        3 => any::<u8>().prop_map(Call::Destroy),
        1 => any::<u8>().prop_map(Call::Stop),
        1 => any::<u8>().prop_map(Call::Start),
        2 => Just(Call::Allocate),
        1 => any::<u8>().prop_map(Call::Release),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(ip, node)| Call::Assign(ip, node)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(ip, node)| Call::Remove(ip, node)),
        1 => (0..1_500_u16).prop_map(Call::Pass),
        1 => Just(Call::Reopen),
    ]
}

#[derive(Clone, Debug, Default)]
struct ModelNode {
    name: String,
    token: String,
    is_stopped: bool,
    seen_from: i64,
}

#[derive(Default)]
struct Model {
    made: u64,
    nodes: BTreeMap<u64, ModelNode>,
    ips: BTreeMap<u64, Option<u64>>,
    ips_made: u64,
    used_names: BTreeSet<String>,
}

const MOST: u32 = 6;

impl Model {
    fn seen(&self, number: u64, now: i64) -> bool {
        self.nodes.get(&number).is_some_and(|node| node.seen_from <= now)
    }

    fn create(&mut self, name: &str, token: &str, seen_from: i64) -> &'static str {
        if !token.is_empty()
            && let Some(node) = self.nodes.values().find(|node| node.token == token)
        {
            return if node.name == name { "ok" } else { "invalid_argument" };
        }
        if self.nodes.len() >= MOST as usize {
            return "quota_exceeded";
        }
        self.made += 1;
        self.used_names.insert(name.to_owned());
        let node = ModelNode { name: name.into(), token: token.into(), is_stopped: false, seen_from };
        self.nodes.insert(self.made, node);
        "ok"
    }

    fn destroy(&mut self, number: u64, now: i64) -> &'static str {
        if !self.seen(number, now) {
            return "not_found";
        }
        self.nodes.remove(&number);
        self.ips.values_mut().filter(|node| **node == Some(number)).for_each(|node| *node = None);
        "ok"
    }

    fn switch(&mut self, number: u64, now: i64, stops: bool) -> &'static str {
        if !self.seen(number, now) {
            return "not_found";
        }
        let Some(node) = self.nodes.get_mut(&number) else { return "not_found" };
        if node.is_stopped == stops {
            return "conflict";
        }
        node.is_stopped = stops;
        "ok"
    }

    fn release(&mut self, ip: u64) -> &'static str {
        match self.ips.get(&ip) {
            None => "not_found",
            Some(Some(_)) => "conflict",
            Some(None) => {
                self.ips.remove(&ip);
                "ok"
            }
        }
    }

    fn assign(&mut self, ip: u64, node: u64, now: i64) -> &'static str {
        let is_seen = self.seen(node, now);
        match self.ips.get_mut(&ip) {
            None => "not_found",
            Some(_) if !is_seen => "not_found",
            Some(Some(holder)) => {
                if *holder == node {
                    "ok"
                } else {
                    "conflict"
                }
            }
            Some(free) => {
                *free = Some(node);
                "ok"
            }
        }
    }

    fn remove(&mut self, ip: u64, node: u64, now: i64) -> &'static str {
        let is_seen = self.seen(node, now);
        match self.ips.get_mut(&ip) {
            None => "not_found",
            Some(_) if !is_seen => "not_found",
            Some(holder) if *holder == Some(node) => {
                *holder = None;
                "ok"
            }
            Some(_) => "conflict",
        }
    }
}

fn address(number: u64) -> IpAddr {
    std::net::Ipv4Addr::from(0xC612_0000 | number as u32).into()
}

/// The cloud of the bench, written down in a file as well.
struct Kept {
    bench: Bench,
    journal: Journal,
    path: std::path::PathBuf,
}

impl Kept {
    fn change<T>(&mut self, fault: Value, act: impl FnOnce(&World, &Turn<'_>) -> Plan<T>) -> Result<T, DriverError> {
        let journal = &mut self.journal;
        self.bench.change(fault, |world, turn| {
            let (changes, answer) = act(world, turn)?;
            if !changes.is_empty() {
                journal.append(&changes).unwrap();
            }
            Ok((changes, answer))
        })
    }

    fn reopen(&mut self) {
        let now = self.bench.now;
        let (journal, world) = Journal::open(&self.path, Contents::Default, false, now).unwrap();
        (self.journal, self.bench.world) = (journal, world);
        self.bench.world.settle(now);
    }
}

fn run(calls: Vec<Call>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cloud");
    let bench = Bench::new(json!({ "max_nodes": MOST, "page_size": 2 }));
    let (journal, world) = Journal::open(&path, Contents::Default, false, bench.now).unwrap();
    let mut cloud = Kept { bench: Bench { world, ..bench }, journal, path };
    let mut model = Model::default();
    for call in calls {
        let now = cloud.bench.now;
        let node = |pick: u8, model: &Model| 1 + u64::from(pick) % (model.made + 1);
        let ip = |pick: u8, model: &Model| 1 + u64::from(pick) % (model.ips_made + 1);
        let id = |number: u64| format!("node-{number}");
        let (said, expected) = match call.clone() {
            Call::Create { name, token, is_late } => {
                let (name, token) =
                    (format!("name-{name}"), if token == 0 { String::new() } else { token.to_string() });
                let fault =
                    if is_late { json!({ "fault": "eventually_consistent", "delay_ms": 1_000 }) } else { Value::Null };
                let said = cloud.change(fault, |world, turn| world.create_node(&wanted(&name, &token), turn));
                (code(said), model.create(&name, &token, if is_late { now + 1_000 } else { 0 }))
            }
            Call::Destroy(pick) => {
                let number = node(pick, &model);
                let said = cloud.change(Value::Null, |world, turn| world.destroy_node(&id(number), turn));
                (code(said), model.destroy(number, now))
            }
            Call::Stop(pick) => {
                let number = node(pick, &model);
                let said = cloud.change(Value::Null, |world, turn| world.stop_node(&id(number), turn));
                (code(said), model.switch(number, now, true))
            }
            Call::Start(pick) => {
                let number = node(pick, &model);
                let said = cloud.change(Value::Null, |world, turn| world.start_node(&id(number), turn));
                (code(said), model.switch(number, now, false))
            }
            Call::Allocate => {
                let said = cloud.change(Value::Null, |world, turn| world.allocate_ip(&AllocateIp::default(), turn));
                model.ips_made += 1;
                model.ips.insert(model.ips_made, None);
                (code(said), "ok")
            }
            Call::Release(pick) => {
                let number = ip(pick, &model);
                let said = cloud.change(Value::Null, |world, _| world.release_ip(address(number)));
                (code(said), model.release(number))
            }
            Call::Assign(pick, on) => {
                let (number, on) = (ip(pick, &model), node(on, &model));
                let request = AssignIp { address: address(number), node: id(on) };
                let said = cloud.change(Value::Null, |world, turn| world.assign_ip(&request, turn));
                (code(said), model.assign(number, on, now))
            }
            Call::Remove(pick, on) => {
                let (number, on) = (ip(pick, &model), node(on, &model));
                let request = AssignIp { address: address(number), node: id(on) };
                let said = cloud.change(Value::Null, |world, turn| world.remove_ip(&request, turn));
                (code(said), model.remove(number, on, now))
            }
            Call::Pass(milliseconds) => {
                cloud.bench.now += i64::from(milliseconds);
                continue;
            }
            Call::Reopen => {
                cloud.reopen();
                continue;
            }
        };
        assert_eq!(said, expected, "{call:?}");
        compare(&mut cloud.bench, &model);
    }
    // What was written down is what is there.
    let text = |world: &World| world.all().map(|change| serde_json::to_string(&change).unwrap()).collect::<Vec<_>>();
    let before = text(&cloud.bench.world);
    cloud.reopen();
    assert_eq!(text(&cloud.bench.world), before);
    compare(&mut cloud.bench, &model);
}

fn compare(bench: &mut Bench, model: &Model) {
    let now = bench.now;
    for name in std::iter::once(None).chain(model.used_names.iter().map(Some)) {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = bench.page(Value::Null, List { cursor, name: name.cloned(), ..List::default() });
            found.extend(page.items.into_iter().map(|node| (node.id, node.name, node.state, node.public_ips)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let nodes =
            model.nodes.iter().filter(|(_, node)| node.seen_from <= now && name.is_none_or(|name| *name == node.name));
        let expected: Vec<_> = nodes
            .map(|(number, node)| {
                let state = if node.is_stopped { "stopped" } else { "running" }.to_owned();
                let ips = model.ips.iter().filter(|(_, holder)| **holder == Some(*number)).map(|(ip, _)| address(*ip));
                (format!("node-{number}"), node.name.clone(), state, ips.collect())
            })
            .collect();
        assert_eq!(found, expected, "{name:?}");
    }
    let used = bench.look(Value::Null, |world, turn| Ok(world.quotas(turn.settings))).unwrap().quotas;
    let expected = (model.nodes.len() as u64, 4 * model.nodes.len() as u64, model.ips.len() as u64);
    assert_eq!((used[0].used, used[1].used, used[3].used), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_does_as_the_model(calls in prop::collection::vec(call(), 1..80)) {
        run(calls);
    }
}
