//! Changes of the device: one at a time, each with a generation of its own.

use std::time::Duration;

use capstan_plugin_api::{
    DriverError,
    error::ErrorCode,
    load_balancer::{Applied, ApplyRequest, Target},
};
use tokio::sync::Mutex;

use super::{Answer, Appliance, Call};

/// How long after its deadline a call may still tell that it was cancelled before it is given up. Longer than the drivers
/// room's own grace: what ends there is counted as the driver's error, what is given up here is not.
const GRACE: Duration = Duration::from_secs(3);

/// A change that the driver is asked for; generation and key are filled in here.
pub(super) enum Change<'a> {
    Apply(&'a mut ApplyRequest),
    Suspend,
    Enable,
    Delete,
}

/// Hands out generations. They go on from what the device shows, because the worker keeps nothing on disk: the first
/// change asks what runs, and so does a change that the driver finds too old.
#[derive(Default)]
pub(super) struct Generations {
    last: Mutex<Option<u64>>,
}

impl Generations {
    /// Makes a change. The lock is held meanwhile, so that generations reach the driver in their order.
    ///
    /// # Errors
    /// The driver's.
    pub(super) async fn change(
        &self,
        appliance: &dyn Appliance,
        call: &Call,
        device: &str,
        key: &str,
        mut change: Change<'_>,
    ) -> Result<Applied, DriverError> {
        let mut last = self.last.lock().await;
        let next = match *last {
            Some(generation) => generation.saturating_add(1),
            None => running(appliance, call, device).await?.saturating_add(1),
        };
        // Stored before the call: whatever becomes of it, the driver may have seen this generation.
        *last = Some(next);
        let answer = make(appliance, call, device, key, &mut change, next).await;
        if !answer.as_ref().is_err_and(|error| error.code == ErrorCode::CONFLICT) {
            return answer;
        }
        match running(appliance, call, device).await {
            Ok(running) if running >= next => {
                let next = running.saturating_add(1);
                *last = Some(next);
                make(appliance, call, device, key, &mut change, next).await
            }
            _ => answer,
        }
    }
}

/// The generation that runs; none for a driver that cannot look.
async fn running(appliance: &dyn Appliance, call: &Call, device: &str) -> Result<u64, DriverError> {
    match within(call, appliance.observe(call, &target(device))).await {
        Ok(observed) => Ok(observed.generation),
        Err(error) if [ErrorCode::NOT_FOUND, ErrorCode::NOT_SUPPORTED].contains(&error.code) => Ok(0),
        Err(error) => Err(error),
    }
}

async fn make(
    appliance: &dyn Appliance,
    call: &Call,
    device: &str,
    key: &str,
    change: &mut Change<'_>,
    generation: u64,
) -> Result<Applied, DriverError> {
    let target = Target { generation, idempotency_key: key.to_owned(), ..target(device) };
    let answer = match change {
        Change::Apply(request) => {
            request.generation = generation;
            for load_balancer in &mut request.load_balancers {
                load_balancer.generation = generation;
            }
            appliance.apply(call, request)
        }
        Change::Suspend => appliance.suspend(call, &target),
        Change::Enable => appliance.enable(call, &target),
        Change::Delete => appliance.delete(call, &target),
    };
    within(call, answer).await
}

/// All load balancers of the device, in a call that changes nothing.
pub(super) fn target(device: &str) -> Target {
    Target { device: device.to_owned(), load_balancer: None, generation: 0, idempotency_key: String::new() }
}

/// Waits for an answer. The driver's own deadline comes first; this one is for an appliance that does not keep it.
pub(super) async fn within<T>(call: &Call, answer: Answer<'_, T>) -> Result<T, DriverError> {
    tokio::time::timeout(call.time_left() + GRACE, answer)
        .await
        .unwrap_or_else(|_elapsed| Err(DriverError::timeout("the driver did not answer before the deadline")))
}
