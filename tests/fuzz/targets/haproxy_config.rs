//! HAProxy's configuration: what is written reads back as the same, says nothing that was not asked for, and whatever
//! specification is accepted can be written.
#![no_main]

use capstan_fuzz::Source;
use capstan_load_balancer_haproxy::{
    Settings,
    config::{
        Balance, Check, Configuration, Directive, Expire, Head, Host, LogTarget, Mode, ProxyOption, Section, Server,
        StatsSocket, StickTable, parse,
    },
    spec::{Marker, Rendering, Slots, check, shape},
};
use capstan_plugin_api::load_balancer::{
    AdminState, ApplyRequest, Listener, LoadBalancer, Member, MemberState, Monitor, Persistence, Pool, Timeouts,
};
use libfuzzer_sys::fuzz_target;

const NAMES: &[&str] =
    &["http", "http-in", "http-servers", "tcp", "id-1", "slot-1", "1", "a.b_c-d", "", "x\n    server y", "a #", "a b"];
const HOSTS: &[&str] = &[
    "10.0.0.1",
    "::1",
    "2001:db8::1",
    "db-1.example.org",
    "localhost",
    "0.0.0.0",
    "1.2.3",
    "host name",
    "[::1]",
    "a:80 disabled",
];
const PATHS: &[&str] =
    &["/", "/health?a=%20", "health", "/a b", "/a\r\nHost: x", "/#", "/dev/log", "/run/../etc", "/a$X"];
const ADDRESSES: &[&str] = &["127.0.0.1:80", "[::]:443", "0.0.0.0:1", "[fe80::1%3]:80", "[fe80::1%0]:80"];

fn directive(source: &mut Source<'_>) -> Directive {
    let address = |source: &mut Source<'_>| source.one(ADDRESSES).parse().expect("an address with a port");
    match source.below(27) {
        0 => Directive::Balance(source.one(&[Balance::LeastConnections, Balance::RoundRobin])),
        1 => Directive::Bind(address(source)),
        2 => Directive::CookieInsert(source.text(NAMES)),
        3 => Directive::Daemon,
        4 => Directive::DefaultBackend(source.text(NAMES)),
        5 => Directive::Description(source.list(5, |source| source.text(&["capstan", "load=1", "device=a b", "x"]))),
        6 => Directive::Disabled,
        7 => Directive::Group(source.text(NAMES)),
        8 => Directive::HardStopAfter(source.number()),
        9 => Directive::HttpCheck(source.text(PATHS)),
        10 => Directive::Log(LogTarget::Address(address(source))),
        11 => Directive::Log(LogTarget::Socket(source.text(PATHS))),
        12 => Directive::LogGlobal,
        13 => Directive::MaxConn(source.number()),
        14 => Directive::Mode(mode(source)),
        15 => Directive::Option(source.one(&[
            ProxyOption::DontLogNull,
            ProxyOption::ForwardFor,
            ProxyOption::HttpClose,
            ProxyOption::HttpLog,
            ProxyOption::Redispatch,
            ProxyOption::TcpLog,
        ])),
        16 => Directive::Retries(source.number()),
        17 => Directive::StatsSocket(StatsSocket {
            path: source.text(PATHS),
            user: source.maybe(|source| source.text(NAMES)),
            group: source.maybe(|source| source.text(NAMES)),
        }),
        18 => Directive::StickMatchSource,
        19 => Directive::StickStoreSource,
        20 => Directive::StickTable(StickTable {
            ipv6: source.coin(),
            expire: if source.coin() { Expire::Minutes(source.number()) } else { Expire::Seconds(source.number()) },
        }),
        21 => Directive::TimeoutCheck(source.number()),
        22 => Directive::TimeoutClient(source.number()),
        23 => Directive::TimeoutConnect(source.number()),
        24 => Directive::TimeoutServer(source.number()),
        25 => Directive::User(source.text(NAMES)),
        _ => server(source).map_or(Directive::Daemon, Directive::Server),
    }
}

fn mode(source: &mut Source<'_>) -> Mode {
    source.one(&[Mode::Http, Mode::Tcp])
}

fn server(source: &mut Source<'_>) -> Option<Server> {
    Some(Server {
        name: source.text(NAMES),
        host: Host::read(&source.text(HOSTS))?,
        port: source.number() as u16,
        backup: source.coin(),
        cookie: source.maybe(|source| source.text(&["id-1", "slot-2", "backup", "disabled", "a b"])),
        weight: source.number(),
        disabled: source.coin(),
        check: Check { inter_s: source.number(), rise_fall: source.maybe(|source| (source.number(), source.number())) },
    })
}

fn configuration(source: &mut Source<'_>) -> Configuration {
    let sections = source.list(6, |source| Section {
        head: match source.below(4) {
            0 => Head::Backend(source.text(NAMES)),
            1 => Head::Defaults,
            2 => Head::Frontend(source.text(NAMES)),
            _ => Head::Global,
        },
        directives: source.list(12, directive),
    });
    Configuration { sections }
}

