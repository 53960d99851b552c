//! The frames between the daemon and a driver in a process of its own: `docs/driver-protocol.md`.
//!
//! A frame is its length in four bytes, the most significant first, and one JSON object with one member, whose name is the
//! kind of message. Members that a side does not know are ignored.

mod hello;
mod message;
mod read;
mod write;

pub use hello::HelloFault;
pub use message::{
    Answer, Ask, Call, CallId, Ending, Failed, FromDriver, FromHost, Hello, Level, Log, Open, PROTOCOL, Reply,
    read_message,
};
pub use read::{FrameFault, FrameReader};
pub use write::{FrameTooLarge, frame};

/// No frame is longer, either way: the longest body of the boundary and what stands around it.
pub const LONGEST_FRAME: usize = super::boundary::LONGEST_BODY + (64 << 10);
