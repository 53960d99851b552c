//! The configuration writer under random input: what it writes reads back as the same and says nothing besides, and
//! HAProxy itself takes what was made of an accepted specification.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    process::{Command, Stdio},
};

use capstan_load_balancer_haproxy::{
    Settings,
    config::{Balance, Check, Configuration, Directive, Head, Host, LogTarget, Section, Server, StatsSocket, parse},
    spec::{Marker, Rendering, Slots, check, shape},
};
use capstan_plugin_api::load_balancer::ApplyRequest;
use proptest::prelude::*;
use serde_json::{Value, json};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z0-9._-]{1,12}",
        1 => ".{0,12}",
        1 => prop::sample::select(&["a b", "a\n    server x", "a#b", "\u{1b}[2J", "/a/../b", "/ok", ""][..]).prop_map(str::to_owned),
    ]
}

fn server() -> impl Strategy<Value = Directive> {
    let host = prop::sample::select(&["10.0.0.1", "::1", "db-1.example.org"][..]);
    (text(), host, any::<u16>(), any::<bool>(), prop::option::of(text()), any::<u32>(), any::<bool>(), any::<u32>())
        .prop_map(|(name, host, port, backup, cookie, weight, disabled, inter_s)| {
            let host = Host::read(host).unwrap();
            let check = Check { inter_s, rise_fall: disabled.then_some((2, 3)) };
            Directive::Server(Server { name, host, port, backup, cookie, weight, disabled, check })
        })
}

fn directive() -> impl Strategy<Value = Directive> {
    prop_oneof![
        4 => server(),
        1 => text().prop_map(Directive::CookieInsert),
        1 => text().prop_map(Directive::DefaultBackend),
        1 => text().prop_map(Directive::HttpCheck),
        1 => text().prop_map(|path| Directive::Log(LogTarget::Socket(path))),
        1 => prop::collection::vec(text(), 0..4).prop_map(Directive::Description),
        1 => (text(), prop::option::of(text()), prop::option::of(text()))
            .prop_map(|(path, user, group)| Directive::StatsSocket(StatsSocket { path, user, group })),
        1 => any::<u32>().prop_map(Directive::MaxConn),
        1 => Just(Directive::Balance(Balance::LeastConnections)),
    ]
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let head = prop_oneof![text().prop_map(Head::Backend), text().prop_map(Head::Frontend), Just(Head::Global)];
    let section = (head, prop::collection::vec(directive(), 0..4));
    prop::collection::vec(section.prop_map(|(head, directives)| Section { head, directives }), 0..4)
        .prop_map(|sections| Configuration { sections })
}

/// Ids that a driver takes, and a few that it does not.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[A-Za-z0-9._-]{1,8}", 1 => text()]
}

