//! What each version of HAProxy can do, in one table, and the probe that tells which row holds.

use std::fmt;

/// A version: branch and patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Finds `N.N` in the first line of `haproxy -v` (`HAProxy version 2.6.12-1 2026/10/17 ...`, before 2.4 `HA-Proxy
    /// version`) or in the `Version` of `show info`.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?;
        let word = line.split(' ').find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let mut numbers = word.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

/// What the driver makes use of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Weight, state and address of a server are changed over the socket.
    pub set_server: bool,
    /// Servers with checks are added and removed over the socket.
    pub add_server: bool,
    /// Such a server may have a cookie.
    pub add_server_cookie: bool,
    /// The master's `reload` answers when it is done, with `Success=`.
    pub reload_answers: bool,
}

/// From which branch on each row holds. Sources: `doc/management.txt` and the keyword table of `src/server.c` of each
/// branch. 2.4 has `add server`, but as an experiment and without checks.
const TABLE: [(Version, Features); 4] = [
    (
        Version { major: 2, minor: 4 },
        Features { set_server: true, add_server: false, add_server_cookie: false, reload_answers: false },
    ),
    (
        Version { major: 2, minor: 6 },
        Features { set_server: true, add_server: true, add_server_cookie: false, reload_answers: false },
    ),
    (
        Version { major: 2, minor: 7 },
        Features { set_server: true, add_server: true, add_server_cookie: false, reload_answers: true },
    ),
    (
        Version { major: 3, minor: 0 },
        Features { set_server: true, add_server: true, add_server_cookie: true, reload_answers: true },
    ),
];

/// The last branch that the table was held against.
const LAST_KNOWN: Version = Version { major: 3, minor: 2 };

impl Features {
    /// The row of a version; none for one that the table does not know, which gets a warning and only reloads.
    pub fn of(version: Version) -> Option<Self> {
        if version > LAST_KNOWN {
            return None;
        }
        TABLE.iter().rev().find(|(from, _)| *from <= version).map(|(_, features)| *features)
    }

    /// Takes away what the running HAProxy's own `help` does not list: a build may lack what its version has.
    #[must_use]
    pub fn confirmed_by(self, help: &str) -> Self {
        let lists = |command: &str| help.lines().any(|line| line.trim_start().starts_with(command));
        let add_server = self.add_server && lists("add server") && lists("del server");
        Self {
            set_server: self.set_server && lists("set server"),
            add_server,
            add_server_cookie: self.add_server_cookie && add_server,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First line of `haproxy -v`, its branch, and the fields of [`Features`] in their order.
    type Recorded = (&'static str, Option<(u32, u32)>, [bool; 4]);

    const RECORDED: [Recorded; 8] = [
        ("HA-Proxy version 2.2.9-2+deb11u6 2023/12/15 - https://haproxy.org/", Some((2, 2)), [false; 4]),
        (
            "HAProxy version 2.4.22-0ubuntu0.22.04.3 2023/12/04 - https://haproxy.org/",
            Some((2, 4)),
            [true, false, false, false],
        ),
        (
            "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
            Some((2, 6)),
            [true, true, false, false],
        ),
        ("HAProxy version 2.8.5-1ubuntu3.3 2025/01/29 - https://haproxy.org/", Some((2, 8)), [true, true, false, true]),
        ("HAProxy version 3.0.11-1+deb13u1 2025/06/02 - https://haproxy.org/", Some((3, 0)), [true; 4]),
        ("HAProxy version 3.2.0-e134140 2025/05/28 - https://haproxy.org/", Some((3, 2)), [true; 4]),
        ("HAProxy version 3.5-dev5-50872da 2026/08/21 - https://haproxy.org/", Some((3, 5)), [false; 4]),
        ("something else altogether", None, [false; 4]),
    ];

    #[test]
    fn recorded_versions_get_their_row_and_unknown_ones_none() {
        for (line, version, [set_server, add_server, add_server_cookie, reload_answers]) in RECORDED {
            let read = Version::parse(line);
            assert_eq!(read, version.map(|(major, minor)| Version { major, minor }), "{line}");
            let features = read.and_then(Features::of).unwrap_or_default();
            assert_eq!(features, Features { set_server, add_server, add_server_cookie, reload_answers }, "{line}");
        }
    }

    #[test]
    fn help_of_the_running_process_takes_away_what_it_does_not_list() {
        let features = Features::of(Version { major: 2, minor: 6 }).unwrap();
        let help = include_str!("../../tests/recorded/help-2.6.txt");
        assert_eq!(features.confirmed_by(help), features);
        let without: String = help.lines().filter(|line| !line.contains("del server")).collect::<Vec<_>>().join("\n");
        assert!(!features.confirmed_by(&without).add_server);
        assert_eq!(features.confirmed_by("Permission denied"), Features::default());
    }
}
