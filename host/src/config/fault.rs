//! Faults and warnings in the operator's words.

use std::{borrow::Cow, error::Error, fmt};

use super::Origin;

/// One thing that is wrong with the configuration. A fault never carries the value of a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Where it stands; [`Origin::Default`] when a value that is needed stands nowhere.
    pub origin: Origin,
    /// The dotted key, such as `http.listen`; empty when the file as a whole is meant.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What was expected in its place.
    pub expected: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, found, expected, remedy } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        out.write_str(&one_line(&format!("{origin}: {key}found {found}; expected {expected}; {remedy}")))
    }
}

/// The text with its control characters escaped: names and values come from outside, and may hold line ends or what a
/// terminal obeys.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Every fault of one reading, in the order of files and lines. Prints one line for each and the count at the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| a.origin.rank().cmp(&b.origin.rank()));
        Self(faults)
    }

    /// The faults, in the order in which they print.
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(out, "{fault}")?;
        }
        match self.0.len() {
            1 => out.write_str("1 fault in the configuration"),
            count => write!(out, "{count} faults in the configuration"),
        }
    }
}

impl Error for Faults {}

/// Something the operator should look at that does not keep the daemon from starting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning {
    /// Where it stands.
    pub origin: Origin,
    /// The dotted key.
    pub key: String,
    /// What was found and what to do.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&one_line(&format!("{}: {}: {}", self.origin, self.key, self.text)))
    }
}
