//! Reading packets from a stream with bounded memory.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::packet::{Decoded, FrameError, HEADER_LENGTH, Header, Magic, Packet, PacketError, decode, header};

/// What is read at once when nothing larger is announced.
const CHUNK: usize = 32 * 1024;

/// An empty buffer that grew beyond this is given back to the allocator.
const KEEP: usize = 1024 * 1024;

/// How much of an oversized body is kept, so that its first arguments (the handle of a job) can still be read.
const OVERSIZED_HEAD: usize = 4 * 1024;

/// The longest line of the text protocol.
const MAX_LINE: usize = 8 * 1024;

/// One thing read from a stream.
#[derive(Debug)]
pub enum Frame<'a> {
    /// A line of the text protocol, without its end.
    Line(&'a [u8]),
    /// A packet larger than the limit. Its head is given; the rest was skipped as it arrived, and never held. It is
    /// told once all of it has passed: gearmand frees a job as soon as it is answered, even while it is still sending
    /// that job, and closes the connection then.
    Oversized {
        /// The number of its type.
        kind: u32,
        /// Bytes of its body.
        size: usize,
        /// The front of its body.
        head: &'a [u8],
    },
    /// A packet.
    Packet {
        /// Which way it travels.
        magic: Magic,
        /// What it says, or why that is not clear.
        packet: Result<Packet<'a>, PacketError>,
    },
}

/// Bytes read from a stream and not yet consumed.
pub struct Frames {
    bytes: Vec<u8>,
    start: usize,
    skip: usize,
    /// The packet that is being skipped: type, size and the front of its body.
    oversized: Option<(u32, usize)>,
    head: Vec<u8>,
    limit: usize,
    text: bool,
}

impl Frames {
    /// Bodies up to `limit` bytes; `text` admits lines of the text protocol.
    pub fn new(limit: usize, text: bool) -> Frames {
        Frames { bytes: Vec::new(), start: 0, skip: 0, oversized: None, head: Vec::new(), limit, text }
    }

