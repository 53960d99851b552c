//! What is written parses back to the same meaning, and nothing else is understood.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._-]{1,40}"
}

fn cookie() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,40}"
}

fn file() -> impl Strategy<Value = String> {
    "(/[A-Za-z0-9_@+-]{1,12}){1,5}"
}

fn host() -> impl Strategy<Value = Host> {
    let label = "[a-z]([a-z0-9-]{0,10}[a-z0-9])?";
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(Host::Ip),
        proptest::collection::vec(label, 1..4).prop_map(|labels| Host::Name(labels.join("."))),
    ]
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

fn number() -> impl Strategy<Value = u32> {
    any::<u32>()
}

fn server() -> impl Strategy<Value = Server> {
    let check = (number(), proptest::option::of((number(), number())))
        .prop_map(|(inter_s, rise_fall)| Check { inter_s, rise_fall });
    let flags = (any::<bool>(), any::<bool>());
    (name(), host(), any::<u16>(), flags, proptest::option::of(cookie()), number(), check).prop_map(
        |(name, host, port, (backup, disabled), cookie, weight, check)| Server {
            name,
            host,
            port,
            backup,
            cookie,
            weight,
            disabled,
            check,
        },
    )
}

fn directive() -> impl Strategy<Value = Directive> {
    use ProxyOption::{DontLogNull, ForwardFor, HttpClose, HttpLog, Redispatch, TcpLog};
    let user = || proptest::option::of("[a-z][a-z0-9_-]{0,12}");
    let simple = prop_oneof![
        Just(Directive::Balance(Balance::LeastConnections)),
        Just(Directive::Balance(Balance::RoundRobin)),
        Just(Directive::Daemon),
        Just(Directive::Disabled),
        Just(Directive::LogGlobal),
        Just(Directive::Mode(Mode::Http)),
        Just(Directive::Mode(Mode::Tcp)),
        Just(Directive::StickMatchSource),
        Just(Directive::StickStoreSource),
        proptest::sample::select(vec![DontLogNull, ForwardFor, HttpClose, HttpLog, Redispatch, TcpLog])
            .prop_map(Directive::Option),
    ];
    let numbers = prop_oneof![
        number().prop_map(Directive::HardStopAfter),
        number().prop_map(Directive::MaxConn),
        number().prop_map(Directive::Retries),
        number().prop_map(Directive::TimeoutCheck),
        number().prop_map(Directive::TimeoutClient),
        number().prop_map(Directive::TimeoutConnect),
        number().prop_map(Directive::TimeoutServer),
        (any::<bool>(), number())
            .prop_map(|(ipv6, time)| Directive::StickTable(StickTable { ipv6, expire: Expire::Seconds(time) })),
        (any::<bool>(), number())
            .prop_map(|(ipv6, time)| Directive::StickTable(StickTable { ipv6, expire: Expire::Minutes(time) })),
    ];
    prop_oneof![
        simple,
        numbers,
        address().prop_map(Directive::Bind),
        cookie().prop_map(Directive::CookieInsert),
        name().prop_map(Directive::DefaultBackend),
        proptest::collection::vec("[a-z]{1,6}=[a-z0-9._-]{1,20}", 1..6).prop_map(Directive::Description),
        name().prop_map(Directive::Group),
        name().prop_map(Directive::User),
        "/[A-Za-z0-9/._~!&()*+,;=:@?%-]{0,60}".prop_map(Directive::HttpCheck),
        address().prop_map(|address| Directive::Log(LogTarget::Address(address))),
        file().prop_map(|path| Directive::Log(LogTarget::Socket(path))),
        server().prop_map(Directive::Server),
        (file(), user(), user()).prop_map(|(path, user, group)| Directive::StatsSocket(StatsSocket {
            path,
            user,
            group
        })),
    ]
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let head = prop_oneof![
        name().prop_map(Head::Backend),
        name().prop_map(Head::Frontend),
        Just(Head::Defaults),
        Just(Head::Global),
    ];
    let section = (head, proptest::collection::vec(directive(), 0..12))
        .prop_map(|(head, directives)| Section { head, directives });
    proptest::collection::vec(section, 0..6).prop_map(|sections| Configuration { sections })
}

proptest! {
    #[test]
    fn what_is_written_parses_back_to_the_same_meaning(configuration in configuration()) {
        let text = configuration.write().unwrap();
        prop_assert_eq!(parse(&text).unwrap(), configuration);
    }

    /// Whatever text gets into a field: either nothing is written, or it reads back as that one field.
    #[test]
    fn a_hostile_text_never_becomes_more_than_its_field(text in any::<String>(), which in 0..8_usize) {
        let directive = match which {
            0 => Directive::CookieInsert(text),
            1 => Directive::DefaultBackend(text),
            2 => Directive::Description(vec![text]),
            3 => Directive::Group(text),
            4 => Directive::HttpCheck(text),
            5 => Directive::Log(LogTarget::Socket(text)),
            6 => Directive::StatsSocket(StatsSocket { path: text, user: None, group: None }),
            _ => Directive::Server(Server {
                name: text.clone(),
                host: Host::Name(text.clone()),
                port: 1,
                backup: false,
                cookie: Some(text),
                weight: 1,
                disabled: false,
                check: Check { inter_s: 1, rise_fall: None },
            }),
        };
        let configuration = Configuration { sections: vec![Section { head: Head::Global, directives: vec![directive] }] };
        if let Ok(written) = configuration.write() {
            prop_assert_eq!(written.lines().count(), 2);
            prop_assert_eq!(parse(&written).unwrap(), configuration);
        }
    }

    #[test]
    fn reading_never_panics(text in any::<String>()) {
        let _either: Result<Configuration, ParseError> = parse(&text);
    }
}

#[test]
fn a_line_that_is_not_ours_is_named() {
    let error = parse("global\n    daemon\n    lua-load /tmp/x\n").unwrap_err();
    assert_eq!(error, ParseError { line: 3, text: "    lua-load /tmp/x".into() });
    assert_eq!(parse("    daemon\n").unwrap_err().line, 1);
}
