//! What becomes of nodes that faults befall.

use capstan_plugin_api::{
    Outcome,
    cloud::{AllocateIp, AssignIp, Tags},
};

use super::*;

const LATER: i64 = 1_000;

#[test]
fn a_new_node_is_seen_late_and_a_destroyed_one_long() {
    let mut cloud = Bench::new(json!({ "max_nodes": 1 }));
    let late = json!({ "fault": "eventually_consistent", "delay_ms": LATER });
    let node = cloud.create_with(late.clone(), &wanted("a", "t")).unwrap();
    assert_eq!(cloud.ids(), [""; 0]);
    assert_eq!(code(cloud.get(&node.id)), "not_found");
    assert_eq!(code(cloud.destroy(&node.id)), "not_found");
    assert_eq!(cloud.create("a", "t"), node, "its token gives it all the same");
    assert_eq!(code(cloud.create_with(Value::Null, &wanted("b", ""))), "quota_exceeded", "and it counts");
    cloud.now += LATER;
    assert_eq!(cloud.ids(), std::slice::from_ref(&node.id));
    cloud.change(late, |world, turn| world.destroy_node(&node.id, turn)).unwrap();
    assert_eq!(cloud.get(&node.id).unwrap().state, "running");
    assert_eq!(code(cloud.destroy(&node.id)), "not_found");
    let next = cloud.create("b", "t");
    cloud.now += LATER;
    assert_eq!(cloud.ids(), [next.id]);
}

#[test]
fn nodes_fail_stay_pending_and_vanish() {
    let mut cloud = Bench::new(json!({}));
    cloud.build_ms = 100;
    let failing = cloud.create_with(json!({ "fault": "node_error", "message": "no rack" }), &wanted("a", "")).unwrap();
    let stuck = cloud.create_with(json!({ "fault": "never_up" }), &wanted("a", "")).unwrap();
    let vanishing = cloud.create_with(json!({ "fault": "vanish", "delay_ms": LATER }), &wanted("a", "t")).unwrap();
    assert_eq!((failing.state.as_str(), stuck.state.as_str()), ("pending", "pending"));
    let ip = cloud.change(Value::Null, |world, turn| world.allocate_ip(&AllocateIp::default(), turn)).unwrap();
    let assign = AssignIp { address: ip.address, node: vanishing.id.clone() };
    cloud.change(Value::Null, |world, turn| world.assign_ip(&assign, turn)).unwrap();
    cloud.now += 500;
    let failed = cloud.get(&failing.id).unwrap();
    assert_eq!((failed.state.as_str(), failed.fault.as_deref()), ("error", Some("no rack")));
    assert_eq!(code(cloud.change(Value::Null, |world, turn| world.reboot_node(&failing.id, turn))), "conflict");
    let console = cloud.look(Value::Null, |world, turn| world.console_output(&failing.id, turn)).unwrap();
    assert!(console.output.contains("panic - not syncing: no rack"), "{}", console.output);
    assert_eq!(cloud.get(&vanishing.id).unwrap().public_ips, [ip.address]);
    cloud.now += 864_000_000;
    assert_eq!(cloud.get(&stuck.id).unwrap().state, "pending");
    assert_eq!(cloud.ids(), [failing.id, stuck.id]);
    let ips = cloud.look(Value::Null, |world, turn| world.list_ips(&List::default(), turn.settings)).unwrap();
    assert_eq!((ips.items.len(), ips.items[0].node.as_deref()), (1, None), "its address is free again");
    cloud.create("another", "t");
}

#[test]
fn a_node_in_error_is_well_again_when_it_is_said_so() {
    let mut cloud = Bench::new(json!({}));
    let fault = json!({ "fault": "node_error", "delay_ms": LATER, "duration_ms": LATER });
    let id = cloud.create_with(fault, &wanted("a", "")).unwrap().id;
    for (state, has_fault) in [("running", false), ("error", true), ("running", false)] {
        let node = cloud.get(&id).unwrap();
        assert_eq!((node.state.as_str(), node.fault.is_some()), (state, has_fault));
        cloud.now += LATER;
    }
}

#[test]
fn doubles_are_those_of_somebody_else_or_of_ours() {
    let tagged = CreateNode { tags: [("owner".to_owned(), "us".to_owned())].into(), ..wanted("a", "t") };
    for (fault, ours) in [("duplicate_name", 1), ("duplicate_node", 2)] {
        let mut cloud = Bench::new(json!({}));
        cloud.create_with(json!({ "fault": fault }), &tagged).unwrap();
        let by_name = List { name: Some("a".into()), ..List::default() };
        assert_eq!(cloud.page(Value::Null, by_name).items.len(), 2);
        let by_tags = List { tags: tagged.tags.clone(), ..List::default() };
        assert_eq!(cloud.page(Value::Null, by_tags).items.len(), ours, "{fault}");
    }
}

