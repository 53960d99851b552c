//! Statistics across reloads.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Web, World, free_port, get, http, load_balancer, member, until};

fn bytes(statistics: &Value) -> i64 {
    statistics["listeners"][0]["bytes_out"].as_i64().unwrap()
}

/// HAProxy counts a response a moment after its client has it. Waits until the process shows so many bytes.
fn until_counted(world: &World, bytes: i64) {
    until("HAProxy has counted", || {
        let answer = world.ask("show stat -1 2 -1");
        let line = answer.lines().find(|line| line.starts_with("http-servers,")).unwrap();
        line.split(',').nth(9).unwrap().parse::<i64>().unwrap() >= bytes
    });
}

#[test]
fn every_byte_is_reported_once_whatever_happened_in_between() {
    let (world, port) = (World::new(), free_port());
    let a = Web::start("a");
    world.apply(&http(port, &[member("a", &a)]));
    let ask = |times: usize| (0..times).for_each(|_| assert_eq!(get(port).unwrap().body, "a"));
    ask(1);
    until_counted(&world, 1);
    let first = world.call("statistics").unwrap();
    let one = bytes(&first);
    assert!(one > 0);
    assert_eq!(first["listeners"][0]["protocol"], "http");
    assert_eq!(first["listeners"][0]["load_balancer"], "lb");
    assert!(first["listeners"][0]["bytes_in"].as_i64().unwrap() > 0);
    for stamp in ["start", "end"] {
        assert_eq!(first[stamp].as_str().unwrap().len(), "2013-01-31 12:10:30.123456".len());
    }
    // 2 before a reload, 3 before a stop, 4 after.
    ask(2);
    until_counted(&world, 3 * one);
    let other =
        json!([load_balancer("lb", "HTTP", port, &[member("a", &a)]), load_balancer("db", "TCP", free_port(), &[]),]);
    assert_eq!(world.apply(&other), "reload");
    ask(3);
    until_counted(&world, 3 * one);
    world.call("suspend").unwrap();
    world.call("enable").unwrap();
    ask(4);
    until_counted(&world, 4 * one);
    let second = world.call("statistics").unwrap();
    assert_eq!(bytes(&second), 9 * one);
    assert_eq!(second["listeners"].as_array().unwrap().len(), 2);
    let gap = |text: &Value| text.as_str().unwrap()[20..].parse::<u32>().unwrap();
    assert_eq!(gap(&second["start"]), (gap(&first["end"]) + 1) % 1_000_000, "M10");
    assert_eq!(bytes(&world.call("statistics").unwrap()), 0);

    // Killed behind our back: what it had counted is lost, nothing is counted twice.
    ask(1);
    world.host.stop(&world.program(), Signal::KILL);
    world.apply(&other);
    ask(2);
    until_counted(&world, 2 * one);
    assert_eq!(bytes(&world.call("statistics").unwrap()), 2 * one);
}
