//! The closed list of directives that this driver ever writes.

use std::net::SocketAddr;

use super::{
    Server,
    token::{Kind, Token},
};

/// How a proxy treats what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Requests and responses.
    Http,
    /// Bytes.
    Tcp,
}

impl Mode {
    /// The word in the file; also the `P` of libra's names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// UDP.
    Address(SocketAddr),
    /// A datagram socket, `/dev/log` for the machine's own.
    Socket(String),
}

/// `option ...` without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOption {
    /// Connections without a byte are not logged.
    DontLogNull,
    /// `X-Forwarded-For` is added.
    ForwardFor,
    /// The connection ends with the response.
    HttpClose,
    /// Requests are logged.
    HttpLog,
    /// A dead server's clients are sent elsewhere.
    Redispatch,
    /// Connections are logged.
    TcpLog,
}

const OPTIONS: [(ProxyOption, &str); 6] = [
    (ProxyOption::DontLogNull, "dontlognull"),
    (ProxyOption::ForwardFor, "forwardfor"),
    (ProxyOption::HttpClose, "httpclose"),
    (ProxyOption::HttpLog, "httplog"),
    (ProxyOption::Redispatch, "redispatch"),
    (ProxyOption::TcpLog, "tcplog"),
];

impl ProxyOption {
    fn word(self) -> &'static str {
        OPTIONS.iter().find(|(option, _)| *option == self).map_or("", |(_, word)| word)
    }

    pub(super) fn read(word: &str) -> Option<Self> {
        OPTIONS.iter().find(|(_, known)| *known == word).map(|(option, _)| *option)
    }
}

/// One line of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// `balance roundrobin|leastconn`
    Balance(Balance),
    /// `bind ADDRESS`
    Bind(SocketAddr),
    /// `cookie NAME insert indirect`
    CookieInsert(String),
    /// `daemon`
    Daemon,
    /// `default_backend NAME`
    DefaultBackend(String),
    /// `description WORD...`: the marker that is read back from the running process.
    Description(Vec<String>),
    /// `disabled`: a proxy that is configured and takes no traffic.
    Disabled,
    /// `group NAME`
    Group(String),
    /// `hard-stop-after Ns`
    HardStopAfter(u32),
    /// `option httpchk GET PATH`
    HttpCheck(String),
    /// `log TARGET local0`
    Log(LogTarget),
    /// `log global`
    LogGlobal,
    /// `maxconn N`
    MaxConn(u32),
    /// `mode http|tcp`
    Mode(Mode),
    /// `option NAME`
    Option(ProxyOption),
    /// `retries N`
    Retries(u32),
    /// `server ...`
    Server(Server),
    /// `stats socket PATH ...`
    StatsSocket(StatsSocket),
    /// `stick match src`
    StickMatchSource,
    /// `stick store-request src`
    StickStoreSource,
    /// `stick-table type ip|ipv6 size 200k expire N`
    StickTable(StickTable),
    /// `timeout check Ns`
    TimeoutCheck(u32),
    /// `timeout client Nms`
    TimeoutClient(u32),
    /// `timeout connect Nms`
    TimeoutConnect(u32),
    /// `timeout server Nms`
    TimeoutServer(u32),
    /// `user NAME`
    User(String),
}

/// How members are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Fewest connections.
    LeastConnections,
    /// Each in turn.
    RoundRobin,
}

impl Balance {
    fn word(self) -> &'static str {
        match self {
            Self::LeastConnections => "leastconn",
            Self::RoundRobin => "roundrobin",
        }
    }
}

/// The socket that the driver talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSocket {
    /// Where.
    pub path: String,
    /// Owner; none leaves it to whoever starts HAProxy.
    pub user: Option<String>,
    /// Group; with one the group may use the socket too.
    pub group: Option<String>,
}

/// The table of source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StickTable {
    /// Holds IPv6 addresses too.
    pub ipv6: bool,
    /// How long an address is remembered.
    pub expire: Expire,
}

/// Time in the unit that it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expire {
    /// `m`
    Minutes(u32),
    /// `s`
    Seconds(u32),
}