    /// Reads once; 0 is the end of the stream. Cancel safe.
    ///
    /// # Errors
    /// The stream's.
    pub async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> std::io::Result<usize> {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > KEEP {
                self.bytes = Vec::new();
            }
        } else if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.capacity() - self.bytes.len() < CHUNK / 4 {
            // Doubling, never by what a header claims: memory follows what really arrived.
            self.bytes.reserve(self.bytes.len().max(CHUNK));
        }
        stream.read_buf(&mut self.bytes).await
    }

    /// Begins to skip a packet that is larger than the limit, once its head is there.
    fn notice_oversized(&mut self) {
        let pending = self.bytes.get(self.start..).unwrap_or_default();
        let (None, Ok(Some(Header { kind, size, .. }))) = (self.oversized, header(pending)) else {
            return;
        };
        if self.skip == 0 && size > self.limit {
            let head = size.min(OVERSIZED_HEAD);
            if let Some(head) = pending.get(HEADER_LENGTH..HEADER_LENGTH + head) {
                self.head = head.to_vec();
                self.start += HEADER_LENGTH + head.len();
                self.skip = size - head.len();
                self.oversized = Some((kind, size));
            }
        }
    }

    /// The next whole frame; `None` when more must be read. What comes does not depend on the pieces in which it came.
    ///
    /// # Errors
    /// [`FrameError`]: another protocol, or a line without end. The stream cannot be read further.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        self.notice_oversized();
        if self.skip > 0 {
            let here = self.skip.min(self.bytes.len() - self.start);
            self.skip -= here;
            self.start += here;
            if self.skip > 0 {
                return Ok(None);
            }
        }
        if let Some((kind, size)) = self.oversized.take() {
            let head = &self.head;
            return Ok(Some(Frame::Oversized { kind, size, head }));
        }
        let begin = self.start;
        let Some(pending) = self.bytes.get(begin..).filter(|pending| !pending.is_empty()) else {
            return Ok(None);
        };
        if self.text && pending.first() != Some(&0) {
            let end = pending.iter().position(|byte| *byte == b'\n');
            if end.unwrap_or(pending.len()) > MAX_LINE {
                return Err(FrameError::TooLarge { kind: 0, size: end.unwrap_or(pending.len()), limit: MAX_LINE });
            }
            let Some(end) = end else { return Ok(None) };
            self.start = begin + end + 1;
            let line = pending.get(..end).unwrap_or_default();
            return Ok(Some(Frame::Line(line.strip_suffix(b"\r").unwrap_or(line))));
        }
        match decode(pending, self.limit) {
            Ok(Decoded::Incomplete { .. }) => Ok(None),
            Ok(Decoded::Whole { magic, packet, consumed, .. }) => {
                self.start = begin + consumed;
                Ok(Some(Frame::Packet { magic, packet }))
            }
            // Noticed above, and its head has not arrived yet.
            Err(FrameError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Grab, Priority};
    use super::*;

    async fn read(bytes: &[u8], limit: usize) -> Vec<String> {
        let mut frames = Frames::new(limit, true);
        let mut seen = Vec::new();
        // One byte at a time: every boundary is met.
        for byte in bytes {
            let mut one = std::slice::from_ref(byte);
            frames.fill(&mut one).await.unwrap();
            loop {
                match frames.next_frame() {
                    Ok(Some(Frame::Packet { packet: Ok(packet), .. })) => seen.push(format!("{}", packet.kind())),
                    Ok(Some(Frame::Line(line))) => seen.push(String::from_utf8_lossy(line).into_owned()),
                    Ok(Some(Frame::Oversized { kind, size, head })) => {
                        seen.push(format!("{kind} of {size}, head {}", head.len()));
                    }
                    Ok(Some(other)) => seen.push(format!("{other:?}")),
                    Ok(None) => break,
                    Err(error) => {
                        seen.push(error.to_string());
                        return seen;
                    }
                }
            }
        }
        seen
    }

    // G06
    #[tokio::test]
    async fn an_oversized_packet_is_skipped_and_the_next_is_read() {
        let payload = vec![7; 9000];
        let large = Packet::Submit {
            priority: Priority::Normal,
            background: false,
            function: b"f",
            unique: b"",
            payload: &payload,
        };
        let mut bytes = large.to_bytes(Magic::Request);
        Packet::GrabJob(Grab::Unique).encode(Magic::Request, &mut bytes);
        bytes.extend_from_slice(b"version\r\nstatus\n");
        Packet::PreSleep.encode(Magic::Request, &mut bytes);
        assert_eq!(read(&bytes, 1000).await, ["7 of 9003, head 4096", "30", "version", "status", "4"]);
        assert_eq!(read(&bytes, 10_000).await, ["7", "30", "version", "status", "4"]);
    }

    // G06
    #[tokio::test]
    async fn an_oversized_packet_is_told_when_all_of_it_has_passed() {
        let bytes = Packet::EchoReq { data: &[7; 9000] }.to_bytes(Magic::Request);
        assert!(read(&bytes[..bytes.len() - 1], 1000).await.is_empty());
        assert_eq!(read(&bytes, 1000).await, ["16 of 9000, head 4096"]);
    }

    // G06
    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let seen = read(&[b'x'; MAX_LINE + 2], 1000).await;
        assert!(seen.len() == 1 && seen[0].contains("limit of 8192"), "{seen:?}");
        // Its end may have come along with it.
        let mut frames = Frames::new(1000, true);
        let line = [&[b'x'; MAX_LINE + 1][..], b"\n"].concat();
        frames.fill(&mut &line[..]).await.unwrap();
        assert!(frames.next_frame().unwrap_err().to_string().contains("limit of 8192"));
        let line = [&[b'x'; MAX_LINE][..], b"\n"].concat();
        assert_eq!(read(&line, 1000).await, ["x".repeat(MAX_LINE)]);
    }
}
