//! The binary protocol: typed packets and their bytes.
//!
//! A packet is a header of 12 bytes (magic `\0REQ` or `\0RES`, type, length of the body; both numbers big-endian) and a
//! body of arguments separated by NUL bytes. Where a packet carries opaque data it is the last argument and runs to the
//! end of the body, so it may hold any byte. Everything sent to a job server is a request, everything it sends a
//! response. `docs/contract/gearman.md` lists the packets spoken.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{Decoded, FrameError, PacketError, decode, decode_packet};
pub(in crate::jobs) use decode::{Header, header};

/// Bytes of a packet's header.
pub const HEADER_LENGTH: usize = 12;

/// The largest body a decoder accepts unless told otherwise: 64 MiB.
pub const DEFAULT_MAX_PACKET: usize = 64 * 1024 * 1024;

/// The longest job handle in bytes; the protocol counts 64 with its terminating NUL.
pub const MAX_HANDLE: usize = 63;

/// The longest unique id in bytes that gearmand accepts.
pub const MAX_UNIQUE: usize = 64;

/// The longest function name in bytes; libgearman's own limit is 512 with the NUL.
pub const MAX_FUNCTION: usize = 511;

/// Which way a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// `\0REQ`: to the job server.
    Request,
    /// `\0RES`: from the job server.
    Response,
}

impl Magic {
    /// The four bytes that open a packet.
    pub const fn bytes(self) -> [u8; 4] {
        match self {
            Magic::Request => *b"\0REQ",
            Magic::Response => *b"\0RES",
        }
    }
}

/// How urgent a job is. Each function has one queue for each priority; a lower one waits until the higher are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// What SUBMIT_JOB means.
    #[default]
    Normal,
    /// After all others.
    Low,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
}

/// What a worker wants in the answer when it asks for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grab {
    /// JOB_ASSIGN: no unique id.
    Plain,
    /// JOB_ASSIGN_UNIQ.
    Unique,
    /// JOB_ASSIGN_ALL: with the reducer, where there is one.
    All,
}

/// One packet. Fields borrow from the buffer it was read from.
///
/// All fields but those called `payload`, `data` and `result` must be free of NUL bytes: [`Packet::encode`] does not
/// check it, [`decode`] never yields another. Numbers stay in the text form in which they came, since job servers pass
/// them on unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "variants and fields carry the protocol's own names")]
pub enum Packet<'a> {
    CanDo {
        function: &'a [u8],
    },
    CanDoTimeout {
        function: &'a [u8],
        seconds: &'a [u8],
    },
    CantDo {
        function: &'a [u8],
    },
    ResetAbilities,
    SetClientId {
        id: &'a [u8],
    },
    PreSleep,
    Noop,
    AllYours,
    Submit {
        priority: Priority,
        background: bool,
        function: &'a [u8],
        unique: &'a [u8],
        payload: &'a [u8],
    },
    JobCreated {
        handle: &'a [u8],
    },
    GrabJob(Grab),
    NoJob,
    JobAssign {
        handle: &'a [u8],
        function: &'a [u8],
        payload: &'a [u8],
    },
    JobAssignUnique {
        handle: &'a [u8],
        function: &'a [u8],
        unique: &'a [u8],
        payload: &'a [u8],
    },
    JobAssignAll {
        handle: &'a [u8],
        function: &'a [u8],
        unique: &'a [u8],
        reducer: &'a [u8],
        payload: &'a [u8],
    },
    WorkStatus {
        handle: &'a [u8],
        numerator: &'a [u8],
        denominator: &'a [u8],
    },
    WorkComplete {
        handle: &'a [u8],
        result: &'a [u8],
    },
    WorkFail {
        handle: &'a [u8],
    },
    WorkException {
        handle: &'a [u8],
        data: &'a [u8],
    },
    WorkData {
        handle: &'a [u8],
        data: &'a [u8],
    },
    WorkWarning {
        handle: &'a [u8],
        data: &'a [u8],
    },
    GetStatus {
        handle: &'a [u8],
    },
    StatusRes {
        handle: &'a [u8],
        known: &'a [u8],
        running: &'a [u8],
        numerator: &'a [u8],
        denominator: &'a [u8],
    },
    GetStatusUnique {
        unique: &'a [u8],
    },
    StatusResUnique {
        unique: &'a [u8],
        known: &'a [u8],
        running: &'a [u8],
        numerator: &'a [u8],
        denominator: &'a [u8],
        clients: &'a [u8],
    },
    EchoReq {
        data: &'a [u8],
    },
    EchoRes {
        data: &'a [u8],
    },
    OptionReq {
        name: &'a [u8],
    },
    OptionRes {
        name: &'a [u8],
    },
    Error {
        code: &'a [u8],
        text: &'a [u8],
    },
}

