//! Why a driver is not to be had, in one line that names the stage, what was found, what was expected and what to do.

use std::{fmt, path::PathBuf};

use capstan_plugin_api::DriverError;
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::Kind;

/// The stages of loading, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From the name in the table to a path.
    Resolve,
    /// Kind, owner and mode of the file and of its parents.
    File,
    /// Headers and bounds of the file.
    Elf,
    /// The manifest section.
    Manifest,
    /// Epoch, target, kind, interface, panic strategy, C library.
    Compatibility,
    /// The `sha256` pin, the lock file, and the policy that asks for one of them.
    Checksum,
    /// The signature beside the file, where a key asks for one.
    Signature,
    /// The private copy.
    Store,
    /// A first load in a throw-away child.
    Probe,
    /// The driver's own section against its schema.
    Configuration,
    /// `dlopen`, table and layout.
    Load,
    /// The driver's `open`.
    Open,
    /// The driver's first `health`.
    Health,
}

impl Stage {
    /// All stages, in their order.
    pub const ALL: [Self; 13] = [
        Self::Resolve,
        Self::File,
        Self::Elf,
        Self::Manifest,
        Self::Compatibility,
        Self::Checksum,
        Self::Signature,
        Self::Store,
        Self::Probe,
        Self::Configuration,
        Self::Load,
        Self::Open,
        Self::Health,
    ];

    /// As it stands in an error.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::File => "file",
            Self::Elf => "elf",
            Self::Manifest => "manifest",
            Self::Compatibility => "compatibility",
            Self::Checksum => "checksum",
            Self::Signature => "signature",
            Self::Store => "store",
            Self::Probe => "probe",
            Self::Configuration => "configuration",
            Self::Load => "load",
            Self::Open => "open",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A driver that was not loaded. `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct LoadError {
    /// `kind.name`; empty when a file was looked at without an entry.
    pub driver: Box<str>,
    /// The file.
    pub path: PathBuf,
    /// Where it failed.
    pub stage: Stage,
    /// What was found.
    pub found: Box<str>,
    /// What was expected.
    pub expected: Box<str>,
    /// What the operator can do.
    pub remedy: Box<str>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!(
            "stage {}: {}: found {}; expected {}; {}",
            self.stage,
            self.path.display(),
            self.found,
            self.expected,
            self.remedy
        );
        if !self.driver.is_empty() {
            write!(f, "driver {}: ", self.driver)?;
        }
        f.write_str(&one_line(&line))
    }
}

impl Serialize for LoadError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A failed stage, before driver and path are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub stage: Stage,
    pub found: String,
    pub expected: String,
    pub remedy: String,
}

impl Failure {
    pub fn new(stage: Stage, found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { stage, found: found.into(), expected: expected.into(), remedy: remedy.into() }
    }

    pub fn of(self, driver: impl Into<Box<str>>, path: impl Into<PathBuf>) -> LoadError {
        let Self { stage, found, expected, remedy } = self;
        LoadError {
            driver: driver.into(),
            path: path.into(),
            stage,
            found: found.into(),
            expected: expected.into(),
            remedy: remedy.into(),
        }
    }
}

/// Drivers with `required = true` that were not loaded; the others were closed again.
#[derive(Clone, Debug, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct RequiredDriversFailed(pub Vec<LoadError>);

/// A handle that cannot be given.
#[derive(Clone, Debug, Error)]
pub enum DriverUnavailable {
    /// The entry is there; its driver is not loaded yet or not any more.
    #[error("driver {kind}.{name} is not loaded at this moment")]
    Closed {
        /// Kind asked for.
        kind: Kind,
        /// Name asked for.
        name: String,
    },
    /// The entry is there; its file was refused.
    #[error("{0}")]
    Failed(LoadError),
    /// No entry of that name.
    #[error("no driver {kind}.{name} in known_drivers; {}", known_names(.known))]
    Unknown {
        /// Kind asked for.
        kind: Kind,
        /// Name asked for.
        name: String,
        /// Names of that kind.
        known: Vec<String>,
    },
}

fn known_names(known: &[String]) -> String {
    if known.is_empty() {
        "none of that kind is configured".to_owned()
    } else {
        format!("known are {}", known.join(", "))
    }
}

/// Cuts a text from outside to so many bytes and three dots.
pub(crate) fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
}

/// Text from outside on one line: control characters escaped, and not longer than an operator reads.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 2048;
    let mut line = String::with_capacity(text.len().min(LONGEST));
    for character in text.trim().chars() {
        if line.len() >= LONGEST {
            line.push_str("...");
            break;
        }
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Code and message of a driver's error, for a stage's line.
pub(super) fn spoken(error: &DriverError) -> String {
    format!("{}: {error}", error.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        for (longest, expected) in [(4, "aßc"), (3, "aß..."), (2, "a..."), (0, "...")] {
            let mut text = "aßc".to_owned();
            cut(&mut text, longest);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn an_error_stays_on_one_line_whatever_the_file_says() {
        let failure = Failure::new(Stage::Manifest, "name \"a\nb\u{2028}c\u{1b}[31m\"", "a name", "do this");
        let text = failure.of("cloud.x", "/lib/x.so").to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("driver cloud.x: stage manifest: /lib/x.so: found name"), "{text}");
        assert!(text.ends_with("expected a name; do this"), "{text}");
        assert!(text.chars().all(|c| !c.is_control()));
    }
}
