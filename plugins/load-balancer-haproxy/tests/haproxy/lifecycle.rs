//! Suspend, enable, delete, and a HAProxy that died.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Web, World, free_port, get, http, load_balancer, member, until};

#[test]
fn suspend_stops_enable_starts_and_delete_removes() {
    // H23 by its effect, H26.
    let (mut world, port) = (World::new(), free_port());
    let a = Web::start("a");
    std::fs::write(world.place.path().join("haproxy.log"), "a line\n").unwrap();
    world.apply(&http(port, &[member("a", &a)]));
    assert_eq!(world.call("suspend").unwrap()["method"], "stop");
    assert!(get(port).is_err());
    assert_eq!(world.host.programs(), 0);
    for method in ["status", "statistics"] {
        let error = world.call(method).unwrap_err();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("unavailable", "HAProxy is not running."));
    }
    assert_eq!(world.call("observe").unwrap()["load_balancers"][0]["state"], "suspended");
    assert_eq!(world.call("suspend").unwrap()["method"], "unchanged");
    world.reopen();
    assert_eq!(world.call("observe").unwrap()["load_balancers"][0]["state"], "suspended");

    assert_eq!(world.call("enable").unwrap()["method"], "start");
    assert_eq!(get(port).unwrap().body, "a");
    assert_eq!(world.call("enable").unwrap()["method"], "unchanged");

    assert_eq!(world.call("delete").unwrap()["method"], "delete");
    assert!(get(port).is_err());
    assert_eq!(world.host.programs(), 0);
    for name in ["haproxy.cfg", "haproxy.cfg.good", "haproxy.cfg.new", "device.json", "haproxy.out"] {
        assert!(!world.file(name).exists(), "{name} is still there");
    }
    assert_eq!(std::fs::read_to_string(world.place.path().join("haproxy.log")).unwrap(), "");
    for method in ["status", "statistics", "suspend", "enable"] {
        assert_eq!(world.call(method).unwrap_err().code.as_str(), "not_found", "{method}");
    }
    // The generation of the delete stays known, so that whoever asks goes on from there.
    let observed = world.call("observe").unwrap();
    assert_eq!(observed["load_balancers"], json!([]));
    assert!(observed["generation"].as_u64().unwrap() > 0, "{observed}");
    assert_eq!(world.call("delete").unwrap()["method"], "unchanged");
    assert_eq!(world.host.state("accounts/lb-1"), None);
}

#[test]
fn a_late_message_does_not_bring_a_deleted_device_back() {
    let (world, port) = (World::new(), free_port());
    let late = world.request(&http(port, &[]));
    world.apply(&http(port, &[]));
    world.call("delete").unwrap();
    assert_eq!(world.driver.call("apply", &late).unwrap_err().code.as_str(), "conflict");
    assert_eq!(world.apply(&http(port, &[])), "start");
}

#[test]
fn one_load_balancer_of_several_is_suspended_enabled_and_deleted_alone() {
    // BUG-31: libra stripped the other one.
    let (world, ports) = (World::new(), [free_port(), free_port()]);
    let a = Web::start("a");
    world.apply(&json!([
        load_balancer("web", "HTTP", ports[0], &[member("a", &a)]),
        load_balancer("db", "TCP", ports[1], &[member("a", &a)]),
    ]));
    let one = |method: &str| {
        let mut target = world.target();
        target["load_balancer"] = json!("db");
        world.driver.call(method, &target).unwrap()["method"].as_str().unwrap().to_owned()
    };
    assert_eq!(one("suspend"), "reload");
    assert!(get(ports[1]).is_err());
    assert_eq!(get(ports[0]).unwrap().body, "a");
    let observed = world.call("observe").unwrap();
    let states: Vec<&str> =
        observed["load_balancers"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["running", "suspended"]);
    assert_eq!(one("enable"), "reload");
    assert_eq!([get(ports[0]).unwrap().body, get(ports[1]).unwrap().body], ["a", "a"]);
    assert_eq!(one("delete"), "reload");
    assert!(get(ports[1]).is_err());
    assert_eq!(get(ports[0]).unwrap().body, "a");
    assert_eq!(one("delete"), "unchanged");
}

#[test]
fn a_haproxy_that_was_killed_is_started_by_the_next_apply() {
    let (world, port) = (World::new(), free_port());
    let a = Web::start("a");
    let request = world.request(&http(port, &[member("a", &a)]));
    world.driver.call("apply", &request).unwrap();
    world.host.stop(&world.program(), Signal::KILL);
    assert_eq!(world.call("status").unwrap_err().code.as_str(), "unavailable");
    let observed = world.call("observe").unwrap();
    assert_eq!(observed["load_balancers"][0]["state"], "failed");
    assert_eq!(observed["drift"][0], "HAProxy should run and does not answer");
    assert_eq!(world.driver.call("apply", &request).unwrap()["method"], "start", "the same generation, the same key");
    assert_eq!(get(port).unwrap().body, "a");
}

/// A worker whose master was killed answers for a moment. One that was started by hand answers for as long as it takes to see
/// that nothing is built on it.
#[test]
fn a_haproxy_without_the_daemons_master_is_neither_built_on_nor_doubled() {
    let (world, port) = (World::new(), free_port());
    let a = Web::start("a");
    let request = world.request(&http(port, &[member("a", &a)]));
    world.driver.call("apply", &request).unwrap();
    world.host.stop(&world.program(), Signal::KILL);
    let by_hand = world.start_by_hand();
    until("it serves", || get(port).is_ok());
    let error = world.driver.call("apply", &request).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("conflict", "Another HAProxy runs in the device's place.")
    );
    assert!(error.operator_message.contains(&format!("process {} answers", world.worker())), "{error:?}");
    assert_eq!(world.host.programs(), 0);

    // It ends while the driver waits for that.
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| world.driver.call("apply", &request));
        drop(by_hand);
        assert_eq!(applied.join().unwrap().unwrap()["method"], "start");
    });
    assert_eq!(get(port).unwrap().body, "a");
}
