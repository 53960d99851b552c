//! Changes while clients are served.

use serde_json::json;

use crate::support::{Load, Web, World, free_port, get, get_with_cookie, http, member, tcp, until};

#[test]
fn a_member_joins_over_the_runtime_api_and_its_clients_stay_with_it() {
    let (mut world, port) = (World::new(), free_port());
    let [a, b] = ["a", "b"].map(Web::start);
    world.apply(&http(port, &[member("a", &a)]));
    world.until_up(&["a"]);
    let worker = world.worker();
    let load = Load::start(port, 4);
    let both = http(port, &[member("a", &a), member("b", &b)]);
    assert_eq!(world.apply(&both), "runtime");
    let mut first = None;
    until("the new member answers", || {
        first = get(port).ok().filter(|answer| answer.body == "b");
        first.is_some()
    });
    let cookie = first.unwrap().cookie.unwrap();
    for _ in 0..10 {
        assert_eq!(get_with_cookie(port, Some(&cookie)).unwrap().body, "b");
    }
    let (done, failures) = load.stop();
    assert!(done > 0 && failures.is_empty(), "{done} answered, {failures:?}");
    assert_eq!(world.worker(), worker, "no reload");
    world.until_up(&["a", "b"]);

    // The file says the same: HAProxy comes up with it, and the client is still with its member.
    world.host.stop(&world.program(), rustix::process::Signal::KILL);
    {
        let _by_hand = world.start_by_hand();
        until("the file serves", || get(port).is_ok());
        assert_eq!(get_with_cookie(port, Some(&cookie)).unwrap().body, "b");
    }
    world.reopen();
    assert_eq!(world.apply(&both), "start");
    assert!(world.config_text().contains("server id-b "));
    for _ in 0..10 {
        assert_eq!(get_with_cookie(port, Some(&cookie)).unwrap().body, "b");
    }
}

#[test]
fn tcp_members_join_and_leave_without_a_lost_request() {
    let (world, port) = (World::new(), free_port());
    let [a, b] = ["a", "b"].map(Web::start);
    let mut spec = tcp(port, &[member("a", &a)]);
    spec[0]["pools"][0]["persistence"] = json!({ "type": "none" });
    world.apply(&spec);
    let worker = world.worker();
    let load = Load::start(port, 4);
    for round in 0..5 {
        spec[0]["pools"][0]["members"] = json!([member("a", &a), member("b", &b)]);
        assert_eq!(world.apply(&spec), "runtime", "round {round}");
        until("the new member answers", || get(port).is_ok_and(|answer| answer.body == "b"));
        spec[0]["pools"][0]["members"] = json!([member("a", &a)]);
        assert_eq!(world.apply(&spec), "runtime", "round {round}");
    }
    let (done, failures) = load.stop();
    assert!(done > 0 && failures.is_empty(), "{done} answered, {failures:?}");
    assert_eq!(world.worker(), worker, "no reload");
}

#[test]
fn weight_drain_and_disabled_are_runtime_changes_and_stand_in_the_file() {
    let (world, port) = (World::new(), free_port());
    let [a, b] = ["a", "b"].map(Web::start);
    let spec = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut second = member("b", &b);
        change(&mut second);
        http(port, &[member("a", &a), second])
    };
    world.apply(&spec(&|_| {}));
    world.until_up(&["a", "b"]);
    let worker = world.worker();
    let share = || {
        let bodies: Vec<String> = (0..40).map(|_| get(port).unwrap().body).collect();
        bodies.iter().filter(|body| *body == "b").count()
    };

    assert_eq!(world.apply(&spec(&|member| member["weight"] = json!(3))), "runtime");
    let got = share();
    assert!((29..=31).contains(&got), "3 of 4 go to b, not {got} of 40");
    assert!(world.config_text().contains(" cookie id-b weight 3 check"), "{}", world.config_text());

    assert_eq!(world.apply(&spec(&|member| member["state"] = json!("drain"))), "runtime");
    assert_eq!(share(), 0);
    assert_eq!(get_with_cookie(port, Some("SERVERID=id-b")).unwrap().body, "b", "who has it keeps it");
    assert!(world.config_text().contains(" cookie id-b weight 0 check"));

    assert_eq!(world.apply(&spec(&|member| member["state"] = json!("disabled"))), "runtime");
    assert_eq!(get_with_cookie(port, Some("SERVERID=id-b")).unwrap().body, "a", "nobody keeps it");
    assert!(world.config_text().contains(" weight 1 disabled check"));

    assert_eq!(world.apply(&spec(&|_| {})), "runtime");
    assert_eq!(share(), 20);
    assert_eq!(world.worker(), worker, "no reload");
}

#[test]
fn an_address_changes_without_a_reload() {
    let (world, port) = (World::new(), free_port());
    let [a, b] = ["a", "b"].map(Web::start);
    world.apply(&http(port, &[member("m", &a)]));
    assert_eq!(get(port).unwrap().body, "a");
    assert_eq!(world.apply(&http(port, &[member("m", &b)])), "runtime");
    assert_eq!(get(port).unwrap().body, "b");
}

