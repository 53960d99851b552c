//! Why builds fail, in words for the figures. The words are few: a label with the cloud's own would grow without bound.

use capstan_plugin_api::{DriverError, ErrorCode};

/// Why a build failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Somebody cancelled it.
    Cancelled,
    /// The cloud refused the create, for no reason that has a word of its own.
    Refused,
    /// The cloud refuses the daemon's credentials.
    AuthFailed,
    /// The cloud did not say that it made it, and has not made it.
    NotMade,
    /// The cloud's quota is used up.
    QuotaExceeded,
    /// The cloud refuses what was asked.
    InvalidArgument,
    /// The cloud is not in the farm any more.
    NoCloud,
    /// The cloud gave the node up.
    NodeError,
    /// It did not run in time.
    Timeout,
    /// It was there and went while it was built.
    Vanished,
    /// The cloud's answer cannot be.
    Contract,
    /// Its worker's answer to DIAGNOSTICS was bad.
    Diagnostics,
    /// DIAGNOSTICS could not be asked for.
    Unasked,
    /// The API server did not take it.
    Registration,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Cancelled,
        Self::Refused,
        Self::AuthFailed,
        Self::NotMade,
        Self::QuotaExceeded,
        Self::InvalidArgument,
        Self::NoCloud,
        Self::NodeError,
        Self::Timeout,
        Self::Vanished,
        Self::Contract,
        Self::Diagnostics,
        Self::Unasked,
        Self::Registration,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::AuthFailed => "auth_failed",
            Self::NotMade => "not_made",
            Self::QuotaExceeded => "quota_exceeded",
            Self::InvalidArgument => "invalid_argument",
            Self::NoCloud => "no_cloud",
            Self::NodeError => "node_error",
            Self::Timeout => "timeout",
            Self::Vanished => "vanished",
            Self::Contract => "contract",
            Self::Diagnostics => "diagnostics",
            Self::Unasked => "unasked",
            Self::Registration => "registration",
        }
    }

    /// Of a create that was refused.
    pub fn of_create(error: &DriverError) -> Self {
        match &error.code {
            code if *code == ErrorCode::AUTH_FAILED => Self::AuthFailed,
            code if *code == ErrorCode::QUOTA_EXCEEDED => Self::QuotaExceeded,
            code if *code == ErrorCode::INVALID_ARGUMENT => Self::InvalidArgument,
            _ => Self::Refused,
        }
    }
}