/// Load balancers that are right in most places; ports are given out later.
fn load_balancers() -> impl Strategy<Value = Vec<Value>> {
    let address = prop::sample::select(&["10.0.0.1", "::1", "192.0.2.7", "localhost", "0.0.0.0", "a b"][..]);
    let weight = prop_oneof![9 => 1_u32..=256, 1 => any::<u32>()];
    let state = prop::sample::select(&["enabled", "drain", "disabled"][..]);
    let member = (id(), address, 1_u16.., weight, any::<bool>(), state).prop_map(
        |(id, address, port, weight, backup, state)| {
            json!({ "id": id, "address": address, "port": port, "weight": weight, "backup": backup, "state": state })
        },
    );
    let monitor = (1_u32..60, prop_oneof![Just("/health?a=1".to_owned()), text()]).prop_map(
        |(delay, path)| json!({ "type": "HTTP", "delay_s": delay, "timeout_s": 1, "rise": 2, "fall": 3, "path": path }),
    );
    let persistence = prop_oneof![
        Just(json!({ "type": "none" })),
        text().prop_map(|cookie| json!({ "type": "http_cookie", "cookie": cookie })),
        (0_u32..90_000).prop_map(|expire| json!({ "type": "source_ip", "expire_s": expire })),
    ];
    let pool = (
        prop::sample::select(&["ROUND_ROBIN", "LEAST_CONNECTIONS"][..]),
        prop::collection::vec(member, 0..6),
        prop::option::of(monitor),
        prop::option::of(persistence),
        prop::option::of(1_u32..2_000_000),
    )
        .prop_map(|(algorithm, members, monitor, persistence, time)| {
            json!({ "id": "p", "algorithm": algorithm, "members": members, "monitor": monitor,
                "persistence": persistence, "timeouts": { "connect_ms": time, "server_ms": time } })
        });
    let protocol = prop::sample::select(&["HTTP", "TCP", "GALERA"][..]);
    let listener = (id(), protocol, prop::option::of(1_u32..1000)).prop_map(|(id, protocol, limit)| {
        json!({ "id": id, "protocol": protocol, "address": "127.0.0.1", "connection_limit": limit })
    });
    let one = (id(), listener, pool, any::<bool>()).prop_map(|(id, listener, pool, is_suspended)| {
        let state = if is_suspended { "suspended" } else { "up" };
        json!({ "id": id, "listeners": [listener], "pools": [pool], "admin_state": state })
    });
    prop::collection::vec(one, 0..4)
}

/// What HAProxy shall run for specifications that are not refused.
fn accepted() -> impl Strategy<Value = Configuration> {
    load_balancers().prop_filter_map("a refused specification", rendered)
}

fn rendered(mut load_balancers: Vec<Value>) -> Option<Configuration> {
    for (index, one) in load_balancers.iter_mut().enumerate() {
        one["listeners"][0]["port"] = (20_000 + index).into();
    }
    let request: ApplyRequest = serde_json::from_value(json!({
        "device": "d", "generation": 1, "idempotency_key": "k", "load_balancers": load_balancers,
        "skip_refused_members": true,
    }))
    .unwrap();
    let checked = check(&request, &Settings::default());
    if checked.is_refused(true) {
        return None;
    }
    let rendering = Rendering {
        log: LogTarget::Socket("/dev/log".to_owned()),
        maxconn: 100,
        identity: None,
        socket: StatsSocket { path: "/tmp/capstan-properties.sock".to_owned(), user: None, group: None },
        hard_stop_after_s: 10,
        spare_slots: 2,
    };
    let shape = shape(&rendering, &checked.wanted).unwrap();
    let marker = Marker { device: "d".to_owned(), load: 1, generation: 1, shape };
    Some(rendering.configuration(&checked.wanted, &Slots::default(), &marker))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn what_is_written_reads_back_as_the_same(wanted in configuration()) {
        let Ok(text) = wanted.write() else { return Ok(()) };
        prop_assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{:?}", text);
        prop_assert!(!text.contains(['#', '"', '\'', '\\', '$', '`']), "{:?}", text);
        let lines: usize = wanted.sections.iter().map(|section| 1 + section.directives.len()).sum();
        prop_assert_eq!(text.lines().count(), lines);
        prop_assert_eq!(parse(&text), Ok(wanted));
    }

    #[test]
    fn any_text_is_read_or_refused(lines in prop::collection::vec(".{0,40}", 0..6)) {
        if let Ok(read) = parse(&lines.join("\n    "))
            && let Ok(text) = read.write()
        {
            prop_assert_eq!(parse(&text), Ok(read));
        }
    }

    #[test]
    fn what_is_accepted_can_be_written(wanted in accepted()) {
        let text = wanted.write().unwrap();
        prop_assert_eq!(parse(&text), Ok(wanted));
    }
}

proptest! {
    // Each case starts HAProxy.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn haproxy_takes_what_is_accepted(wanted in accepted()) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let text = wanted.write().unwrap();
        fs::write(&file, &text).unwrap();
        let output = Command::new("/usr/sbin/haproxy").arg("-c").arg("-f").arg(&file).stdin(Stdio::null()).output().unwrap();
        prop_assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }
}
