//! The frames between the daemon and a driver in a process of its own: `docs/driver-protocol.md`.
//!
//! A frame is its length in four bytes, the most significant first, and one JSON object with one member, whose name is the
//! kind of message. Members that a side does not know are ignored.

mod message;
mod read;
mod write;

pub(super) use message::{
    Answer, Ask, Call, CallId, Ending, Failed, FromDriver, FromHost, Hello, Level, Log, Open, PROTOCOL, Reply,
};
pub(super) use read::FrameReader;
pub(super) use write::frame;

/// No frame is longer, either way: the longest body of the boundary and what stands around it.
pub(super) const LONGEST_FRAME: usize = super::boundary::LONGEST_BODY + (64 << 10);
