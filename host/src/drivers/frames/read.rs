//! From bytes as they come to whole frames.

use std::io;

use thiserror::Error;

use super::LONGEST_FRAME;

/// Bytes asked for at a time.
const CHUNK: usize = 16 << 10;
/// A buffer that grew beyond this for one long frame is given back afterwards.
const KEPT: usize = 256 << 10;

/// A stream that is not made of frames.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameFault {
    /// The length is more than is allowed.
    #[error("a frame of {found} bytes, at most {LONGEST_FRAME} are taken")]
    TooLong {
        /// What the first four bytes say.
        found: usize,
    },
    /// The length is zero.
    #[error("an empty frame")]
    Empty,
}

/// Collects bytes and gives out frames. Memory follows what has come, not what a length promises.
#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Where the bytes begin that have not been given out.
    start: usize,
    /// Where those end that have come.
    end: usize,
}

impl FrameReader {
    /// Takes in what one `read` gives; answers how much that was, and 0 at the end of the stream.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() - self.end < CHUNK {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            // Twice what there is, so that a long frame is copied a few times only.
            let room = (2 * self.end).max(self.end + CHUNK);
            if room > self.buffer.len() {
                self.buffer.resize(room, 0);
            }
        }
        let count = read(&mut self.buffer[self.end..])?.min(self.buffer.len() - self.end);
        self.end += count;
        Ok(count)
    }

    /// The next whole frame, without its length; none until more bytes have come.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameFault> {
        let bytes = &self.buffer[self.start..self.end];
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 {
            return Err(FrameFault::Empty);
        }
        if length > LONGEST_FRAME {
            return Err(FrameFault::TooLong { found: length });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let begin = self.start + 4;
        self.start = begin + length;
        Ok(Some(&self.buffer[begin..begin + length]))
    }

    /// Part of a frame has come, and the rest has not.
    pub fn is_inside_a_frame(&self) -> bool {
        self.start < self.end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drivers::frames::write::write_frame;

    fn read_in_pieces(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Option<FrameFault>) {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        let mut left = stream;
        let mut sizes = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
        loop {
            let size = sizes.next().unwrap().clamp(1, left.len().max(1));
            let count = reader
                .fill(|room| {
                    let count = size.min(left.len()).min(room.len());
                    room[..count].copy_from_slice(&left[..count]);
                    Ok(count)
                })
                .unwrap();
            left = &left[count..];
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(fault) => return (frames, Some(fault)),
                }
            }
            if count == 0 {
                assert_eq!(reader.is_inside_a_frame(), reader.start < reader.end);
                return (frames, None);
            }
        }
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_are_cut(
            texts in prop::collection::vec(".{0,40000}", 0..6),
            pieces in prop::collection::vec(1_usize..50_000, 0..40),
        ) {
            let mut stream = Vec::new();
            for text in &texts {
                write_frame(&mut stream, text).unwrap();
            }
            let (frames, fault) = read_in_pieces(&stream, &pieces);
            prop_assert_eq!(fault, None);
            let read: Vec<String> = frames.iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect();
            prop_assert_eq!(read, texts);
        }

        #[test]
        fn any_bytes_are_frames_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let whole = read_in_pieces(&bytes, &[]);
            let cut = read_in_pieces(&bytes, &[1; 2000]);
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn a_promise_takes_no_memory() {
        let mut reader = FrameReader::default();
        let promise = (LONGEST_FRAME as u32).to_be_bytes();
        reader
            .fill(|room| {
                room[..4].copy_from_slice(&promise);
                Ok(4)
            })
            .unwrap();
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.buffer.len() <= 2 * CHUNK);
        assert!(reader.is_inside_a_frame());
    }
}
