//! Words of a configuration file. Each kind has a closed alphabet, and a word is held against it as it is written:
//! nothing that HAProxy gives a meaning (white space, quotes, `#`, `\`, `$`, control characters) is in any of them.

use std::net::SocketAddr;

/// What a word is, and with it what it may consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `IP:port`, `[IP]:port` or `name:port`.
    Address,
    /// Name of a cookie, or a cookie's value.
    Cookie,
    /// A file.
    File,
    /// Path and query of a health check.
    HttpPath,
    /// A word of HAProxy's own language.
    Keyword,
    /// One `key=value` of the marker.
    Marker,
    /// Name of a proxy or server.
    Name,
    /// A whole number, with a unit or without.
    Number,
    /// A user or group of the machine.
    User,
}

/// A word that may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot stand in a configuration as {kind:?}: {reason}")]
pub struct TokenError {
    /// What it should have been.
    pub kind: Kind,
    /// The text, quoted when shown.
    pub text: String,
    /// Why not.
    pub reason: &'static str,
}

/// A checked word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    kind: Kind,
    text: String,
}

const LONGEST: usize = 1024;

impl Token {
    /// A word of a kind; checked when it is written.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Appends the word, or says why it may not be written.
    pub fn write(&self, out: &mut String) -> Result<(), TokenError> {
        check(self.kind, &self.text)?;
        out.push_str(&self.text);
        Ok(())
    }
}

/// Holds a text against the alphabet of its kind.
pub fn check(kind: Kind, text: &str) -> Result<(), TokenError> {
    let refuse = |reason| Err(TokenError { kind, text: text.chars().take(80).collect(), reason });
    if text.is_empty() {
        return refuse("it is empty");
    }
    if text.len() > LONGEST {
        return refuse("it is longer than 1024 bytes");
    }
    if let Some(_found) = text.bytes().find(|byte| !allowed(kind, *byte)) {
        return refuse("it holds a character outside the alphabet of its kind");
    }
    let reason = match kind {
        Kind::Address if text.parse::<SocketAddr>().is_err() && !is_host_and_port(text) => {
            "it is no address with a port"
        }
        Kind::File if !text.starts_with('/') || text.split('/').any(|part| part == "..") => {
            "it is no absolute path without `..`"
        }
        Kind::HttpPath if !text.starts_with('/') => "it does not begin with /",
        Kind::Keyword if !text.starts_with(|first: char| first.is_ascii_alphabetic()) => "it is no keyword",
        Kind::Number if !is_number(text) => "it is no number",
        _ => return Ok(()),
    };
    refuse(reason)
}

fn allowed(kind: Kind, byte: u8) -> bool {
    let extra: &[u8] = match kind {
        Kind::Address => b".:[]-",
        // A member's cookie is made of its id, so all that an id may hold is in here.
        Kind::Cookie => b"._-",
        Kind::File => b"/._+@-",
        Kind::HttpPath => b"/-._~!&()*+,;=:@?%",
        Kind::Keyword => b"-,_",
        Kind::Marker => b"=._-",
        Kind::Name | Kind::User => b"._-",
        Kind::Number => b"",
    };
    byte.is_ascii_alphanumeric() || extra.contains(&byte)
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_lowercase());
    let unit = &text[digits.len()..];
    digits.len() <= 10
        && !digits.is_empty()
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && matches!(unit, "" | "ms" | "s" | "k" | "m")
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| is_host_name(host) && port.parse::<u16>().is_ok())
}

/// A host name by RFC 1123: labels of letters, digits and inner dashes, at most 253 bytes, and not a number that could be
/// taken for an address.
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last_is_a_name = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()) || last.contains('-'));
    text.len() <= 253 && text.split('.').all(label) && last_is_a_name
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 9] = [
        Kind::Address,
        Kind::Cookie,
        Kind::File,
        Kind::HttpPath,
        Kind::Keyword,
        Kind::Marker,
        Kind::Name,
        Kind::Number,
        Kind::User,
    ];

    #[test]
    fn no_kind_lets_a_character_out_that_haproxy_gives_a_meaning() {
        let harmful = (0_u8..=0x20).map(char::from).chain("\u{7f}#'\"\\$`{}<>|^\u{85}\u{a0}\u{2028}ä".chars());
        for bad in harmful {
            for kind in KINDS {
                for text in [
                    format!("{bad}"),
                    format!("/a{bad}b"),
                    format!("a{bad}"),
                    format!("{bad}1"),
                    format!("1.2.3.4:5{bad}"),
                ] {
                    assert!(check(kind, &text).is_err(), "{kind:?} lets {text:?} out");
                }
            }
        }
    }

    #[test]
    fn each_kind_takes_what_it_is_for() {
        for (kind, text) in [
            (Kind::Address, "127.0.0.1:80"),
            (Kind::Address, "[2001:db8::1]:65535"),
            (Kind::Address, "db-1.example.org:3306"),
            (Kind::Cookie, "SERVERID"),
            (Kind::Cookie, "id-web.1"),
            (Kind::File, "/run/capstan/haproxy/lb-1/admin.sock"),
            (Kind::HttpPath, "/health?full=1&x=%20"),
            (Kind::Keyword, "forwardfor"),
            (Kind::Marker, "load=3"),
            (Kind::Name, "id-a-b"),
            (Kind::Number, "30000ms"),
            (Kind::User, "www-data"),
        ] {
            assert_eq!(check(kind, text), Ok(()), "{text}");
        }
    }

    #[test]
    fn shapes_are_checked_besides_letters() {
        for (kind, text) in [
            (Kind::Address, "127.0.0.1"),
            (Kind::Address, "1.2.3.999:80"),
            (Kind::Address, "-a:80"),
            (Kind::Address, "a..b:80"),
            (Kind::Address, "::1:80:"),
            (Kind::File, "etc/passwd"),
            (Kind::File, "/run/../etc/shadow"),
            (Kind::HttpPath, "health"),
            (Kind::Keyword, "4096"),
            (Kind::Number, "30x"),
            (Kind::Number, "s"),
            (Kind::Name, ""),
        ] {
            assert!(check(kind, text).is_err(), "{text}");
        }
        assert!(check(Kind::Name, &"a".repeat(1025)).is_err());
    }
}
