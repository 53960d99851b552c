//! The contents by themselves: time is a number here.

mod fates;
mod model;

use capstan_plugin_api::{
    DriverError,
    cloud::{CreateNode, List, Node, Page},
};
use serde_json::{Value, json};

use super::{Plan, Turn, World};
use crate::{
    catalog::Contents,
    config::{Config, Settings},
    faults::{Armed, Fired},
};

/// A cloud whose clock is set by hand.
struct Bench {
    world: World,
    settings: Settings,
    now: i64,
    build_ms: i64,
}

impl Bench {
    fn new(settings: Value) -> Self {
        let settings = serde_json::from_value::<Config>(settings).unwrap().settings().unwrap();
        let now = 1_800_000_000_000;
        Self { world: World::begun(settings.contents, now), settings, now, build_ms: 0 }
    }

    /// One call, which the fault befalls if there is one.
    fn change<T>(&mut self, fault: Value, act: impl FnOnce(&World, &Turn<'_>) -> Plan<T>) -> Result<T, DriverError> {
        let mut fired = Fired::default();
        let rules = if fault.is_null() { json!([]) } else { json!([fault]) };
        let mut armed = Armed::new(0, "faults", &serde_json::from_value::<Vec<_>>(rules).unwrap());
        for method in ["create_node", "destroy_node", "list_nodes"] {
            armed.meet(method, "", &mut fired);
        }
        self.world.settle(self.now);
        let turn = Turn { settings: &self.settings, now: self.now, build_ms: self.build_ms, fired: &fired };
        let (changes, answer) = act(&self.world, &turn)?;
        changes.into_iter().for_each(|change| self.world.apply(change));
        Ok(answer)
    }

    fn look<T>(
        &mut self,
        fault: Value,
        act: impl FnOnce(&World, &Turn<'_>) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.change(fault, |world, turn| act(world, turn).map(|answer| (Vec::new(), answer)))
    }

    fn create_with(&mut self, fault: Value, request: &CreateNode) -> Result<Node, DriverError> {
        self.change(fault, |world, turn| world.create_node(request, turn)).map(|made| made.node)
    }

    fn create(&mut self, name: &str, token: &str) -> Node {
        self.create_with(Value::Null, &wanted(name, token)).unwrap()
    }

    fn destroy(&mut self, id: &str) -> Result<(), DriverError> {
        self.change(Value::Null, |world, turn| world.destroy_node(id, turn))
    }

    fn get(&mut self, id: &str) -> Result<Node, DriverError> {
        self.look(Value::Null, |world, turn| world.get_node(id, turn))
    }

    fn page(&mut self, fault: Value, request: List) -> Page<Node> {
        self.look(fault, |world, turn| world.list_nodes(&request, turn)).unwrap()
    }

    fn ids(&mut self) -> Vec<String> {
        self.page(Value::Null, List::default()).items.into_iter().map(|node| node.id).collect()
    }
}

fn wanted(name: &str, token: &str) -> CreateNode {
    CreateNode {
        name: name.into(),
        image: "image-1".into(),
        size: "size-3".into(),
        client_token: token.into(),
        ..Default::default()
    }
}

fn code<T>(answer: Result<T, DriverError>) -> String {
    answer.err().map_or_else(|| "ok".to_owned(), |error| error.code.to_string())
}

#[test]
fn a_token_makes_one_node_until_that_is_destroyed() {
    let mut cloud = Bench::new(json!({}));
    let first = cloud.create("a", "t");
    assert_eq!(cloud.create("a", "t"), first);
    assert_ne!(cloud.create("a", "").id, cloud.create("a", "").id);
    assert_eq!(code(cloud.create_with(Value::Null, &wanted("b", "t"))), "invalid_argument");
    cloud.destroy(&first.id).unwrap();
    assert_eq!(code(cloud.destroy(&first.id)), "not_found");
    assert_ne!(cloud.create("a", "t").id, first.id);

    let mut without = Bench::new(json!({ "client_tokens": false }));
    assert_ne!(without.create("a", "t").id, without.create("a", "t").id);
}

#[test]
fn unknown_ids_and_quotas_are_named() {
    let mut cloud = Bench::new(json!({ "max_nodes": 3, "quotas": { "vcpus": 8 } }));
    for request in [
        CreateNode { image: "image-9".into(), ..wanted("a", "") },
        CreateNode { size: "size-9".into(), ..wanted("a", "") },
        CreateNode { location: Some("zone-9".into()), ..wanted("a", "") },
        CreateNode { key_pair: Some("none".into()), ..wanted("a", "") },
        CreateNode { security_groups: vec!["none".into()], ..wanted("a", "") },
        CreateNode { networks: vec!["network-9".into()], ..wanted("a", "") },
    ] {
        assert_eq!(code(cloud.create_with(Value::Null, &request)), "not_found", "{request:?}");
    }
    assert_eq!(code(cloud.create_with(Value::Null, &wanted("", ""))), "invalid_argument");
    cloud.create("a", "");
    cloud.create("b", "");
    let full = cloud.create_with(Value::Null, &wanted("c", "")).unwrap_err();
    assert_eq!(full.message, "the quota of vcpus is 8, of which 8 are used");
    let small = CreateNode { size: "size-1".into(), ..wanted("c", "") };
    cloud.settings.quotas.vcpus = None;
    cloud.create_with(Value::Null, &small).unwrap();
    assert_eq!(code(cloud.create_with(Value::Null, &small)), "quota_exceeded");
    for id in ["node-4", "node-01", "node-+1", "1", ""] {
        assert_eq!(code(cloud.get(id)), "not_found", "{id}");
    }
    let quotas = cloud.look(Value::Null, |world, turn| Ok(world.quotas(turn.settings))).unwrap();
    assert_eq!((quotas.quotas[0].used, quotas.quotas[0].limit, quotas.quotas[1].used), (3, Some(3), 9));
}

#[test]
fn pages_hold_every_node_once_while_nodes_go() {
    let mut cloud = Bench::new(json!({ "page_size": 5 }));
    for i in 0..7 {
        cloud.create(if i % 2 == 0 { "even" } else { "odd" }, "");
    }
    let list = |cursor: Option<String>, limit| List { cursor, limit, ..List::default() };
    let first = cloud.page(Value::Null, list(None, Some(3)));
    assert_eq!(first.items.len(), 3);
    cloud.destroy("node-3").unwrap();
    let rest = cloud.page(Value::Null, list(first.next, Some(4)));
    let ids: Vec<_> = rest.items.iter().map(|node| node.id.as_str()).collect();
    assert_eq!((ids, rest.next), (vec!["node-4", "node-5", "node-6", "node-7"], None));
    for limit in [None, Some(100)] {
        assert_eq!(cloud.page(Value::Null, list(None, limit)).items.len(), 5, "the cloud's own page");
    }
    let odd = cloud.page(Value::Null, List { name: Some("odd".into()), limit: Some(2), ..List::default() });
    assert_eq!((odd.items.len(), odd.next.as_deref()), (2, Some("4")));
    for bad in [list(None, Some(0)), list(Some("next please".into()), None)] {
        assert_eq!(code(cloud.look(Value::Null, |world, turn| world.list_nodes(&bad, turn))), "invalid_argument");
    }
}

#[test]
fn nodes_take_their_time_and_are_spread_over_hosts() {
    let mut cloud = Bench::new(json!({ "hosts": 2, "public_addresses": true }));
    cloud.build_ms = 2_000;
    let node = cloud.create("a", "");
    assert_eq!((node.state.as_str(), node.created_at.as_deref()), ("pending", Some("2027-01-15T08:00:00Z")));
    assert_eq!(code(cloud.change(Value::Null, |world, turn| world.stop_node("node-1", turn))), "conflict");
    cloud.now += 2_000;
    assert_eq!(cloud.get("node-1").unwrap().state, "running");
    assert_eq!(
        (node.private_ips[0].to_string(), node.public_ips[0].to_string()),
        ("10.0.0.1".into(), "100.64.0.1".into())
    );
    cloud.change(Value::Null, |world, turn| world.reboot_node("node-1", turn)).unwrap();
    assert_eq!(cloud.get("node-1").unwrap().state, "rebooting");
    cloud.change(Value::Null, |world, turn| world.stop_node("node-1", turn)).unwrap();
    assert_eq!(code(cloud.change(Value::Null, |world, turn| world.stop_node("node-1", turn))), "conflict");
    assert_eq!(cloud.get("node-1").unwrap().state, "stopped");
    cloud.change(Value::Null, |world, turn| world.start_node("node-1", turn)).unwrap();
    assert_eq!(cloud.get("node-1").unwrap().state, "pending");
    let places: Vec<_> = (0..6).map(|_| cloud.create("b", "")).map(|node| node.host.unwrap()).collect();
    assert_eq!(places[..2], ["zone-2-host-2", "zone-3-host-1"]);
    let asked = CreateNode { location: Some("zone-2".into()), ..wanted("c", "") };
    assert_eq!(cloud.create_with(Value::Null, &asked).unwrap().location.as_deref(), Some("zone-2"));
}

#[test]
fn libcloud_begins_and_numbers_as_there() {
    let mut cloud = Bench::new(json!({ "contents": "libcloud" }));
    assert_eq!(cloud.settings.contents, Contents::Libcloud);
    let begun = cloud.page(Value::Null, List::default()).items;
    let shown = |node: &Node| format!("{} {} {} {}", node.id, node.name, node.state, node.public_ips[0]);
    assert_eq!(
        begun.iter().map(shown).collect::<Vec<_>>(),
        ["1 dummy-1 running 127.0.0.1", "2 dummy-2 running 127.0.0.2"]
    );
    assert_eq!(begun[0].extra["foo"], "bar");
    let request = CreateNode { name: "fake".into(), image: "3".into(), size: "4".into(), ..CreateNode::default() };
    let create = |cloud: &mut Bench| shown(&cloud.create_with(Value::Null, &request).unwrap());
    assert_eq!(create(&mut cloud), "3 dummy-3 running 127.0.0.3");
    assert_eq!(create(&mut cloud), "4 dummy-4 running 127.0.0.4");
    cloud.destroy("3").unwrap();
    assert_eq!(create(&mut cloud), "4 dummy-4 running 127.0.0.4", "the id comes twice there");
    assert_eq!(cloud.ids(), ["1", "2", "4", "4"]);
    cloud.destroy("4").unwrap();
    assert_eq!(cloud.ids(), ["1", "2", "4"], "one of the two");
}
