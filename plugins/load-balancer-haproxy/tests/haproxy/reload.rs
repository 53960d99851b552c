//! Reloads: confirmed, refused beforehand, or taken back.

use std::{net::TcpListener, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use crate::support::{Load, Web, World, free_port, get, http, load_balancer, member};

#[test]
fn a_reload_is_confirmed_by_the_process_that_answers() {
    let (world, ports) = (World::new(), [free_port(), free_port()]);
    let a = Web::start("a");
    world.apply(&http(ports[0], &[member("a", &a)]));
    let first = world.worker();
    let load = Load::start(ports[0], 2);
    let both = json!([
        load_balancer("lb", "HTTP", ports[0], &[member("a", &a)]),
        load_balancer("db", "TCP", ports[1], &[member("a", &a)]),
    ]);
    assert_eq!(world.apply(&both), "reload");
    // No waiting: what was reported is what runs.
    assert_eq!(get(ports[1]).unwrap().body, "a");
    assert_ne!(world.worker(), first);
    for round in 0..10 {
        let ports = [ports[0], if round % 2 == 0 { free_port() } else { ports[1] }];
        let both = json!([
            load_balancer("lb", "HTTP", ports[0], &[member("a", &a)]),
            load_balancer("db", "TCP", ports[1], &[member("a", &a)]),
        ]);
        assert_eq!(world.apply(&both), "reload", "round {round}");
        assert_eq!(get(ports[1]).unwrap().body, "a", "round {round}");
    }
    let (done, failures) = load.stop();
    assert!(done > 0 && failures.is_empty(), "{done} answered, {failures:?}");
}

#[test]
fn what_haproxy_refuses_is_never_put_in_place() {
    let (mut world, port) = (World::new(), free_port());
    let a = Web::start("a");
    world.apply(&http(port, &[member("a", &a)]));
    let (file, worker) = (world.config_text(), world.worker());
    world.config["stats_user"] = json!("no-such-user");
    world.reopen();
    let error = world.driver.call("apply", &world.request(&http(port, &[]))).unwrap_err();
    assert_eq!(error.message, "Configuration file is invalid");
    assert!(error.operator_message.contains("no-such-user"), "{}", error.operator_message);
    assert_eq!((world.config_text(), world.worker()), (file, worker));
    assert!(!world.file("haproxy.cfg.new").exists());
    assert_eq!(get(port).unwrap().body, "a");
}

#[test]
fn a_first_configuration_that_is_refused_leaves_nothing_running() {
    let world = World::with(&json!({ "stats_user": "no-such-user" }));
    world.driver.call("apply", &world.request(&http(free_port(), &[]))).unwrap_err();
    assert_eq!(world.host.programs(), 0);
    assert!(!world.file("haproxy.cfg").exists());
    assert_eq!(world.call("status").unwrap_err().code.as_str(), "not_found");
}

/// BUG-12: libra left the broken file in place. A stand-in for the checker lets a file through that HAProxy then refuses.
#[test]
fn the_last_good_configuration_comes_back_when_the_new_one_does_not_load() {
    let (mut world, port) = (World::new(), free_port());
    let a = Web::start("a");
    let good = http(port, &[member("a", &a)]);
    world.apply(&good);
    let (file, original) = (world.config_text(), world.config.clone());
    let blind = world.place.path().join("blind-checker");
    std::fs::write(&blind, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&blind, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.config["haproxy_path"] = json!(blind.to_str().unwrap());
    world.config["stats_user"] = json!("no-such-user");
    world.reopen();
    let load = Load::start(port, 2);
    let error = world.driver.call("apply", &world.request(&http(port, &[]))).unwrap_err();
    assert_eq!(error.message, "The new configuration did not come up; the previous one was restored.");
    assert!(error.operator_message.contains("no-such-user"), "HAProxy's own words: {}", error.operator_message);
    assert_eq!(world.config_text(), file);
    let (done, failures) = load.stop();
    assert!(done > 0 && failures.is_empty(), "{done} answered, {failures:?}");

    world.config = original;
    world.reopen();
    assert!(world.call("observe").unwrap().get("drift").is_none());
    assert_eq!(world.apply(&good), "unchanged");
    assert_eq!(world.apply(&http(port, &[])), "runtime");
    let other = free_port();
    assert_eq!(world.apply(&http(other, &[member("a", &a)])), "reload", "the master still reloads");
    assert_eq!(get(other).unwrap().body, "a");
}

#[test]
fn a_port_of_somebody_else_is_refused_before_anything_is_touched() {
    let (world, port) = (World::new(), free_port());
    let a = Web::start("a");
    world.apply(&http(port, &[member("a", &a)]));
    let worker = world.worker();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = world.driver.call("apply", &world.request(&http(taken.local_addr().unwrap().port(), &[]))).unwrap_err();
    assert_eq!(error.code.as_str(), "conflict");
    assert_eq!((world.worker(), get(port).unwrap().body), (worker, "a".to_owned()));
}
