//! Why a message was not carried out, and how that stands in the reply.

use capstan_plugin_api::{DriverError, error::ErrorCode};
use serde_json::{Value, json};

use super::message::{Message, Object};
use crate::drivers::cut;

/// Longest text in a reply, and of a cause in the log; the rest is cut. Most of them quote a driver.
const LONGEST_TEXT: usize = 4096;
const LONGEST_CAUSE: usize = 32 << 10;

/// Why a message was not carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// The message is not valid: a bare fault object is the reply.
    BadRequest(String),
    /// FAIL with `hpcs_error`; `operator` is for the log and empty when `text` says it all.
    Fail { text: String, operator: String },
    /// FAIL without a text in the reply; the reason is for the log.
    Silent(String),
}

impl Fault {
    pub(super) fn missing(field: &str) -> Self {
        Self::BadRequest(format!("Missing '{field}' element"))
    }

    pub(super) fn fail(text: impl Into<String>) -> Self {
        Self::Fail { text: text.into(), operator: String::new() }
    }

    /// A driver's error: its message to the client, all of it to the operator.
    pub(super) fn driver(error: &DriverError) -> Self {
        Self::Fail { text: told(error), operator: format!("{}: {error}", error.code) }
    }

    /// A driver's error in an action that a driver need not have.
    pub(super) fn optional(action: &str, error: &DriverError) -> Self {
        if error.code == ErrorCode::NOT_SUPPORTED {
            let text = format!("Selected driver does not support {action} action.");
            return Self::Fail { text, operator: error.to_string() };
        }
        Self::driver(error)
    }
}

/// What a driver's error tells the client; never empty.
pub(super) fn told(error: &DriverError) -> String {
    if error.message.is_empty() { format!("The driver failed: {}", error.code) } else { error.message.clone() }
}

/// What the log says about a message that was carried out; nothing in most cases.
pub(super) type Note = Option<String>;

/// How a message ended, for the log.
pub(super) struct Ending {
    /// `PASS`, `FAIL` or `badRequest`.
    pub(super) outcome: &'static str,
    /// Why it is not `PASS`, or what to know about it when it is.
    pub(super) why: Option<String>,
}

/// Completes the reply and tells how it ended.
pub(super) fn finish(message: &mut Message, result: Result<Note, Fault>) -> (Value, Ending) {
    match result {
        Ok(note) => {
            set(&mut message.fields, "hpcs_response", "PASS");
            let why = note.map(|note| told_of(message, &note, LONGEST_CAUSE));
            (Value::Object(std::mem::take(&mut message.fields)), Ending { outcome: "PASS", why })
        }
        Err(Fault::BadRequest(text)) => {
            let text = told_of(message, &text, LONGEST_TEXT);
            (bad_request(&text), Ending { outcome: "badRequest", why: Some(text) })
        }
        Err(Fault::Fail { text, operator }) => {
            let text = told_of(message, &text, LONGEST_TEXT);
            let why = if operator.is_empty() {
                text.clone()
            } else {
                format!("{text} [{}]", told_of(message, &operator, LONGEST_CAUSE))
            };
            set(&mut message.fields, "hpcs_error", text);
            (fail(message), Ending { outcome: "FAIL", why: Some(why) })
        }
        Err(Fault::Silent(why)) => {
            let why = told_of(message, &why, LONGEST_CAUSE);
            (fail(message), Ending { outcome: "FAIL", why: Some(why) })
        }
    }
}

/// A text without tokens, and then of a length that somebody reads.
fn told_of(message: &Message, text: &str, longest: usize) -> String {
    let mut text = message.redact(text);
    cut(&mut text, longest);
    text
}

fn fail(message: &mut Message) -> Value {
    set(&mut message.fields, "hpcs_response", "FAIL");
    Value::Object(std::mem::take(&mut message.fields))
}

/// Sets a field of the reply.
pub(super) fn set(fields: &mut Object, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}

/// The fault object of a message that is not valid; its code is a string, as libra's clients expect.
fn bad_request(text: &str) -> Value {
    json!({ "badRequest": {
        "code": "400",
        "message": "Validation fault",
        "details": "The object is not valid",
        "validationErrors": { "message": text },
    }})
}
