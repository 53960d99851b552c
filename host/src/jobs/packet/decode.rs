//! From bytes to packets. Nothing here panics, whatever the bytes.

use super::{Grab, HEADER_LENGTH, Magic, Packet, Priority, kind_name};

/// Why the bytes at the front of a buffer are no packet. The stream cannot be read further after `BadMagic`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The four bytes that open a packet are something else.
    #[error(
        "expected a Gearman packet (magic \"\\0REQ\" or \"\\0RES\"), found the bytes \"{}\": {}",
        .found.escape_ascii(),
        spoken(*.found)
    )]
    BadMagic {
        /// What was there.
        found: [u8; 4],
    },
    /// The header announces more than the limit.
    #[error(
        "a {} packet of {size} bytes is larger than the limit of {limit} bytes: send less, or raise the limit",
        kind_name(*.kind)
    )]
    TooLarge {
        /// The type in the header.
        kind: u32,
        /// The length in the header.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// Why a whole packet could not be understood. Its end is known, so a reader may go on with the next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// An argument that must not hold one holds a NUL byte, or there are more arguments than the type has.
    #[error("malformed {} packet: {argument} holds a NUL byte or is followed by further arguments", kind_name(*.kind))]
    ExtraArgument {
        /// The packet's type.
        kind: u32,
        /// Which argument.
        argument: &'static str,
    },
    /// The body ends before an argument is complete.
    #[error("malformed {} packet: the NUL byte after {argument} is missing", kind_name(*.kind))]
    MissingArgument {
        /// The packet's type.
        kind: u32,
        /// Which argument.
        argument: &'static str,
    },
    /// A type that this program does not speak.
    #[error("packet type {kind} ({}) is not spoken here", kind_name(*.kind))]
    NotSpoken {
        /// The packet's type.
        kind: u32,
    },
}

/// What the other side speaks, and what to do about it. A record of TLS begins with an alert (0x15) or a handshake (0x16) of version 3.
fn spoken(found: [u8; 4]) -> &'static str {
    match found {
        [0x15 | 0x16, 3, ..] => {
            "the other side speaks TLS; this side does once gearman.ssl_ca, gearman.ssl_cert and gearman.ssl_key are set"
        }
        _ => "the other side speaks another protocol; see that the port is a job server's",
    }
}

/// The outcome of looking at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The packet is not complete; at least this many bytes are needed in all.
    Incomplete {
        /// Bytes from the start of the buffer.
        needed: usize,
    },
    /// A whole packet.
    Whole {
        /// Which way it travels.
        magic: Magic,
        /// The number of its type.
        kind: u32,
        /// What it says, or why that is not clear.
        packet: Result<Packet<'a>, PacketError>,
        /// Bytes it took, header included.
        consumed: usize,
    },
}

/// A header, checked for its magic alone.
pub(in crate::jobs) struct Header {
    pub magic: Magic,
    pub kind: u32,
    pub size: usize,
}

