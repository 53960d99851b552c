//! Gearman's packets and the text protocol: whatever the bytes and however they arrive, the same frames come of them.
#![no_main]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use capstan::jobs::{
    frames::{Frame, Frames},
    packet::{Decoded, HEADER_LENGTH, decode, decode_packet},
};
use capstan_fuzz::Source;
use libfuzzer_sys::fuzz_target;

/// Reads once. Memory is always ready, so one poll is enough.
fn fill(frames: &mut Frames, bytes: &mut &[u8]) {
    match pin!(frames.fill(bytes)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => drop(read.expect("memory can be read")),
        Poll::Pending => unreachable!("memory is always ready"),
    }
}

/// Everything that comes of the bytes when they arrive in pieces of these sizes, in words.
fn read(mut bytes: &[u8], limit: usize, text: bool, mut size: impl FnMut() -> usize) -> Vec<String> {
    let (mut frames, mut seen) = (Frames::new(limit, text), Vec::new());
    while !bytes.is_empty() {
        let (mut piece, rest) = bytes.split_at(size().clamp(1, bytes.len()));
        bytes = rest;
        while !piece.is_empty() {
            fill(&mut frames, &mut piece);
            loop {
                match frames.next_frame() {
                    Ok(Some(frame)) => seen.push(told(&frame)),
                    Ok(None) => break,
                    // What exactly is found depends on how much has arrived; that it is an error does not.
                    Err(_) => {
                        seen.push("error".to_owned());
                        return seen;
                    }
                }
            }
        }
    }
    seen
}

fn told(frame: &Frame<'_>) -> String {
    if let Frame::Packet { magic, packet: Ok(packet) } = frame {
        let again = packet.to_bytes(*magic);
        assert_eq!(decode_packet(packet.kind(), &again[HEADER_LENGTH..]), Ok(*packet), "written and read again");
        assert_eq!(packet.body_length(), again.len() - HEADER_LENGTH);
    }
    format!("{frame:?}")
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let text = source.coin();
    let limit = source.one(&[0, 3, 100, 5000, 1 << 20]);
    let sizes: Vec<usize> = (0..4).map(|_| source.one(&[1, 2, 11, 12, 13, 100, 4096, 40_000])).collect();
    let bytes = source.0;

    match decode(bytes, limit) {
        Ok(Decoded::Whole { consumed, .. }) => assert!(consumed <= bytes.len() && consumed <= limit + HEADER_LENGTH),
        Ok(Decoded::Incomplete { needed }) => assert!(needed > bytes.len()),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
    let whole = read(bytes, limit, text, || usize::MAX);
    let mut turn = sizes.iter().cycle();
    let pieces = read(bytes, limit, text, || turn.next().copied().unwrap_or(1));
    let differs = whole.iter().zip(&pieces).position(|(whole, piece)| whole != piece);
    assert!(whole == pieces, "in pieces of {sizes:?}: frame {differs:?}; {} and {} frames", whole.len(), pieces.len());
});
