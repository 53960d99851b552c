//! Serving: what a client of the load balancer sees.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::{Web, World, free_port, get, get_with_cookie, http, load_balancer, member, until};

#[test]
fn http_goes_to_each_member_in_turn() {
    let (world, port) = (World::new(), free_port());
    let [a, b] = ["a", "b"].map(Web::start);
    assert_eq!(world.apply(&http(port, &[member("a", &a), member("b", &b)])), "start");
    let bodies: Vec<String> = (0..4).map(|_| get(port).unwrap().body).collect();
    assert!(bodies == ["a", "b", "a", "b"] || bodies == ["b", "a", "b", "a"], "{bodies:?}");
}

#[test]
fn a_client_with_a_cookie_stays() {
    let (world, port) = (World::new(), free_port());
    let [a, b] = ["a", "b"].map(Web::start);
    world.apply(&http(port, &[member("a", &a), member("b", &b)]));
    let first = get(port).unwrap();
    let cookie = first.cookie.unwrap();
    assert_eq!(cookie, format!("SERVERID=id-{}", first.body));
    for _ in 0..6 {
        assert_eq!(get_with_cookie(port, Some(&cookie)).unwrap().body, first.body);
    }
}

#[test]
fn http_without_members_is_valid_and_answers_503() {
    // BUG-10: libra failed.
    let (world, port) = (World::new(), free_port());
    assert_eq!(world.apply(&http(port, &[])), "start");
    assert_eq!(get(port).unwrap().status, 503);
    assert_eq!(world.call("status").unwrap(), json!({ "members": [] }));
}

#[test]
fn galera_sends_everything_to_the_writer_and_to_a_backup_when_it_is_gone() {
    let (world, port) = (World::new(), free_port());
    let [writer, reserve] = ["writer", "reserve"].map(Web::start);
    let mut backup = member("reserve", &reserve);
    backup["backup"] = json!(true);
    world.apply(&json!([load_balancer("lb", "GALERA", port, &[member("writer", &writer), backup])]));
    world.until_up(&["writer", "reserve"]);
    for _ in 0..5 {
        assert_eq!(get(port).unwrap().body, "writer");
    }
    assert_eq!(reserve.hits.load(Ordering::SeqCst), 0);
    drop(writer);
    until("the backup takes over", || get(port).is_ok_and(|answer| answer.body == "reserve"));
}

#[test]
fn several_devices_live_side_by_side_in_one_instance() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(Web::start);
    let ports = [free_port(), free_port()];
    for (device, port, web) in [("one", ports[0], &a), ("two", ports[1], &b)] {
        let mut request = world.request(&http(port, &[member("m", web)]));
        request["device"] = json!(device);
        world.driver.call("apply", &request).unwrap();
    }
    assert_eq!(world.host.programs(), 2);
    assert_eq!([get(ports[0]).unwrap().body, get(ports[1]).unwrap().body], ["a", "b"]);
    // The second device may not take the first one's port: HAProxy itself would share it in silence.
    let mut request = world.request(&http(ports[0], &[member("m", &b)]));
    request["device"] = json!("two");
    let error = world.driver.call("apply", &request).unwrap_err();
    assert_eq!(error.code.as_str(), "conflict");
    assert_eq!(error.message, format!("Port {} is in use by another program.", ports[0]));
    assert_eq!(get(ports[1]).unwrap().body, "b");
}

#[test]
fn ids_with_dashes_and_load_balancers_of_both_kinds_report_their_status() {
    // H25, BUG-15.
    let (world, ports) = (World::new(), [free_port(), free_port()]);
    let [a, b] = ["a", "b"].map(Web::start);
    let down = json!({ "id": "c-d-e", "address": "127.0.0.1", "port": free_port() });
    world.apply(&json!([
        load_balancer("web-1", "HTTP", ports[0], &[member("a-b", &a), down]),
        load_balancer("db-1", "TCP", ports[1], &[member("a-b", &b)]),
    ]));
    until("checks have run", || {
        let status = world.call("status").unwrap();
        let of = |load_balancer: &str, id: &str| -> Value {
            let members = status["members"].as_array().unwrap();
            members.iter().find(|one| one["load_balancer"] == load_balancer && one["id"] == id).unwrap().clone()
        };
        of("web-1", "a-b")["up"] == true && of("web-1", "c-d-e")["detail"] == "DOWN" && of("db-1", "a-b")["up"] == true
    });
    assert_eq!(world.call("status").unwrap()["members"].as_array().unwrap().len(), 3);
}
