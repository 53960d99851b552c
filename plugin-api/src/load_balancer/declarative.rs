//! The declarative form: one idempotent call carries everything.

use super::{Applied, ApplyRequest, ArchiveRequest, Archived, Observed, Statistics, Status, Target, Validation};
use crate::{CallContext, Driver, DriverError, Outcome, Token, dispatch::interface};

/// A load balancer that takes the whole device in one call.
///
/// Calls about one device do not overlap when the manifest says `serial_by = "device"`.
pub trait DeclarativeLoadBalancer: Driver {
    /// Makes the device what the request says, all or nothing; the same request again changes nothing. A generation older than the one
    /// that runs is refused with `conflict`. A refusal of one load balancer or member stands in the result; an error of the
    /// call itself means that nothing was changed.
    fn apply(&self, call: &CallContext, request: &ApplyRequest) -> Result<Outcome<Applied>, DriverError>;

    /// Tells what is really there.
    fn observe(&self, call: &CallContext, target: &Target) -> Result<Observed, DriverError>;

    /// Stops serving at once; the configuration stays.
    fn suspend(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError>;

    /// Serves again at once.
    fn enable(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError>;

    /// Removes everything at once. What is already gone is no error.
    fn delete(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError>;

    /// Tells what `apply` would refuse, without touching anything.
    fn validate(&self, _call: &CallContext, _request: &ApplyRequest) -> Result<Validation, DriverError> {
        Err(DriverError::not_supported("validate"))
    }

    /// Health of the members.
    fn status(&self, _call: &CallContext, _target: &Target) -> Result<Status, DriverError> {
        Err(DriverError::not_supported("status"))
    }

    /// Traffic since the last call.
    fn statistics(&self, _call: &CallContext, _target: &Target) -> Result<Statistics, DriverError> {
        Err(DriverError::not_supported("statistics"))
    }

    /// Puts a copy of the log away.
    fn archive(&self, _call: &CallContext, _request: &ArchiveRequest) -> Result<Outcome<Archived>, DriverError> {
        Err(DriverError::not_supported("archive"))
    }

    /// How far a pending call is.
    fn poll(&self, _call: &CallContext, _token: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Err(DriverError::not_supported("poll"))
    }

    /// Finds a pending call again after a restart.
    fn recover(&self, _call: &CallContext, _token: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Err(DriverError::not_supported("recover"))
    }
}

interface! {
    /// Exports a [`DeclarativeLoadBalancer`].
    Declared<D: DeclarativeLoadBalancer> {
        long apply(ApplyRequest);
        observe(Target);
        long suspend(Target);
        long enable(Target);
        long delete(Target);
        validate(ApplyRequest);
        status(Target);
        statistics(Target);
        long archive(ArchiveRequest);
        long poll(Token);
        long recover(Token);
    }
}
