//! The one error of every driver call, with what the host needs in order to act on it.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of failure it was. An open set: a host meets codes it does not know and treats them like [`ErrorCode::INTERNAL`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(Cow<'static, str>);

impl ErrorCode {
    /// The credentials were refused.
    pub const AUTH_FAILED: Self = Self::new("auth_failed");
    /// The object does not exist.
    pub const NOT_FOUND: Self = Self::new("not_found");
    /// The object exists already.
    pub const ALREADY_EXISTS: Self = Self::new("already_exists");
    /// A quota of the account is used up.
    pub const QUOTA_EXCEEDED: Self = Self::new("quota_exceeded");
    /// Too many requests; `retry` says when to come back.
    pub const RATE_LIMITED: Self = Self::new("rate_limited");
    /// The request can never succeed as it is.
    pub const INVALID_ARGUMENT: Self = Self::new("invalid_argument");
    /// The object's state, or an older generation, forbids it.
    pub const CONFLICT: Self = Self::new("conflict");
    /// The driver has no such method or cannot express what was asked.
    pub const NOT_SUPPORTED: Self = Self::new("not_supported");
    /// The backend, the driver or a place in its queue is not to be had now.
    pub const UNAVAILABLE: Self = Self::new("unavailable");
    /// The deadline passed.
    pub const TIMEOUT: Self = Self::new("timeout");
    /// The call was cancelled.
    pub const CANCELLED: Self = Self::new("cancelled");
    /// A fault of the driver.
    pub const INTERNAL: Self = Self::new("internal");

    /// A code of this name.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The code as it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ErrorCode {
    fn default() -> Self {
        Self::INTERNAL
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the same call may be made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Not without a change.
    #[default]
    Never,
    /// At once.
    Now,
    /// After this time.
    After(Duration),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RetryOnTheWire {
    Now,
    AfterMs(u64),
    #[serde(other)]
    Never,
}

impl Serialize for Retry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => RetryOnTheWire::Never,
            Self::Now => RetryOnTheWire::Now,
            Self::After(time) => RetryOnTheWire::AfterMs(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match RetryOnTheWire::deserialize(deserializer)? {
            RetryOnTheWire::Never => Self::Never,
            RetryOnTheWire::Now => Self::Now,
            RetryOnTheWire::AfterMs(time) => Self::After(Duration::from_millis(time)),
        })
    }
}

/// Why a driver call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverError {
    /// Kind of failure.
    pub code: ErrorCode,
    /// May be shown to a tenant: names no host, path or credential of the operator.
    pub message: String,
    /// For the operator only: what the backend really said. Empty when `message` says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operator_message: String,
    /// Whether and when the same call may be made again.
    #[serde(default)]
    pub retry: Retry,
}

impl DriverError {
    /// An error of any code, not to be retried.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), operator_message: String::new(), retry: Retry::Never }
    }

    /// The request can never succeed as it is.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID_ARGUMENT, message)
    }

    /// The object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NOT_FOUND, message)
    }

    /// The driver has no such method, or cannot express `what`.
    pub fn not_supported(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NOT_SUPPORTED, format!("the driver does not support {what}"))
    }

    /// The object's state, or an older generation, forbids it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::CONFLICT, message)
    }

    /// The backend is not to be had now; the call may be repeated.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry: Retry::Now, ..Self::new(ErrorCode::UNAVAILABLE, message) }
    }

    /// The deadline passed.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::TIMEOUT, message)
    }

    /// The call was cancelled.
    pub fn cancelled() -> Self {
        Self::new(ErrorCode::CANCELLED, "the call was cancelled")
    }

    /// A fault of the driver itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INTERNAL, message)
    }

    /// Adds what only the operator may read.
    #[must_use]
    pub fn for_operator(mut self, message: impl Into<String>) -> Self {
        self.operator_message = message.into();
        self
    }

    /// Sets whether the call may be repeated.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.operator_message.is_empty() {
            write!(f, " ({})", self.operator_message)?;
        }
        Ok(())
    }
}

impl std::error::Error for DriverError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_reads_what_a_later_driver_may_write() {
        for (json, retry) in [
            ("\"never\"", Retry::Never),
            ("\"now\"", Retry::Now),
            ("{\"after_ms\":1500}", Retry::After(Duration::from_millis(1500))),
            ("\"when_the_moon_is_full\"", Retry::Never),
        ] {
            assert_eq!(serde_json::from_str::<Retry>(json).unwrap(), retry, "{json}");
        }
    }

    #[test]
    fn unknown_codes_and_fields_are_kept_and_ignored() {
        let error: DriverError = serde_json::from_str(r#"{"code":"tape_full","message":"no tape","shelf":7}"#).unwrap();
        assert_eq!(error.code.as_str(), "tape_full");
        assert_eq!(error.retry, Retry::Never);
    }
}