impl Packet<'_> {
    /// The protocol's number for this packet.
    pub fn kind(&self) -> u32 {
        match self {
            Packet::CanDo { .. } => 1,
            Packet::CantDo { .. } => 2,
            Packet::ResetAbilities => 3,
            Packet::PreSleep => 4,
            Packet::Noop => 6,
            Packet::Submit { priority: Priority::Normal, background: false, .. } => 7,
            Packet::JobCreated { .. } => 8,
            Packet::GrabJob(Grab::Plain) => 9,
            Packet::NoJob => 10,
            Packet::JobAssign { .. } => 11,
            Packet::WorkStatus { .. } => 12,
            Packet::WorkComplete { .. } => 13,
            Packet::WorkFail { .. } => 14,
            Packet::GetStatus { .. } => 15,
            Packet::EchoReq { .. } => 16,
            Packet::EchoRes { .. } => 17,
            Packet::Submit { priority: Priority::Normal, background: true, .. } => 18,
            Packet::Error { .. } => 19,
            Packet::StatusRes { .. } => 20,
            Packet::Submit { priority: Priority::High, background: false, .. } => 21,
            Packet::SetClientId { .. } => 22,
            Packet::CanDoTimeout { .. } => 23,
            Packet::AllYours => 24,
            Packet::WorkException { .. } => 25,
            Packet::OptionReq { .. } => 26,
            Packet::OptionRes { .. } => 27,
            Packet::WorkData { .. } => 28,
            Packet::WorkWarning { .. } => 29,
            Packet::GrabJob(Grab::Unique) => 30,
            Packet::JobAssignUnique { .. } => 31,
            Packet::Submit { priority: Priority::High, background: true, .. } => 32,
            Packet::Submit { priority: Priority::Low, background: false, .. } => 33,
            Packet::Submit { priority: Priority::Low, background: true, .. } => 34,
            Packet::GrabJob(Grab::All) => 39,
            Packet::JobAssignAll { .. } => 40,
            Packet::GetStatusUnique { .. } => 41,
            Packet::StatusResUnique { .. } => 42,
        }
    }
}

/// The protocol's name of a packet type, for messages; `UNKNOWN` for numbers it does not define.
pub fn kind_name(kind: u32) -> &'static str {
    const NAMES: [&str; 43] = [
        "TEXT",
        "CAN_DO",
        "CANT_DO",
        "RESET_ABILITIES",
        "PRE_SLEEP",
        "UNUSED",
        "NOOP",
        "SUBMIT_JOB",
        "JOB_CREATED",
        "GRAB_JOB",
        "NO_JOB",
        "JOB_ASSIGN",
        "WORK_STATUS",
        "WORK_COMPLETE",
        "WORK_FAIL",
        "GET_STATUS",
        "ECHO_REQ",
        "ECHO_RES",
        "SUBMIT_JOB_BG",
        "ERROR",
        "STATUS_RES",
        "SUBMIT_JOB_HIGH",
        "SET_CLIENT_ID",
        "CAN_DO_TIMEOUT",
        "ALL_YOURS",
        "WORK_EXCEPTION",
        "OPTION_REQ",
        "OPTION_RES",
        "WORK_DATA",
        "WORK_WARNING",
        "GRAB_JOB_UNIQ",
        "JOB_ASSIGN_UNIQ",
        "SUBMIT_JOB_HIGH_BG",
        "SUBMIT_JOB_LOW",
        "SUBMIT_JOB_LOW_BG",
        "SUBMIT_JOB_SCHED",
        "SUBMIT_JOB_EPOCH",
        "SUBMIT_REDUCE_JOB",
        "SUBMIT_REDUCE_JOB_BACKGROUND",
        "GRAB_JOB_ALL",
        "JOB_ASSIGN_ALL",
        "GET_STATUS_UNIQUE",
        "STATUS_RES_UNIQUE",
    ];
    usize::try_from(kind).ok().and_then(|index| NAMES.get(index)).copied().unwrap_or("UNKNOWN")
}

/// Reads the decimal number at the front of an argument, as job servers do: no digits is 0, too many saturate.
pub fn leading_number(text: &[u8]) -> u32 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0_u32, |sum, byte| sum.saturating_mul(10).saturating_add(u32::from(byte - b'0')))
}
