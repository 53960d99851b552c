//! The messages.
//!
//! Each direction is one struct of optional members instead of an enum: a message of a later version then reads as no
//! message at all, and bodies stay the text that they are.

use std::borrow::Cow;

use capstan_plugin_api::abi;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;

/// The version of the protocol that this host speaks.
pub const PROTOCOL: u32 = 1;

/// Reads a frame as what one side sends.
///
/// # Errors
/// It is no JSON object, or a member that is known is not what it should be.
pub fn read_message<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> serde_json::Result<T> {
    // A list of a struct's members would read as the struct.
    match frame.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(frame),
        _ => Err(Error::custom("it is no JSON object")),
    }
}

/// What the daemon sends.
#[derive(Default, Serialize, Deserialize)]
pub struct FromHost<'a> {
    /// Run a method.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call<'a>>,
    /// To a question of the driver.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer<'a>>,
    /// Stop working on a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CallId>,
    /// Tell how you are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<CallId>,
    /// The first of all.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello<'a>>,
    /// Open the instance.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open<'a>>,
    /// The instance is to end: `open` ran out of time, or `close` is coming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Nothing is out: end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<CallId>,
}

/// What a driver sends.
#[derive(Default, Serialize, Deserialize)]
pub struct FromDriver<'a> {
    /// What a call came to.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply<'a>>,
    /// Calls a host service.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask<'a>>,
    /// A line for the log.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log<'a>>,
    /// The first of all, but for lines for the log.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello<'a>>,
    /// In place of the hello: why there is no driver.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed<'a>>,
}

/// The first frame of each side, sent without waiting for the other's.
#[derive(Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The newest version of the protocol that this side speaks.
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
    /// Comes back in the reply.
    pub id: u64,
    /// The driver's own section.
    #[serde(borrow)]
    pub config: &'a RawValue,
}

/// Runs a method; answered by a reply.
#[derive(Serialize, Deserialize)]
pub struct Call<'a> {
    /// Comes back in the reply.
    pub id: u64,
    /// One of the manifest's.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The envelope: [`capstan_plugin_api::call::Request`].
    #[serde(borrow)]
    pub request: &'a RawValue,
}

/// A message that is about a call and says nothing else.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct CallId {
    /// Number of the call.
    pub id: u64,
}

/// See [`FromHost::ending`].
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Ending {}

/// What a call came to: one of the five.
#[derive(Default, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// Number of the call.
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
    /// Name of the service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Its parameters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub params: Option<&'a RawValue>,
}

/// What a host service answered: one of the two.
#[derive(Default, Serialize, Deserialize)]
pub struct Answer<'a> {
    /// The driver's number of the question.
    pub id: u64,
    /// What the service gave, which may be `null`.
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a RawValue>,
    /// A [`capstan_plugin_api::DriverError`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a RawValue>,
}

/// One line for the log.
#[derive(Serialize, Deserialize)]
pub struct Log<'a> {
    /// The call that it is about; 0 for none.
    #[serde(default)]
    pub call: u64,
    /// How urgent it is.
    #[serde(default)]
    pub level: Level,
    /// Part of the driver; may be empty.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub target: Cow<'a, str>,
    /// The line.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
    /// An object with more.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<&'a RawValue>,
}

/// A driver that cannot go on says why before it ends.
#[derive(Serialize, Deserialize)]
pub struct Failed<'a> {
    /// What is wrong.
    #[serde(borrow)]
    pub found: Cow<'a, str>,
    /// What would be right.
    #[serde(borrow, default)]
    pub expected: Cow<'a, str>,
    /// What to do about it.
    #[serde(borrow, default)]
    pub remedy: Cow<'a, str>,
}

/// How urgent a line is. A word of a later version reads as the least urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may fail soon.
    Warn,
    /// What an operator likes to know.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
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
    fn only_an_object_is_a_message() {
        for text in ["[]", "[{\"id\":7,\"result\":null}]", "null", "7", "", " ", "no json"] {
            assert!(read_message::<FromDriver<'_>>(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read_message::<FromDriver<'_>>(b" \n{}").is_ok());
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
