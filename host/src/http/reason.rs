//! Why somebody does something, in a body: one rule for all who ask for it.

use serde::Deserialize;

use super::Caller;

/// The longest reason, in characters.
const LONGEST: usize = 500;

/// A reason: 1 to 500 characters on one line, for whoever looks later.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Reason(String);

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        match text.is_empty() || text.chars().count() > LONGEST || text.chars().any(char::is_control) {
            true => Err(format!("expected 1 to {LONGEST} characters on one line, for whoever looks later")),
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl Reason {
    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A body that says nothing but why, or not even that.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// The reason.
    pub reason: Option<Reason>,
}

impl Why {
    /// The reason and whose it is.
    pub fn by(self, caller: &Caller) -> String {
        match self.reason {
            Some(Reason(reason)) => format!("{reason} (by {})", caller.name),
            None => format!("by {}", caller.name),
        }
    }
}
