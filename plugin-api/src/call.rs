//! One call: its envelope on the wire, its context in the driver, and its outcome.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{DriverError, Host, error::ErrorCode, host::LogLevel};

/// The body of every `invoke`: what belongs to the call, and the method's own parameters.
#[derive(Debug, Serialize, Deserialize, Default)]
pub struct Request<'a> {
    /// Milliseconds left until the deadline when the host made the call.
    pub deadline_ms: u64,
    /// Id of the request that caused the call; the same in every log line about it.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub request_id: Cow<'a, str>,
    /// The method's parameters; a method without any needs none, and none reads like `{}`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub params: Option<&'a RawValue>,
}

/// What a method learns about the call that it serves. A clone, which a connection or a thread of the call may hold, learns
/// of its cancellation as well; it is of no use once the method has returned.
#[derive(Clone)]
pub struct CallContext {
    id: u64,
    deadline: Instant,
    request_id: String,
    host: Host,
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext").field("id", &self.id).field("request_id", &self.request_id).finish()
    }
}

impl CallContext {
    pub(crate) fn new(id: u64, deadline: Instant, request_id: String, host: Host) -> Self {
        Self { id, deadline, request_id, host }
    }

    /// Number of the call, unique among the calls that are out.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Time left until the deadline; zero once it has passed.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// True once the call was cancelled or its deadline has passed. A method asks at each point where it can stop safely.
    pub fn cancelled(&self) -> bool {
        Instant::now() >= self.deadline || self.host.is_cancelled(self.id)
    }

    /// `Err` with `timeout` or `cancelled` once the call should stop, for use with `?` between two steps.
    pub fn check(&self) -> Result<(), DriverError> {
        if Instant::now() >= self.deadline {
            Err(DriverError::timeout("the deadline passed before the driver was done"))
        } else if self.host.is_cancelled(self.id) {
            Err(DriverError::new(ErrorCode::CANCELLED, "the call was cancelled"))
        } else {
            Ok(())
        }
    }

    /// Id of the request that caused the call; empty when there is none.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Host services, tied to this call.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// One log line about this call.
    pub fn log(&self, level: LogLevel, message: &str) {
        self.host.log(level, message);
    }

    /// Tells how far a long call has come: `done` of `total` steps, and what it is at.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        self.host.progress(done, total, what);
    }
}

/// A call that goes on in the background: the host asks `poll(token)` after `poll_after`, and `recover(token)` after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The driver's own name for the work; at most 64 KiB.
    pub token: String,
    /// Milliseconds to wait before the next `poll`.
    pub poll_after_ms: u64,
}

/// What a call that may take long answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    /// Finished.
    Done(T),
    /// Accepted; the host goes on with `poll`.
    Pending(Pending),
}

impl<T> Outcome<T> {
    /// A pending outcome.
    pub fn pending(token: impl Into<String>, poll_after: Duration) -> Self {
        Self::Pending(Pending {
            token: token.into(),
            poll_after_ms: u64::try_from(poll_after.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl<T> From<T> for Outcome<T> {
    fn from(value: T) -> Self {
        Self::Done(value)
    }
}

/// Parameters of `poll` and `recover`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The token of [`Pending`].
    pub token: String,
}

/// Answer of `health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// One line for the operator; empty when there is nothing to say.
    #[serde(default)]
    pub message: String,
}
