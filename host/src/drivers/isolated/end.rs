//! How the process of a driver came to its end, in an operator's words.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus};

use crate::drivers::probe::signal_name;

/// Why a child is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The daemon closed it.
    Closed,
    /// It died by a signal.
    Crashed { signal: i32 },
    /// It ended by itself.
    Exited { code: i32 },
    /// A call did not come back, so it was killed.
    Hung { method: String },
    /// It reached its memory limit.
    OutOfMemory,
    /// It said what the protocol does not have, so it was killed.
    Protocol { fault: String },
    /// An operator asked for it.
    Restarted,
    /// Its socket closed and it went on, so it was killed.
    SocketClosed { inside_a_frame: bool },
    /// It did not come up.
    NotStarted { why: String },
}

impl End {
    /// What a status says when the daemon had no hand in it. `last_line` is the last that was printed.
    pub fn of(status: ExitStatus, last_line: &str, out_of_memory: bool) -> Self {
        // What Rust and the C++ runtime print before they abort for want of memory.
        let said_so = last_line.contains("memory allocation of") || last_line.contains("std::bad_alloc");
        match (status.signal(), status.code()) {
            _ if out_of_memory => Self::OutOfMemory,
            (Some(_), _) if said_so => Self::OutOfMemory,
            (Some(signal), _) => Self::Crashed { signal },
            (None, code) => Self::Exited { code: code.unwrap_or_default() },
        }
    }

    /// A word for figures and programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Crashed { .. } => "crashed",
            Self::Exited { .. } => "exited",
            Self::Hung { .. } => "hung",
            Self::NotStarted { .. } => "not_started",
            Self::OutOfMemory => "out_of_memory",
            Self::Protocol { .. } | Self::SocketClosed { .. } => "protocol",
            Self::Restarted => "restarted",
        }
    }

    /// It ended as it was to.
    pub const fn was_asked_for(&self) -> bool {
        matches!(self, Self::Closed | Self::Restarted)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it was closed"),
            Self::Crashed { signal } => write!(f, "it crashed ({})", signal_name(*signal)),
            Self::Exited { code } => write!(f, "it ended by itself with code {code}"),
            Self::Hung { method } => {
                write!(f, "{method} did not come back after its deadline and the grace, so it was killed")
            }
            Self::NotStarted { why } => write!(f, "it did not come up: {why}"),
            Self::OutOfMemory => f.write_str("it reached its memory limit"),
            Self::Protocol { fault } => write!(f, "it broke the protocol ({fault}), so it was killed"),
            Self::SocketClosed { inside_a_frame } => {
                let fault = if *inside_a_frame { "its socket closed inside a frame" } else { "it closed its socket" };
                write!(f, "it broke the protocol ({fault}), so it was killed")
            }
            Self::Restarted => f.write_str("it was restarted on request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_name() {
        let of = |raw, line, memory| End::of(ExitStatus::from_raw(raw), line, memory).to_string();
        assert_eq!(of(11, "", false), "it crashed (SIGSEGV)");
        assert_eq!(of(3 << 8, "", false), "it ended by itself with code 3");
        assert_eq!(of(6, "memory allocation of 4096 bytes failed", false), "it reached its memory limit");
        assert_eq!(of(9, "", true), "it reached its memory limit");
    }
}
