//! From packets to bytes.

use super::{HEADER_LENGTH, Magic, Packet};

impl<'a> Packet<'a> {
    /// The arguments in the order of the wire, unused places empty, and how many there are.
    fn arguments(&self) -> ([&'a [u8]; 6], usize) {
        fn list<'a, const N: usize>(given: [&'a [u8]; N]) -> ([&'a [u8]; 6], usize) {
            let mut all: [&'a [u8]; 6] = [&[]; 6];
            for (place, argument) in all.iter_mut().zip(given) {
                *place = argument;
            }
            (all, N)
        }
        match *self {
            Packet::ResetAbilities
            | Packet::PreSleep
            | Packet::Noop
            | Packet::AllYours
            | Packet::GrabJob(_)
            | Packet::NoJob => list([]),
            Packet::CanDo { function } | Packet::CantDo { function } => list([function]),
            Packet::CanDoTimeout { function, seconds } => list([function, seconds]),
            Packet::SetClientId { id } => list([id]),
            Packet::Submit { function, unique, payload, .. } => list([function, unique, payload]),
            Packet::JobCreated { handle } | Packet::WorkFail { handle } | Packet::GetStatus { handle } => {
                list([handle])
            }
            Packet::JobAssign { handle, function, payload } => list([handle, function, payload]),
            Packet::JobAssignUnique { handle, function, unique, payload } => list([handle, function, unique, payload]),
            Packet::JobAssignAll { handle, function, unique, reducer, payload } => {
                list([handle, function, unique, reducer, payload])
            }
            Packet::WorkStatus { handle, numerator, denominator } => list([handle, numerator, denominator]),
            Packet::WorkComplete { handle, result } => list([handle, result]),
            Packet::WorkException { handle, data }
            | Packet::WorkData { handle, data }
            | Packet::WorkWarning { handle, data } => list([handle, data]),
            Packet::StatusRes { handle, known, running, numerator, denominator } => {
                list([handle, known, running, numerator, denominator])
            }
            Packet::GetStatusUnique { unique } => list([unique]),
            Packet::StatusResUnique { unique, known, running, numerator, denominator, clients } => {
                list([unique, known, running, numerator, denominator, clients])
            }
            Packet::EchoReq { data } | Packet::EchoRes { data } => list([data]),
            Packet::OptionReq { name } | Packet::OptionRes { name } => list([name]),
            Packet::Error { code, text } => list([code, text]),
        }
    }

    /// Bytes of the body.
    pub fn body_length(&self) -> usize {
        let (arguments, count) = self.arguments();
        arguments.iter().take(count).map(|argument| argument.len()).sum::<usize>() + count.saturating_sub(1)
    }

    /// Appends the packet to `out`. The caller keeps bodies below 4 GiB (every public entry of this room bounds what it
    /// takes far lower) and arguments free of NUL bytes.
    pub fn encode(&self, magic: Magic, out: &mut Vec<u8>) {
        let (arguments, count) = self.arguments();
        let length = self.body_length();
        out.reserve(HEADER_LENGTH + length);
        out.extend_from_slice(&magic.bytes());
        out.extend_from_slice(&self.kind().to_be_bytes());
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        for (index, argument) in arguments.iter().take(count).enumerate() {
            if index > 0 {
                out.push(0);
            }
            out.extend_from_slice(argument);
        }
    }

    /// The packet as bytes of its own.
    pub fn to_bytes(&self, magic: Magic) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(magic, &mut out);
        out
    }
}