/// Reads the header at the front of `buffer`; `None` while it is incomplete. A wrong magic is told from its first bytes.
pub(in crate::jobs) fn header(buffer: &[u8]) -> Result<Option<Header>, FrameError> {
    let seen = buffer.len().min(4);
    let begins = |magic: Magic| buffer.get(..seen) == magic.bytes().get(..seen);
    let magic = if begins(Magic::Request) {
        Magic::Request
    } else if begins(Magic::Response) {
        Magic::Response
    } else {
        let mut found = [0; 4];
        for (place, byte) in found.iter_mut().zip(buffer) {
            *place = *byte;
        }
        return Err(FrameError::BadMagic { found });
    };
    let Some((_, rest)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some((kind, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some((size, _)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
    Ok(Some(Header { magic, kind: u32::from_be_bytes(*kind), size }))
}

/// Looks at the front of `buffer` for one packet whose body is at most `limit` bytes.
///
/// # Errors
/// [`FrameError`]: wrong magic, or a body that is announced larger than `limit` (told before it arrives).
pub fn decode(buffer: &[u8], limit: usize) -> Result<Decoded<'_>, FrameError> {
    let Some(header) = header(buffer)? else {
        return Ok(Decoded::Incomplete { needed: HEADER_LENGTH });
    };
    if header.size > limit {
        return Err(FrameError::TooLarge { kind: header.kind, size: header.size, limit });
    }
    let needed = HEADER_LENGTH + header.size;
    let Some(body) = buffer.get(HEADER_LENGTH..needed) else {
        return Ok(Decoded::Incomplete { needed });
    };
    Ok(Decoded::Whole {
        magic: header.magic,
        kind: header.kind,
        packet: decode_packet(header.kind, body),
        consumed: needed,
    })
}

struct Arguments<'a> {
    kind: u32,
    rest: &'a [u8],
}

impl<'a> Arguments<'a> {
    /// The next argument, which a NUL byte ends.
    fn next(&mut self, argument: &'static str) -> Result<&'a [u8], PacketError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let (Some(found), Some(rest)) =
            (end.and_then(|end| self.rest.get(..end)), end.and_then(|end| self.rest.get(end + 1..)))
        else {
            return Err(PacketError::MissingArgument { kind: self.kind, argument });
        };
        self.rest = rest;
        Ok(found)
    }

    /// The last argument where it is not opaque. libgearman ends some of them with a NUL byte and some not.
    fn last(&mut self, argument: &'static str) -> Result<&'a [u8], PacketError> {
        let found = self.rest.strip_suffix(&[0]).unwrap_or(self.rest);
        if found.contains(&0) {
            return Err(PacketError::ExtraArgument { kind: self.kind, argument });
        }
        Ok(found)
    }
}

fn submit(priority: Priority, background: bool, mut arguments: Arguments<'_>) -> Result<Packet<'_>, PacketError> {
    let function = arguments.next("the function")?;
    let unique = arguments.next("the unique id")?;
    Ok(Packet::Submit { priority, background, function, unique, payload: arguments.rest })
}

/// Reads a body of the given type.
///
/// # Errors
/// [`PacketError`] when the type is not spoken or its arguments are not there.
pub fn decode_packet(kind: u32, body: &[u8]) -> Result<Packet<'_>, PacketError> {
    let mut arguments = Arguments { kind, rest: body };
    let packet = match kind {
        1 => Packet::CanDo { function: arguments.last("the function")? },
        2 => Packet::CantDo { function: arguments.last("the function")? },
        3 => Packet::ResetAbilities,
        4 => Packet::PreSleep,
        6 => Packet::Noop,
        7 => submit(Priority::Normal, false, arguments)?,
        8 => Packet::JobCreated { handle: arguments.last("the handle")? },
        9 => Packet::GrabJob(Grab::Plain),
        10 => Packet::NoJob,
        11 => Packet::JobAssign {
            handle: arguments.next("the handle")?,
            function: arguments.next("the function")?,
            payload: arguments.rest,
        },
        12 => Packet::WorkStatus {
            handle: arguments.next("the handle")?,
            numerator: arguments.next("the numerator")?,
            denominator: arguments.last("the denominator")?,
        },
        13 => Packet::WorkComplete { handle: arguments.next("the handle")?, result: arguments.rest },
        14 => Packet::WorkFail { handle: arguments.last("the handle")? },
        15 => Packet::GetStatus { handle: arguments.last("the handle")? },
        16 => Packet::EchoReq { data: body },
        17 => Packet::EchoRes { data: body },
        18 => submit(Priority::Normal, true, arguments)?,
        19 => Packet::Error { code: arguments.next("the error code")?, text: arguments.last("the error text")? },
        20 => Packet::StatusRes {
            handle: arguments.next("the handle")?,
            known: arguments.next("the known flag")?,
            running: arguments.next("the running flag")?,
            numerator: arguments.next("the numerator")?,
            denominator: arguments.last("the denominator")?,
        },
        21 => submit(Priority::High, false, arguments)?,
        22 => Packet::SetClientId { id: arguments.last("the client id")? },
        23 => Packet::CanDoTimeout {
            function: arguments.next("the function")?,
            seconds: arguments.last("the time limit")?,
        },
        24 => Packet::AllYours,
        25 => Packet::WorkException { handle: arguments.next("the handle")?, data: arguments.rest },
        26 => Packet::OptionReq { name: arguments.last("the option")? },
        27 => Packet::OptionRes { name: arguments.last("the option")? },
        28 => Packet::WorkData { handle: arguments.next("the handle")?, data: arguments.rest },
        29 => Packet::WorkWarning { handle: arguments.next("the handle")?, data: arguments.rest },
        30 => Packet::GrabJob(Grab::Unique),
        31 => Packet::JobAssignUnique {
            handle: arguments.next("the handle")?,
            function: arguments.next("the function")?,
            unique: arguments.next("the unique id")?,
            payload: arguments.rest,
        },
        32 => submit(Priority::High, true, arguments)?,
        33 => submit(Priority::Low, false, arguments)?,
        34 => submit(Priority::Low, true, arguments)?,
        39 => Packet::GrabJob(Grab::All),
        40 => Packet::JobAssignAll {
            handle: arguments.next("the handle")?,
            function: arguments.next("the function")?,
            unique: arguments.next("the unique id")?,
            reducer: arguments.next("the reducer")?,
            payload: arguments.rest,
        },
        41 => Packet::GetStatusUnique { unique: arguments.last("the unique id")? },
        42 => Packet::StatusResUnique {
            unique: arguments.next("the unique id")?,
            known: arguments.next("the known flag")?,
            running: arguments.next("the running flag")?,
            numerator: arguments.next("the numerator")?,
            denominator: arguments.next("the denominator")?,
            clients: arguments.last("the number of clients")?,
        },
        _ => return Err(PacketError::NotSpoken { kind }),
    };
    Ok(packet)
}
