//! What an answer other than a success means.

use std::time::Duration;

use capstan_plugin_api::{DriverError, ErrorCode, Retry};

use crate::exchange::Reply;

/// After a 429 or 503 that names no time.
const PAUSE: Duration = Duration::from_secs(30);

/// What a request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// All devices: a path that every server has.
    All,
    /// A device that is to be registered.
    New,
    /// One device, by its id.
    One,
}

/// The error for an answer. `place` names server and request for the operator.
pub(crate) fn refusal(about: About, place: &str, reply: &Reply) -> DriverError {
    let text = reply.text.as_str();
    let operator = |remedy: &str| {
        let said = if text.is_empty() { String::new() } else { format!(": {text}") };
        let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
        format!("{place} was answered with {}{said}{remedy}", reply.status)
    };
    let error = |code, message: &str| DriverError::new(code, message);
    let (error, remedy) = match reply.status {
        401 | 403 => (
            error(ErrorCode::AUTH_FAILED, "The API server refused the credentials."),
            "set `token` to one that it accepts for devices",
        ),
        404 if about == About::One => (DriverError::not_found("The API server has no such device."), ""),
        404 => (
            DriverError::unavailable("The API server has no device API where it was looked for.").retry(Retry::Never),
            "check `servers` and `base_path`",
        ),
        409 if about == About::New => (error(ErrorCode::ALREADY_EXISTS, "The API server has this device already."), ""),
        409 => (DriverError::conflict("The API server says that the device's state forbids it."), ""),
        // libra answers both with 400.
        400 if about == About::One && text.contains("belongs to a loadbalancer") => {
            (DriverError::conflict("The device belongs to a load balancer."), "")
        }
        400 if about == About::One && text.to_lowercase().contains("not valid") => {
            (DriverError::not_found("The API server has no such device."), "")
        }
        429 => (
            error(ErrorCode::RATE_LIMITED, "The API server was asked too often.")
                .retry(Retry::After(reply.retry_after.unwrap_or(PAUSE))),
            "",
        ),
        503 => (
            DriverError::unavailable("The API server is not available now.")
                .retry(reply.retry_after.map_or(Retry::Now, Retry::After)),
            "",
        ),
        500..=599 => (DriverError::unavailable("The API server failed."), ""),
        300..=399 => (
            DriverError::unavailable("The API server points elsewhere, which is not followed.").retry(Retry::Never),
            "name in `servers` the one that answers itself",
        ),
        400..=499 => (DriverError::invalid_argument("The API server refused the request."), ""),
        _ => (DriverError::unavailable("The API server gave an answer that means nothing here."), ""),
    };
    error.for_operator(operator(remedy))
}