fn load_balancer(source: &mut Source<'_>) -> LoadBalancer {
    LoadBalancer {
        id: source.text(NAMES),
        generation: 1,
        name: source.text(NAMES),
        admin_state: source.one(&[AdminState::Up, AdminState::Suspended]),
        listeners: source.list(4, |source| Listener {
            id: source.text(NAMES),
            protocol: source.text(&["HTTP", "tcp", "GALERA", "UDP"]),
            port: source.maybe(|source| source.number() as u16),
            address: source.maybe(|source| source.one(&["127.0.0.1", "::1", "0.0.0.0"]).parse().expect("an address")),
            default_pool: source.maybe(|source| source.text(&["p", "q"])),
            connection_limit: source.maybe(Source::number),
            client_timeout_ms: source.maybe(Source::number),
        }),
        pools: source.list(3, |source| Pool {
            id: source.text(&["p", "q"]),
            algorithm: source.text(&["ROUND_ROBIN", "LEAST_CONNECTIONS"]),
            members: source.list(6, |source| Member {
                id: source.text(NAMES),
                address: source.text(HOSTS),
                port: source.number() as u16,
                weight: source.number(),
                backup: source.coin(),
                state: source.one(&[MemberState::Enabled, MemberState::Drain, MemberState::Disabled]),
            }),
            monitor: source.maybe(|source| Monitor {
                kind: source.text(&["CONNECT", "HTTP"]),
                delay_s: source.number(),
                timeout_s: source.number(),
                rise: source.number(),
                fall: source.number(),
                path: source.maybe(|source| source.text(PATHS)),
            }),
            persistence: source.maybe(|source| match source.below(3) {
                0 => Persistence::None,
                1 => Persistence::HttpCookie { cookie: source.text(&["SERVERID", "a b", "c\n"]) },
                _ => Persistence::SourceIp { expire_s: source.number() },
            }),
            timeouts: Timeouts {
                connect_ms: source.maybe(Source::number),
                server_ms: source.maybe(Source::number),
                retries: source.maybe(Source::number),
            },
        }),
    }
}

/// The text of a configuration holds a line for each section and directive and no character besides, and reads back.
fn holds(wanted: &Configuration, text: &str) {
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text:?}");
    assert!(!text.contains(['#', '"', '\'', '\\', '$', '`']), "{text:?}");
    let lines: usize = wanted.sections.iter().map(|section| 1 + section.directives.len()).sum();
    assert_eq!(text.lines().count(), lines, "{text:?}");
    assert!(text.lines().all(|line| !line.trim().is_empty() && line.trim_end() == line), "{text:?}");
    assert_eq!(parse(text).as_ref(), Ok(wanted), "{text:?}");
}

fn any_model(source: &mut Source<'_>) {
    let wanted = configuration(source);
    match wanted.write() {
        Ok(text) => holds(&wanted, &text),
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
}

/// What reads is either something that the writer would write too, or nothing that it would write.
fn any_text(source: &mut Source<'_>) {
    match parse(&String::from_utf8_lossy(source.0)) {
        Ok(read) => {
            if let Ok(text) = read.write() {
                holds(&read, &text);
            }
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
}

fn any_specification(source: &mut Source<'_>) {
    let request = ApplyRequest {
        device: "lb-1".to_owned(),
        generation: 1,
        idempotency_key: String::new(),
        skip_refused_members: source.coin(),
        load_balancers: source.list(4, load_balancer),
    };
    let checked = check(&request, &Settings::default());
    assert_eq!(checked.results.len(), request.load_balancers.len(), "a result for each load balancer");
    if checked.is_refused(request.skip_refused_members) {
        return;
    }
    let (mut slots, spare) = (Slots::default(), u16::from(source.byte() % 10));
    for service in &checked.wanted.services {
        for member in &service.members {
            if service.has_slots() && source.coin() {
                slots.put(&service.names.backend, &member.id, 1 + source.number() % 50);
            }
        }
    }
    let rendering = Rendering {
        log: LogTarget::Socket("/dev/log".to_owned()),
        maxconn: 4096,
        identity: source.maybe(|_| ("haproxy".to_owned(), "haproxy".to_owned())),
        socket: StatsSocket { path: "/run/x.sock".to_owned(), user: None, group: None },
        hard_stop_after_s: 1800,
        spare_slots: spare,
    };
    let shape = shape(&rendering, &checked.wanted).expect("what was accepted has a shape");
    let marker = Marker { device: "lb-1".to_owned(), load: 1, generation: 1, shape };
    let wanted = rendering.configuration(&checked.wanted, &slots, &marker);
    let text = wanted.write().expect("what was accepted can be written");
    holds(&wanted, &text);
    let servers = text.lines().filter(|line| line.starts_with("    server ")).count();
    let members: usize = checked.wanted.services.iter().map(|service| service.members.len()).sum();
    let slotted = checked.wanted.services.iter().filter(|service| service.has_slots()).count();
    assert_eq!(servers, members + slotted * usize::from(spare), "{text}");
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    match source.below(3) {
        0 => any_model(&mut source),
        1 => any_text(&mut source),
        _ => any_specification(&mut source),
    }
});