fn keywords(words: &[&str]) -> Vec<Token> {
    words.iter().map(|word| Token::new(Kind::Keyword, *word)).collect()
}

fn with(words: &[&str], kind: Kind, last: impl Into<String>) -> Vec<Token> {
    let mut words = keywords(words);
    words.push(Token::new(kind, last));
    words
}

fn number(words: &[&str], value: u32, unit: &str) -> Vec<Token> {
    with(words, Kind::Number, format!("{value}{unit}"))
}

impl Directive {
    pub(super) fn words(&self) -> Vec<Token> {
        match self {
            Self::Balance(balance) => keywords(&["balance", balance.word()]),
            Self::Bind(address) => with(&["bind"], Kind::Address, address.to_string()),
            Self::CookieInsert(name) => {
                let mut words = with(&["cookie"], Kind::Cookie, name);
                words.extend(keywords(&["insert", "indirect"]));
                words
            }
            Self::Daemon => keywords(&["daemon"]),
            Self::DefaultBackend(name) => with(&["default_backend"], Kind::Name, name),
            Self::Description(parts) => {
                let mut words = keywords(&["description"]);
                words.extend(parts.iter().map(|part| Token::new(Kind::Marker, part)));
                words
            }
            Self::Disabled => keywords(&["disabled"]),
            Self::Group(name) => with(&["group"], Kind::User, name),
            Self::HardStopAfter(seconds) => number(&["hard-stop-after"], *seconds, "s"),
            Self::HttpCheck(path) => with(&["option", "httpchk", "GET"], Kind::HttpPath, path),
            Self::Log(target) => {
                let mut words = match target {
                    LogTarget::Address(address) => with(&["log"], Kind::Address, address.to_string()),
                    LogTarget::Socket(path) => with(&["log"], Kind::File, path),
                };
                words.extend(keywords(&["local0"]));
                words
            }
            Self::LogGlobal => keywords(&["log", "global"]),
            Self::MaxConn(most) => number(&["maxconn"], *most, ""),
            Self::Mode(mode) => keywords(&["mode", mode.word()]),
            Self::Option(option) => keywords(&["option", option.word()]),
            Self::Retries(retries) => number(&["retries"], *retries, ""),
            Self::Server(server) => server.words(),
            Self::StatsSocket(socket) => socket.words(),
            Self::StickMatchSource => keywords(&["stick", "match", "src"]),
            Self::StickStoreSource => keywords(&["stick", "store-request", "src"]),
            Self::StickTable(table) => table.words(),
            Self::TimeoutCheck(seconds) => number(&["timeout", "check"], *seconds, "s"),
            Self::TimeoutClient(time) => number(&["timeout", "client"], *time, "ms"),
            Self::TimeoutConnect(time) => number(&["timeout", "connect"], *time, "ms"),
            Self::TimeoutServer(time) => number(&["timeout", "server"], *time, "ms"),
            Self::User(name) => with(&["user"], Kind::User, name),
        }
    }
}

impl StatsSocket {
    fn words(&self) -> Vec<Token> {
        let mut words = with(&["stats", "socket"], Kind::File, &self.path);
        if let Some(user) = &self.user {
            words.extend(with(&["user"], Kind::User, user));
        }
        if let Some(group) = &self.group {
            words.extend(with(&["group"], Kind::User, group));
        }
        words.extend(with(&["mode"], Kind::Number, if self.group.is_some() { "660" } else { "600" }));
        words.extend(keywords(&["level", "admin", "expose-fd", "listeners"]));
        words
    }
}

impl StickTable {
    fn words(&self) -> Vec<Token> {
        let mut words = keywords(&["stick-table", "type", if self.ipv6 { "ipv6" } else { "ip" }, "size"]);
        words.push(Token::new(Kind::Number, "200k"));
        words.extend(match self.expire {
            Expire::Minutes(minutes) => number(&["expire"], minutes, "m"),
            Expire::Seconds(seconds) => number(&["expire"], seconds, "s"),
        });
        words
    }
}
