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
