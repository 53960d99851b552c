//! Reads back what the writer wrote, and nothing else: a file that somebody edited by hand is not understood here.

use super::{
    Balance, Check, Configuration, Directive, Expire, Head, Host, LogTarget, Mode, ProxyOption, Section, Server,
    StatsSocket, StickTable,
};

/// A line that the writer did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not one of this driver's: {text:?}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Configuration, ParseError> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let refuse = || ParseError { line: index + 1, text: line.chars().take(120).collect() };
        let words: Vec<&str> = line.trim_start().split(' ').collect();
        if line.starts_with("    ") {
            let directive = directive(&words).ok_or_else(refuse)?;
            sections.last_mut().ok_or_else(refuse)?.directives.push(directive);
        } else {
            sections.push(Section { head: head(&words).ok_or_else(refuse)?, directives: Vec::new() });
        }
    }
    Ok(Configuration { sections })
}

fn head(words: &[&str]) -> Option<Head> {
    Some(match words {
        ["backend", name] => Head::Backend((*name).to_owned()),
        ["defaults"] => Head::Defaults,
        ["frontend", name] => Head::Frontend((*name).to_owned()),
        ["global"] => Head::Global,
        _ => return None,
    })
}

fn directive(words: &[&str]) -> Option<Directive> {
    Some(match words {
        ["balance", "leastconn"] => Directive::Balance(Balance::LeastConnections),
        ["balance", "roundrobin"] => Directive::Balance(Balance::RoundRobin),
        ["bind", address] => Directive::Bind(address.parse().ok()?),
        ["cookie", name, "insert", "indirect"] => Directive::CookieInsert((*name).to_owned()),
        ["daemon"] => Directive::Daemon,
        ["default_backend", name] => Directive::DefaultBackend((*name).to_owned()),
        ["description", parts @ ..] => Directive::Description(parts.iter().map(|part| (*part).to_owned()).collect()),
        ["disabled"] => Directive::Disabled,
        ["group", name] => Directive::Group((*name).to_owned()),
        ["hard-stop-after", time] => Directive::HardStopAfter(number(time, "s")?),
        ["log", "global"] => Directive::LogGlobal,
        ["log", target, "local0"] => Directive::Log(match target.strip_prefix('/') {
            Some(_) => LogTarget::Socket((*target).to_owned()),
            None => LogTarget::Address(target.parse().ok()?),
        }),
        ["maxconn", most] => Directive::MaxConn(number(most, "")?),
        ["mode", "http"] => Directive::Mode(Mode::Http),
        ["mode", "tcp"] => Directive::Mode(Mode::Tcp),
        ["option", "httpchk", "GET", path] => Directive::HttpCheck((*path).to_owned()),
        ["option", name] => Directive::Option(ProxyOption::read(name)?),
        ["retries", count] => Directive::Retries(number(count, "")?),
        ["server", name, address, settings @ ..] => Directive::Server(server(name, address, settings)?),
        ["stats", "socket", path, settings @ ..] => Directive::StatsSocket(stats_socket(path, settings)?),
        ["stick", "match", "src"] => Directive::StickMatchSource,
        ["stick", "store-request", "src"] => Directive::StickStoreSource,
        ["stick-table", "type", kind @ ("ip" | "ipv6"), "size", "200k", "expire", time] => {
            let expire = match number(time, "m") {
                Some(minutes) => Expire::Minutes(minutes),
                None => Expire::Seconds(number(time, "s")?),
            };
            Directive::StickTable(StickTable { ipv6: *kind == "ipv6", expire })
        }
        ["timeout", "check", time] => Directive::TimeoutCheck(number(time, "s")?),
        ["timeout", "client", time] => Directive::TimeoutClient(number(time, "ms")?),
        ["timeout", "connect", time] => Directive::TimeoutConnect(number(time, "ms")?),
        ["timeout", "server", time] => Directive::TimeoutServer(number(time, "ms")?),
        ["user", name] => Directive::User((*name).to_owned()),
        _ => return None,
    })
}

fn number(text: &str, unit: &str) -> Option<u32> {
    text.strip_suffix(unit)?.parse().ok()
}

fn stats_socket(path: &str, settings: &[&str]) -> Option<StatsSocket> {
    let (user, settings) = match settings {
        ["user", user, rest @ ..] => (Some((*user).to_owned()), rest),
        rest => (None, rest),
    };
    let (group, settings) = match settings {
        ["group", group, rest @ ..] => (Some((*group).to_owned()), rest),
        rest => (None, rest),
    };
    let mode = if group.is_some() { "660" } else { "600" };
    (settings == ["mode", mode, "level", "admin", "expose-fd", "listeners"]).then(|| StatsSocket {
        path: path.to_owned(),
        user,
        group,
    })
}

fn server(name: &str, address: &str, mut rest: &[&str]) -> Option<Server> {
    let (host, port) = address.rsplit_once(':')?;
    let host = Host::read(host.trim_start_matches('[').trim_end_matches(']'))?;
    let mut server = Server {
        name: name.to_owned(),
        host,
        port: port.parse().ok()?,
        backup: false,
        cookie: None,
        weight: 0,
        disabled: false,
        check: Check { inter_s: 0, rise_fall: None },
    };
    loop {
        rest = match rest {
            ["backup", rest @ ..] => {
                server.backup = true;
                rest
            }
            ["cookie", value, rest @ ..] => {
                server.cookie = Some((*value).to_owned());
                rest
            }
            ["weight", weight, rest @ ..] => {
                server.weight = number(weight, "")?;
                rest
            }
            ["disabled", rest @ ..] => {
                server.disabled = true;
                rest
            }
            ["init-addr", "libc,none", rest @ ..] => rest,
            ["check", "inter", inter] => {
                server.check = Check { inter_s: number(inter, "s")?, rise_fall: None };
                return Some(server);
            }
            ["check", "inter", inter, "rise", rise, "fall", fall] => {
                let rise_fall = Some((number(rise, "")?, number(fall, "")?));
                server.check = Check { inter_s: number(inter, "s")?, rise_fall };
                return Some(server);
            }
            _ => return None,
        };
    }
}
