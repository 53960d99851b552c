//! Who starts, stops and reloads HAProxy.

mod command;
mod process;
mod systemd;

use std::time::Instant;

pub use command::{CommandError, run};
pub use process::Process;
pub use systemd::Systemd;

use crate::device::Fault;

/// One of the two ways.
pub enum Control<'a> {
    /// The daemon's program service.
    Process(Process<'a>),
    /// systemd.
    Systemd(Systemd<'a>),
}

impl Control<'_> {
    /// The program is there, whether it answers or not.
    pub fn is_running(&self, deadline: Instant) -> Result<bool, Fault> {
        match self {
            Self::Process(process) => process.is_running(),
            Self::Systemd(systemd) => systemd.is_running(deadline),
        }
    }

    /// What answers on the device's socket belongs to the program that this one controls. systemd ends what is left of a
    /// service whose main process was killed, and starts it again, so there nothing is asked.
    pub fn owns_what_answers(&self) -> Result<bool, Fault> {
        match self {
            Self::Process(process) => process.is_running(),
            Self::Systemd(_) => Ok(true),
        }
    }

    /// Starts it with the file that is in place. Returns as soon as it was started; whether it serves is asked of itself.
    pub fn start(&self, deadline: Instant) -> Result<(), Fault> {
        match self {
            Self::Process(process) => process.start(),
            Self::Systemd(systemd) => systemd.act("start", deadline),
        }
    }

    /// Ends it; returns when it is gone.
    pub fn stop(&self, deadline: Instant) -> Result<(), Fault> {
        match self {
            Self::Process(process) => process.stop(),
            Self::Systemd(systemd) => systemd.act("stop", deadline),
        }
    }

    /// Asks for a reload; `answers` says whether this version's master answers when it is done.
    pub fn reload(&self, answers: bool, deadline: Instant) -> Result<(), Fault> {
        match self {
            Self::Process(process) => process.reload(answers, deadline),
            Self::Systemd(systemd) => systemd.act("reload", deadline),
        }
    }

    /// Remembers where HAProxy's own messages end now.
    pub fn listen(&self) -> u64 {
        match self {
            Self::Process(process) => process.output_length(),
            Self::Systemd(_) => 0,
        }
    }

    /// What HAProxy said since; empty when it is not known.
    pub fn said_since(&self, mark: u64) -> String {
        match self {
            Self::Process(process) => process.output_since(mark),
            Self::Systemd(systemd) => format!("systemd's journal of {} has HAProxy's own words", systemd.service()),
        }
    }
}
