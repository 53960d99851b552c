//! Ranges of addresses.

use std::{collections::HashSet, net::Ipv4Addr};

use capstan_plugin_api::{ConfigSchema, schema::Schema};
use serde::Deserialize;

/// Where a range may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// 127.0.0.0/8: every address of it is this machine's.
    Loopback,
    /// What is nobody's outside (RFC 1918).
    Private,
}

/// Addresses in CIDR notation. The first and the last of a range are not given out, nor is 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    first: u32,
    last: u32,
}

const LOCALHOST: u32 = 0x7f00_0001;
/// Networks and the lengths of their prefixes.
const PRIVATE: [(Ipv4Addr, u32); 3] =
    [(Ipv4Addr::new(10, 0, 0, 0), 8), (Ipv4Addr::new(172, 16, 0, 0), 12), (Ipv4Addr::new(192, 168, 0, 0), 16)];

/// A range of the configuration as it is written: of loopback addresses.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LoopbackText(pub String);

/// A range of the configuration as it is written: of loopback or private addresses, by what else stands there.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RangeText(pub String);

/// A number of an address, as it is read.
macro_rules! octet {
    () => {
        "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
}

/// What [`Range::read`] takes, save that it refuses bits behind the prefix as well.
macro_rules! loopback {
    () => {
        concat!("127([.]", octet!(), "){3}/([89]|[12][0-9]|30)")
    };
}

impl ConfigSchema for LoopbackText {
    const SCHEMA: Schema = Schema::Pattern {
        regex: concat!("^", loopback!(), "$"),
        form: "a part of 127.0.0.0/8 such as \"127.77.0.0/16\", /30 or larger",
    };
}

impl ConfigSchema for RangeText {
    const SCHEMA: Schema = Schema::Pattern {
        regex: concat!(
            "^(",
            loopback!(),
            "|10([.]",
            octet!(),
            "){3}/([89]|[12][0-9]|30)",
            "|172[.](1[6-9]|2[0-9]|3[01])([.]",
            octet!(),
            "){2}/(1[2-9]|2[0-9]|30)",
            "|192[.]168([.]",
            octet!(),
            "){2}/(1[6-9]|2[0-9]|30))$",
        ),
        form: "a part of 127.0.0.0/8 such as \"127.77.0.0/16\", or with network_namespaces of a private network such as \
               \"10.77.0.0/16\"; /30 or larger",
    };
}

impl Space {
    fn has(self, network: u32, length: u32) -> bool {
        let is_in = |(space, bits): (Ipv4Addr, u32)| length >= bits && (network ^ u32::from(space)) >> (32 - bits) == 0;
        match self {
            Self::Loopback => is_in((Ipv4Addr::new(127, 0, 0, 0), 8)),
            Self::Private => PRIVATE.into_iter().any(is_in),
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Loopback => "a part of 127.0.0.0/8 such as \"127.77.0.0/16\"",
            Self::Private => "a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 such as \"10.77.0.0/16\"",
        }
    }
}

impl Range {
    /// Reads one. `Err` says what was found and what was expected.
    pub(crate) fn read(text: &str, space: Space) -> Result<Self, String> {
        let fault = || format!("{text:?}; expected {}, /30 or larger", space.example());
        let (network, length) = text.split_once('/').ok_or_else(fault)?;
        let network = u32::from(network.parse::<Ipv4Addr>().map_err(|_| fault())?);
        let length = length.parse::<u32>().ok().filter(|length| (8..=30).contains(length)).ok_or_else(fault)?;
        let hosts = u32::MAX >> length;
        if network & hosts != 0 || !space.has(network, length) {
            return Err(fault());
        }
        Ok(Self { first: network + 1, last: (network | hosts) - 1 })
    }

    /// Sets the first address aside, and answers it.
    pub(crate) fn split_off_first(&mut self) -> Ipv4Addr {
        self.first += 1;
        Ipv4Addr::from(self.first - 1)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// How many addresses it has.
    pub(crate) fn len(&self) -> u32 {
        self.last - self.first + 1 - u32::from((self.first..=self.last).contains(&LOCALHOST))
    }

    /// The next free address after `after`, from the start again at the end: an address that was given back comes again late, so
    /// that whoever still knows it meets nobody else there.
    pub(crate) fn next(&self, after: Option<Ipv4Addr>, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let after = after.map(u32::from).filter(|after| (self.first..=self.last).contains(after));
        let begin = after.map_or(self.first, |after| after + 1);
        (begin..=self.last)
            .chain(self.first..=self.last)
            .filter(|address| *address != LOCALHOST)
            .map(Ipv4Addr::from)
            .find(|address| !taken.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(text: &str) -> Result<Range, String> {
        Range::read(text, Space::Loopback)
    }

    #[test]
    fn a_range_lies_in_its_space() {
        assert_eq!(loopback("127.77.0.0/16").unwrap().len(), 65_534);
        assert_eq!(loopback("127.0.0.0/8").unwrap().len(), (1 << 24) - 3);
        for wrong in ["", "127.77.0.0", "127.77.0.1/16", "128.0.0.0/16", "127.0.0.0/31", "10.0.0.0/8", "127.1.0.0/x"] {
            assert!(loopback(wrong).unwrap_err().contains("127.77.0.0/16"), "{wrong}");
        }
        for (text, is_private) in [
            ("10.0.0.0/8", true),
            ("172.31.0.0/16", true),
            ("172.32.0.0/16", false),
            ("192.168.0.0/15", false),
            ("127.1.0.0/16", false),
        ] {
            assert_eq!(Range::read(text, Space::Private).is_ok(), is_private, "{text}");
        }
        assert!(loopback("127.0.0.0/8").unwrap().overlaps(&loopback("127.9.0.0/16").unwrap()));
        assert!(!loopback("127.8.0.0/16").unwrap().overlaps(&loopback("127.9.0.0/16").unwrap()));
    }

    #[test]
    fn an_address_comes_again_only_after_all_others() {
        let range = loopback("127.0.0.0/29").unwrap();
        let mut taken = HashSet::new();
        let mut last = None;
        for expected in [2, 3, 4, 5, 6] {
            last = range.next(last, &taken);
            assert_eq!(last, Some(Ipv4Addr::new(127, 0, 0, expected)));
            taken.insert(last.unwrap());
        }
        assert_eq!(range.next(last, &taken), None);
        taken.remove(&Ipv4Addr::new(127, 0, 0, 3));
        assert_eq!(range.next(last, &taken), Some(Ipv4Addr::new(127, 0, 0, 3)));
    }
}
