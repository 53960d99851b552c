//! Which commands each version gets.

use serde_json::{Value, json};

use super::*;
use crate::{runtime::Version, settings::Settings, spec};

fn wanted(protocol: &str, members: &Value) -> Wanted {
    let request = serde_json::from_value(json!({
        "device": "d", "generation": 1, "idempotency_key": "", "load_balancers": [{
            "id": "lb",
            "listeners": [{ "id": protocol.to_lowercase(), "protocol": protocol, "port": 80 }],
            "pools": [{ "id": "p", "algorithm": "ROUND_ROBIN", "members": members }],
        }],
    }));
    let checked = spec::check(&request.unwrap(), &Settings::default());
    assert!(!checked.is_refused(false), "{:?}", checked.results);
    checked.wanted
}

fn live(backend: &str, name: &str, address: &str, cookie: &str, status: &str) -> LiveServer {
    let (ip, port) = address.rsplit_once(':').unwrap();
    LiveServer {
        backend: backend.into(),
        name: name.into(),
        status: status.into(),
        weight: 1,
        backup: false,
        address: Some((ip.parse().unwrap(), port.parse().unwrap())),
        cookie: cookie.into(),
    }
}

fn features(major: u32, minor: u32) -> Features {
    Features::of(Version { major, minor }).unwrap_or_default()
}

fn change(wanted: &Wanted, live: &[LiveServer], features: Features) -> Change {
    plan(wanted, &Slots::default(), live, features, &HashSet::new()).unwrap().change
}

#[test]
fn each_version_is_told_what_it_understands() {
    let node = |id: &str, n: u8| json!({ "id": id, "address": format!("10.0.0.{n}"), "port": 80 });
    let two = wanted("TCP", &json!([node("1", 1), node("2", 2)]));
    let tcp = [live("tcp-servers", "id-1", "10.0.0.1:80", "", "UP")];
    let add = "add server tcp-servers/id-2 10.0.0.2:80 weight 1 check inter 30s;\
               set server tcp-servers/id-2 state ready;enable health tcp-servers/id-2";
    assert_eq!(change(&two, &tcp, features(2, 6)), Change::Runtime(vec![add.into()]));
    for (major, minor) in [(2, 4), (9, 9)] {
        assert!(matches!(change(&two, &tcp, features(major, minor)), Change::Reload(_)), "{major}.{minor}");
    }

    let two = wanted("HTTP", &json!([node("1", 1), node("2", 2)]));
    let http = [live("http-servers", "id-1", "10.0.0.1:80", "id-1", "UP")];
    assert!(matches!(change(&two, &http, features(2, 6)), Change::Reload(_)), "no slot is free");
    let add = "add server http-servers/id-2 10.0.0.2:80 cookie id-2 weight 1 check inter 30s;\
               set server http-servers/id-2 state ready;enable health http-servers/id-2";
    assert_eq!(change(&two, &http, features(3, 0)), Change::Runtime(vec![add.into()]));
    let slot = live("http-servers", "slot-1", "192.0.2.1:9", "slot-1", "MAINT");
    let into = "set server http-servers/slot-1 addr 10.0.0.2 port 80;set server http-servers/slot-1 state ready";
    let both = [http[0].clone(), slot];
    assert_eq!(change(&two, &both, features(2, 4)), Change::Runtime(vec![into.into()]));
}

#[test]
fn a_version_that_is_not_known_is_only_left_alone_or_reloaded() {
    let node = json!([{ "id": "1", "address": "10.0.0.1", "port": 80 }]);
    let same = [live("tcp-servers", "id-1", "10.0.0.1:80", "", "UP")];
    assert_eq!(change(&wanted("TCP", &node), &same, Features::default()), Change::Nothing);
    let other = [live("tcp-servers", "id-1", "10.0.0.9:80", "", "UP")];
    assert!(matches!(change(&wanted("TCP", &node), &other, Features::default()), Change::Reload(_)));
    assert!(matches!(change(&wanted("TCP", &json!([])), &same, Features::default()), Change::Reload(_)));
}

#[test]
fn many_changes_are_one_reload_and_long_ones_several_lines() {
    let nodes = |count: u32, port: u32| -> Value {
        (0..count).map(|n| json!({ "id": format!("{n:0>60}"), "address": "10.0.0.1", "port": port })).collect()
    };
    let servers = |count: u32| -> Vec<LiveServer> {
        (0..count).map(|n| live("tcp-servers", &format!("id-{n:0>60}"), "10.0.0.1:80", "", "UP")).collect()
    };
    let Change::Runtime(lines) = change(&wanted("TCP", &nodes(200, 81)), &servers(200), features(2, 6)) else {
        panic!("200 changes are made at run time");
    };
    assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= LONGEST_LINE));
    assert_eq!(lines.join(";").split(';').count(), 200);
    assert!(matches!(change(&wanted("TCP", &nodes(300, 81)), &servers(300), features(2, 6)), Change::Reload(_)));
}
