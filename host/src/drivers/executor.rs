//! The seam between what every driver needs and where its code runs.
//!
//! Above it: admission, serial keys, deadlines of waiting calls, pending calls, figures. Below it: one running call, its
//! cancellation, and what a hung one costs. [`super::in_process`] is the executor in the daemon's own address space; one that
//! runs a child and speaks frames to it takes the same calls.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use capstan_plugin_api::{DriverError, Health, Pending, abi, error::ErrorCode};
use serde_json::value::RawValue;

use super::{
    boundary::Answered,
    error::{cut, one_line},
    gate::Pass,
    host_services::CallState,
};

pub(super) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Longest token of a pending call.
const LONGEST_TOKEN: usize = 64 << 10;
/// Longest text of an error; the rest is cut. It goes to logs, lists and clients.
const LONGEST_TEXT: usize = 16 << 10;

/// One call on its way to a driver.
pub(super) struct Call {
    pub method: Arc<str>,
    pub params: Box<RawValue>,
    /// Id, request id, deadline and the cancelled flag; shared with the host services.
    pub state: Arc<CallState>,
    /// The call's place, kept until the driver has really let go of it.
    pub pass: Pass,
}

/// What a driver answered.
#[derive(Debug)]
pub(super) enum Answer {
    Done(Vec<u8>),
    Pending(Pending),
}

/// How an executor is.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub lost_threads: usize,
    pub standing: Standing,
    /// The process of its own, while there is one.
    pub pid: Option<u32>,
    /// Processes that were started after the first one.
    pub restarts: u64,
}

/// Whether it takes calls, else why not.
#[derive(Clone, Debug, Default)]
pub(super) enum Standing {
    #[default]
    Serving,
    /// Its process has ended; another is on its way.
    Restarting(String),
    /// Its processes ended too often.
    CircuitOpen(String),
    /// It lost too many threads.
    Quarantined(String),
}

/// Runs the calls of one open instance.
pub(super) trait Executor: Send + Sync {
    /// Runs a call and answers by its deadline plus the grace. Dropping the future cancels the call. Needs tokio's clock.
    fn invoke(&self, call: Call) -> BoxFuture<'_, Result<Answer, DriverError>>;

    /// Asks a call to stop; returns at once.
    fn cancel(&self, state: &Arc<CallState>);

    /// Asks for the driver's health.
    fn health(&self, timeout: Duration) -> BoxFuture<'_, Result<Health, DriverError>>;

    /// Waits until no call is out and ends the instance; a fault says why it was left open.
    fn close(&self, grace: Duration) -> BoxFuture<'_, Result<(), String>>;

    /// Ends what runs, whatever it does, and starts it anew; none when only loading the file again does that.
    fn restart(&self) -> Option<BoxFuture<'_, Result<(), DriverError>>> {
        None
    }

    /// How it is.
    fn condition(&self) -> Condition;
}

/// What an answer over the boundary means. `panicked` is set when the guard inside the driver caught a panic.
pub(super) fn interpret(method: &str, answered: Answered, panicked: &mut bool) -> Result<Answer, DriverError> {
    let fault = |what: String| {
        DriverError::internal(format!("the driver answered {method} against its contract"))
            .for_operator(one_line(&format!("{method}: {what}")))
    };
    let body = answered.body.map_err(&fault)?;
    match answered.status {
        abi::STATUS_OK => Ok(Answer::Done(body)),
        abi::STATUS_PENDING => {
            let pending: Pending = serde_json::from_slice(&body)
                .map_err(|error| fault(format!("a pending answer that cannot be read ({error})")))?;
            if pending.token.len() > LONGEST_TOKEN {
                return Err(fault(format!(
                    "a token of {} bytes, at most {LONGEST_TOKEN} are kept",
                    pending.token.len()
                )));
            }
            Ok(Answer::Pending(pending))
        }
        abi::STATUS_ERROR => Err(serde_json::from_slice(&body)
            .map(bounded)
            .unwrap_or_else(|error| fault(format!("an error that cannot be read ({error})")))),
        abi::STATUS_PANIC => {
            *panicked = true;
            let mut error: DriverError =
                serde_json::from_slice(&body).unwrap_or_else(|_| DriverError::internal("the driver panicked"));
            error.code = ErrorCode::INTERNAL;
            Err(bounded(error))
        }
        other => Err(fault(format!("status {other}, which epoch 1 does not have"))),
    }
}

/// The error with texts of a length that somebody reads, and that can be stored.
fn bounded(mut error: DriverError) -> DriverError {
    error.message = error.message.replace('\0', "\u{fffd}");
    error.operator_message = error.operator_message.replace('\0', "\u{fffd}");
    cut(&mut error.message, LONGEST_TEXT);
    cut(&mut error.operator_message, LONGEST_TEXT);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drivers_error_can_be_stored() {
        let error = bounded(DriverError::internal("no\0 host").for_operator("a\0"));
        assert!(!error.message.contains('\0') && !error.operator_message.contains('\0'));
    }
}
