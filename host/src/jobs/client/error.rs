//! What can go wrong with a job, in the words of whoever submitted it.

use std::time::Duration;

use crate::jobs::transport::TransportError;

/// Why a request to the job servers gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The worker ended the job with an exception.
    #[error("the worker of {function} answered with an exception: {}", String::from_utf8_lossy(.data))]
    Exception {
        /// The function.
        function: String,
        /// What the worker said.
        data: Vec<u8>,
    },
    /// The worker ended the job as failed.
    #[error("the worker of {function} reported that the job failed; its log says why")]
    Failed {
        /// The function.
        function: String,
    },
    /// What was to be submitted cannot be sent.
    #[error("{what} cannot be sent over Gearman: {reason}")]
    Invalid {
        /// Which part.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// No job server could be reached.
    #[error("no job server can be reached: {}", list(.0))]
    NoServer(Vec<TransportError>),
    /// A job server said something that is not the protocol.
    #[error("job server {server} does not keep to the protocol: {reason}")]
    Protocol {
        /// Which server.
        server: String,
        /// What was wrong.
        reason: String,
    },
    /// The job server refused the request.
    #[error("job server {server} refused: {text} ({code})")]
    Refused {
        /// Which server.
        server: String,
        /// The protocol's error code.
        code: String,
        /// The server's words.
        text: String,
    },
    /// The connection broke.
    #[error(
        "the connection to job server {server} was lost ({reason}){}",
        if *.was_accepted { "; the job had been accepted and may have run" } else { "; the job may have been accepted" }
    )]
    ServerLost {
        /// Which server.
        server: String,
        /// Whether the server had acknowledged the job.
        was_accepted: bool,
        /// How it broke.
        reason: String,
    },
    /// No result came in time.
    #[error(
        "{function} gave no result within {limit:?}: no worker for it may be connected, or it is slow; the job is withdrawn if it still waits"
    )]
    TimedOut {
        /// The function.
        function: String,
        /// The limit.
        limit: Duration,
    },
}

fn list(errors: &[TransportError]) -> String {
    if errors.is_empty() {
        return "none is configured".to_owned();
    }
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