#[test]
fn a_slot_serves_one_member_after_another() {
    let (world, port) = (World::with(&json!({ "spare_slots": 1 })), free_port());
    let webs = ["a", "b", "c"].map(Web::start);
    let with = |others: &[usize]| {
        let names = ["a", "b", "c"];
        let mut members = vec![member("a", &webs[0])];
        members.extend(others.iter().map(|index| member(names[*index], &webs[*index])));
        http(port, &members)
    };
    let bodies = || {
        let mut bodies: Vec<String> = (0..6).map(|_| get(port).unwrap().body).collect();
        bodies.sort();
        bodies.dedup();
        bodies
    };
    world.apply(&with(&[]));
    assert_eq!(world.apply(&with(&[1])), "runtime");
    assert_eq!(bodies(), ["a", "b"]);
    assert_eq!(world.apply(&with(&[])), "runtime");
    assert_eq!(bodies(), ["a"]);
    assert_eq!(world.apply(&with(&[2])), "runtime");
    assert_eq!(bodies(), ["a", "c"]);
    // Both at once need a second slot, which only a reload brings; who came in through the slot keeps its cookie.
    assert_eq!(world.apply(&with(&[2, 1])), "reload");
    assert_eq!(bodies(), ["a", "b", "c"]);
    assert_eq!(get_with_cookie(port, Some("SERVERID=slot-1")).unwrap().body, "c");
    let text = world.config_text();
    assert!(text.contains("server id-c ") && text.contains("cookie slot-1 "), "{text}");
    assert_eq!(text.matches(" disabled check").count(), 1, "one free slot again: {text}");
    world.until_up(&["a", "b", "c"]);
}

#[test]
fn the_same_again_changes_nothing_and_an_older_generation_is_refused() {
    let (mut world, port) = (World::new(), free_port());
    let a = Web::start("a");
    let spec = http(port, &[member("a", &a)]);
    let first = world.request(&spec);
    let second = world.request(&spec);
    assert_eq!(world.driver.call("apply", &second).unwrap()["method"], "start");
    assert_eq!(world.driver.call("apply", &second).unwrap()["method"], "unchanged");
    for _ in 0..2 {
        let error = world.driver.call("apply", &first).unwrap_err();
        assert_eq!(error.code.as_str(), "conflict");
        // What is older than what runs is refused by a driver that has just been opened, too.
        world.reopen();
    }
    let third = world.request(&spec);
    assert_eq!(world.driver.call("apply", &third).unwrap()["method"], "unchanged");
    assert_eq!(world.driver.call("apply", &second).unwrap_err().code.as_str(), "conflict");
    assert_eq!(world.call("observe").unwrap()["generation"], third["generation"]);
}

#[test]
fn a_restarted_driver_goes_on_with_the_running_haproxy() {
    let (mut world, port) = (World::new(), free_port());
    let [a, b] = ["a", "b"].map(Web::start);
    world.apply(&http(port, &[member("a", &a)]));
    let worker = world.worker();
    world.reopen();
    assert_eq!(get(port).unwrap().body, "a");
    let observed = world.call("observe").unwrap();
    assert_eq!(observed["load_balancers"][0]["state"], "running");
    assert!(observed.get("drift").is_none(), "{observed}");
    assert_eq!(world.apply(&http(port, &[member("a", &a), member("b", &b)])), "runtime");
    assert_eq!(world.worker(), worker);
}

#[test]
fn what_somebody_changed_by_hand_is_seen_and_set_right() {
    let (world, port) = (World::new(), free_port());
    let a = Web::start("a");
    let spec = http(port, &[member("a", &a)]);
    world.apply(&spec);
    world.ask("set server http-servers/id-a weight 77");
    let drift = world.call("observe").unwrap()["drift"].to_string();
    assert!(drift.contains("set server http-servers/id-a weight 1"), "{drift}");
    assert_eq!(world.apply(&spec), "runtime");
    assert!(world.call("observe").unwrap().get("drift").is_none());
}

#[test]
fn host_names_are_resolved_as_haproxy_starts() {
    let (world, port) = (World::new(), free_port());
    let a = Web::start("a");
    let named = |name: &str| json!({ "id": "n", "address": name, "port": a.port() });
    assert_eq!(world.apply(&http(port, &[named("localhost")])), "start");
    assert_eq!(get(port).unwrap().body, "a");
    let mut weighted = named("localhost");
    weighted["weight"] = json!(5);
    assert_eq!(world.apply(&http(port, &[weighted])), "runtime", "its name is the same");
    assert_eq!(world.apply(&http(port, &[named("no-such-host.invalid")])), "reload");
    assert_eq!(get(port).unwrap().status, 503);
    let status = world.call("status").unwrap();
    assert_eq!(status["members"][0]["up"], false);
    assert_eq!(status["members"][0]["detail"], "MAINT (resolution)");
}
