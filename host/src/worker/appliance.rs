//! The seam to the driver: the load-balancer calls of `plugin-api`, asynchronous and with a deadline.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    DriverError,
    load_balancer::{Applied, ApplyRequest, ArchiveRequest, Archived, Observed, Statistics, Status, Target},
};

/// What a call answers, boxed so that the trait can be a trait object.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send + 'a>>;

/// What belongs to one call besides its parameters.
#[derive(Clone, Debug)]
pub struct Call {
    /// When the controller stops waiting; the implementation passes it on to the driver.
    pub deadline: Instant,
    /// The message's unique id, for every log line about it.
    pub request_id: String,
}

impl Call {
    /// Time left until the deadline; zero once it has passed.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The appliance of this node. Each method is the method of the same name of
/// `capstan_plugin_api::load_balancer::DeclarativeLoadBalancer`, with a pending answer already waited for: the future ends
/// when the work is done or the deadline has passed. A method that the driver lacks answers `not_supported`. The controller
/// makes one changing call (`apply`, `suspend`, `enable`, `delete`) at a time and may make the others beside it. Dropping the
/// future gives up waiting.
pub trait Appliance: Send + Sync {
    /// How long the operator gives a call now, where that may change while the worker runs; none means the worker's settings.
    fn call_timeout(&self) -> Option<Duration> {
        None
    }

    /// Makes the device what the request says.
    fn apply<'a>(&'a self, call: &'a Call, request: &'a ApplyRequest) -> Answer<'a, Applied>;

    /// Tells what is really there.
    fn observe<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Observed>;

    /// Stops serving.
    fn suspend<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Applied>;

    /// Serves again.
    fn enable<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Applied>;

    /// Removes everything.
    fn delete<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Applied>;

    /// Health of the members; `not_found` once the load balancers were deleted.
    fn status<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Status>;

    /// Traffic since the last call; `not_found` once the load balancers were deleted.
    fn statistics<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Statistics>;

    /// Puts a copy of the log away.
    fn archive<'a>(&'a self, call: &'a Call, request: &'a ArchiveRequest) -> Answer<'a, Archived>;
}