#[test]
fn answers_out_of_contract_are_given_as_asked() {
    let mut cloud = Bench::new(json!({ "public_addresses": true }));
    let bare = cloud.create_with(json!({ "fault": "no_address" }), &wanted("a", "")).unwrap();
    assert!(bare.public_ips.is_empty() && bare.private_ips.is_empty() && bare.state == "running");
    let strange =
        cloud.create_with(json!({ "fault": "unknown_state", "state": "levitating" }), &wanted("a", "")).unwrap();
    assert_eq!(strange.state, "levitating");
    cloud.destroy(&bare.id).unwrap();
    let reused = cloud.create_with(json!({ "fault": "reused_id" }), &wanted("b", "")).unwrap();
    assert_eq!(reused.id, bare.id, "the id of the last that went");
    assert_eq!(cloud.get(&bare.id).unwrap().name, "b");
    let again = cloud.create_with(json!({ "fault": "reused_id" }), &wanted("c", "")).unwrap();
    assert_eq!(again.id, bare.id);
    assert_eq!(cloud.ids(), [strange.id, bare.id.clone(), bare.id.clone()]);
    let rubbish = cloud.create_with(json!({ "fault": "garbage" }), &wanted("d", "")).unwrap();
    assert!(rubbish.state.contains("<html>") && rubbish.created_at.unwrap().contains('\u{0}'));
    cloud.destroy(&rubbish.id).unwrap();
    cloud.change(json!({ "fault": "never_gone" }), |world, turn| world.destroy_node(&bare.id, turn)).unwrap();
    assert_eq!(cloud.get(&bare.id).unwrap().name, "b");
}

#[test]
fn lists_are_long_whole_or_without_an_end() {
    let mut cloud = Bench::new(json!({}));
    let node = cloud.create("a", "");
    let many = || json!({ "fault": "many_nodes", "count": 2_500 });
    let (mut ids, mut cursor, mut pages) = (std::collections::HashSet::new(), None, 0);
    loop {
        let page = cloud.page(many(), List { cursor, ..List::default() });
        ids.extend(page.items.into_iter().map(|node| node.id));
        (cursor, pages) = (page.next, pages + 1);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((ids.len(), pages, ids.contains(&node.id)), (2_501, 3, true));
    let tagged = List { tags: [("a".to_owned(), "b".to_owned())].into(), ..List::default() };
    assert_eq!(cloud.page(many(), tagged).items.len(), 0);
    let named = |name: &str| List { name: Some(name.into()), ..List::default() };
    assert_eq!(cloud.page(many(), named("phantom-2500")).items.len(), 1);
    assert_eq!(cloud.page(many(), named("phantom-2501")).items.len(), 0);

    for _ in 0..4 {
        cloud.create("b", "");
    }
    let two = |cursor| List { cursor, limit: Some(2), ..List::default() };
    assert_eq!(cloud.page(json!({ "fault": "ignores_limit" }), two(None)).items.len(), 5);
    let first = cloud.page(json!({ "fault": "repeated_cursor" }), two(None));
    let second = cloud.page(json!({ "fault": "repeated_cursor" }), two(first.next.clone()));
    assert_eq!((second.next.as_ref(), second.items.len()), (first.next.as_ref(), 2));
}

#[test]
fn a_create_that_is_waited_for_ends_with_its_node() {
    let mut cloud = Bench::new(json!({ "pending": true }));
    cloud.build_ms = 1_500;
    let made = cloud.change(Value::Null, |world, turn| world.create_node(&wanted("a", ""), turn)).unwrap();
    let Outcome::Pending(pending) = made.pending() else { panic!("it is being built") };
    assert_eq!(pending.poll_after_ms, 1_000);
    let poll = |cloud: &mut Bench, token: &str| cloud.look(Value::Null, |world, turn| world.poll(token, turn));
    cloud.now += 1_000;
    let Outcome::Pending(pending) = poll(&mut cloud, &pending.token).unwrap() else { panic!("it is being built") };
    assert_eq!(pending.poll_after_ms, 500);
    cloud.now += 500;
    let Outcome::Done(node) = poll(&mut cloud, &pending.token).unwrap() else { panic!("it is built") };
    assert_eq!(node["state"], "running");
    cloud.destroy("node-1").unwrap();
    for token in [pending.token.as_str(), "node x", ""] {
        assert_eq!(code(poll(&mut cloud, token)), "not_found", "{token}");
    }
}

#[test]
fn tags_are_set_and_taken_away() {
    let mut cloud = Bench::new(json!({}));
    let id = cloud.create("a", "").id;
    let tag = |cloud: &mut Bench, set: &[(&str, &str)], remove: &[&str]| {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Tags { id: id.clone(), set, remove: remove.iter().map(|name| (*name).to_owned()).collect() };
        let changed = cloud.change(Value::Null, |world, turn| world.set_tags(&request, turn));
        (
            code(changed),
            cloud.get(&id).unwrap().tags.into_iter().map(|(name, value)| name + "=" + &value).collect::<Vec<_>>(),
        )
    };
    assert_eq!(tag(&mut cloud, &[("a", "1"), ("b", "2")], &[]), ("ok".into(), vec!["a=1".into(), "b=2".into()]));
    assert_eq!(tag(&mut cloud, &[("a", "3")], &["a", "b", "none"]), ("ok".into(), vec!["a=3".into()]));
    assert_eq!(tag(&mut cloud, &[("a\0", "3")], &[]).0, "invalid_argument");
}
