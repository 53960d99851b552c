//! The `server` line.

use std::{fmt, net::IpAddr};

use super::token::{Kind, Token, is_host_name};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By address.
    Ip(IpAddr),
    /// By name; HAProxy resolves it once, as it starts.
    Name(String),
}

impl Host {
    /// An address, or a host name by RFC 1123; none for anything else.
    pub fn read(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(ip) => Some(Self::Ip(ip)),
            Err(_) if is_host_name(text) => Some(Self::Name(text.to_owned())),
            Err(_) => None,
        }
    }

    /// With a port, as HAProxy writes and reads it.
    pub fn with_port(&self, port: u16) -> String {
        match self {
            Self::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            other => format!("{other}:{port}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// How often a server is looked at, and how many looks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Seconds between two checks.
    pub inter_s: u32,
    /// Good checks until up, and failed checks until down; none leaves both to HAProxy.
    pub rise_fall: Option<(u32, u32)>,
}

impl Check {
    fn words(self) -> Vec<Token> {
        let keyword = |word: &str| Token::new(Kind::Keyword, word);
        let mut words =
            vec![keyword("check"), keyword("inter"), Token::new(Kind::Number, format!("{}s", self.inter_s))];
        if let Some((rise, fall)) = self.rise_fall {
            words.extend([keyword("rise"), Token::new(Kind::Number, rise.to_string())]);
            words.extend([keyword("fall"), Token::new(Kind::Number, fall.to_string())]);
        }
        words
    }
}

/// A server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Unique in the backend.
    pub name: String,
    /// Where it is.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// Takes traffic only when no other server can.
    pub backup: bool,
    /// Value of the cookie that leads to it.
    pub cookie: Option<String>,
    /// 0 to 256; 0 takes only the clients that it has.
    pub weight: u32,
    /// Comes up in maintenance.
    pub disabled: bool,
    /// How it is checked.
    pub check: Check,
}

impl Server {
    pub(super) fn words(&self) -> Vec<Token> {
        let mut words = vec![Token::new(Kind::Keyword, "server"), Token::new(Kind::Name, &self.name)];
        words.extend(self.settings());
        words
    }

    /// Everything after the name, as the file and `add server` both take it. The check part is last: libra's lines end with it.
    fn settings(&self) -> Vec<Token> {
        let keyword = |word: &str| Token::new(Kind::Keyword, word);
        let mut words = vec![Token::new(Kind::Address, self.host.with_port(self.port))];
        if self.backup {
            words.push(keyword("backup"));
        }
        if let Some(cookie) = &self.cookie {
            words.extend([keyword("cookie"), Token::new(Kind::Cookie, cookie)]);
        }
        words.extend([keyword("weight"), Token::new(Kind::Number, self.weight.to_string())]);
        if self.disabled {
            words.push(keyword("disabled"));
        }
        if matches!(self.host, Host::Name(_)) {
            words.extend([keyword("init-addr"), keyword("libc,none")]);
        }
        words.extend(self.check.words());
        words
    }

    /// The arguments of the runtime command `add server`, checked like the file.
    pub fn add_command(&self, backend: &str) -> Result<String, super::TokenError> {
        let mut out = String::from("add server ");
        Token::new(Kind::Name, backend).write(&mut out)?;
        out.push('/');
        Token::new(Kind::Name, &self.name).write(&mut out)?;
        for word in self.settings() {
            out.push(' ');
            word.write(&mut out)?;
        }
        Ok(out)
    }
}
