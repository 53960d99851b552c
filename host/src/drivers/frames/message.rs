//! The messages.
//!
//! Each direction is one struct of optional members instead of an enum: a message of a later version then reads as no
//! message at all, and bodies stay the text that they are.

use std::borrow::Cow;

use capstan_plugin_api::abi;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The version of the protocol that this host speaks.
pub const PROTOCOL: u32 = 1;

/// What the daemon sends.
#[derive(Default, Serialize, Deserialize)]
pub struct FromHost<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CallId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<CallId>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open<'a>>,
    /// The instance is to end: `open` ran out of time, or `close` is coming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<CallId>,
}

/// What a driver sends.
#[derive(Default, Serialize, Deserialize)]
pub struct FromDriver<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed<'a>>,
}

/// The first frame of each side, sent without waiting for the other's.
#[derive(Serialize, Deserialize)]
pub struct Hello<'a> {
    pub protocol: u32,
    /// Names of what a side can do beyond the protocol's version; unknown ones mean nothing.
    #[serde(default)]
    pub features: Vec<String>,
    /// Who speaks, for the log.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// The driver's manifest; the host has none.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<&'a RawValue>,
}

/// Opens the instance; answered by a reply.
#[derive(Serialize, Deserialize)]
pub struct Open<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub config: &'a RawValue,
}

/// Runs a method; answered by a reply.
#[derive(Serialize, Deserialize)]
pub struct Call<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The envelope: [`capstan_plugin_api::call::Request`].
    #[serde(borrow)]
    pub request: &'a RawValue,
}

/// A message that is about a call and says nothing else.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct CallId {
    pub id: u64,
}

/// See [`FromHost::ending`].
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Ending {}

/// What a call came to: one of the five.
#[derive(Default, Serialize, Deserialize)]
pub struct Reply<'a> {
    pub id: u64,
    /// The result, which may be `null`.
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a RawValue>,
    /// A [`capstan_plugin_api::DriverError`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a RawValue>,
    /// A [`capstan_plugin_api::Pending`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<&'a RawValue>,
    /// A [`capstan_plugin_api::DriverError`] that stands for a panic.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<&'a RawValue>,
    /// What is wrong with the answer that the driver gave.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Cow<'a, str>>,
}

/// Calls a host service; answered by an [`Answer`].
#[derive(Serialize, Deserialize)]
pub struct Ask<'a> {
    /// The driver's own number for it.
    pub id: u64,
    /// The call on whose behalf it asks; 0 for the instance.
    #[serde(default)]
    pub call: u64,
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub params: Option<&'a RawValue>,
}

/// What a host service answered: one of the two.
#[derive(Default, Serialize, Deserialize)]
pub struct Answer<'a> {
    pub id: u64,
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a RawValue>,
    /// A [`capstan_plugin_api::DriverError`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a RawValue>,
}

/// One line for the log.
#[derive(Serialize, Deserialize)]
pub struct Log<'a> {
    #[serde(default)]
    pub call: u64,
    #[serde(default)]
    pub level: Level,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub target: Cow<'a, str>,
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<&'a RawValue>,
}

/// A driver that cannot go on says why before it ends.
#[derive(Serialize, Deserialize)]
pub struct Failed<'a> {
    #[serde(borrow)]
    pub found: Cow<'a, str>,
    #[serde(borrow, default)]
    pub expected: Cow<'a, str>,
    #[serde(borrow, default)]
    pub remedy: Cow<'a, str>,
}

/// How urgent a line is. A word of a later version reads as the least urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    #[serde(other)]
    Trace,
}

impl Level {
    /// As the tables of epoch 1 count.
    pub const fn number(self) -> u32 {
        match self {
            Self::Error => abi::LOG_ERROR,
            Self::Warn => abi::LOG_WARN,
            Self::Info => abi::LOG_INFO,
            Self::Debug => abi::LOG_DEBUG,
            Self::Trace => abi::LOG_TRACE,
        }
    }

    /// The inverse of [`Level::number`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            abi::LOG_ERROR => Self::Error,
            abi::LOG_WARN => Self::Warn,
            abi::LOG_INFO => Self::Info,
            abi::LOG_DEBUG => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// `null` is a result, and no result is something else.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_a_result_and_unknown_members_are_nothing() {
        let read: FromDriver<'_> =
            serde_json::from_str(r#"{"reply":{"id":7,"result":null,"later":1},"telepathy":{"x":[]}}"#).unwrap();
        let reply = read.reply.unwrap();
        assert_eq!((reply.id, reply.result.unwrap().get()), (7, "null"));
        assert!(reply.error.is_none());
        let read: FromDriver<'_> = serde_json::from_str(r#"{"telepathy":{}}"#).unwrap();
        assert!(read.reply.is_none() && read.ask.is_none() && read.log.is_none() && read.hello.is_none());
    }

    #[test]
    fn a_level_of_a_later_version_is_a_level() {
        let log: Log<'_> = serde_json::from_str(r#"{"level":"whisper","message":"a\nb"}"#).unwrap();
        assert_eq!(
            (log.level, &*log.message),
            (
                Level::Trace,
                "a
b"
            )
        );
    }
}
