//! Round trips and hostile bytes.

use proptest::prelude::*;

use super::{Decoded, FrameError, Grab, Magic, Packet, PacketError, Priority, decode, decode_packet, leading_number};

fn word() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1_u8..=255, 0..40)
}

fn whole(bytes: &[u8]) -> Packet<'_> {
    match decode(bytes, 1 << 20) {
        Ok(Decoded::Whole { packet: Ok(packet), consumed, .. }) if consumed == bytes.len() => packet,
        other => panic!("{bytes:?} gave {other:?}"),
    }
}

/// Every packet type, with its arguments filled from the pool.
fn every<'a>(pool: &'a [Vec<u8>], data: &'a [u8]) -> Vec<Packet<'a>> {
    let word = |index: usize| pool[index].as_slice();
    let mut all = vec![
        Packet::CanDo { function: word(0) },
        Packet::CanDoTimeout { function: word(0), seconds: word(1) },
        Packet::CantDo { function: word(0) },
        Packet::ResetAbilities,
        Packet::SetClientId { id: word(0) },
        Packet::PreSleep,
        Packet::Noop,
        Packet::AllYours,
        Packet::JobCreated { handle: word(0) },
        Packet::GrabJob(Grab::Plain),
        Packet::GrabJob(Grab::Unique),
        Packet::GrabJob(Grab::All),
        Packet::NoJob,
        Packet::JobAssign { handle: word(0), function: word(1), payload: data },
        Packet::JobAssignUnique { handle: word(0), function: word(1), unique: word(2), payload: data },
        Packet::JobAssignAll { handle: word(0), function: word(1), unique: word(2), reducer: word(3), payload: data },
        Packet::WorkStatus { handle: word(0), numerator: word(1), denominator: word(2) },
        Packet::WorkComplete { handle: word(0), result: data },
        Packet::WorkFail { handle: word(0) },
        Packet::WorkException { handle: word(0), data },
        Packet::WorkData { handle: word(0), data },
        Packet::WorkWarning { handle: word(0), data },
        Packet::GetStatus { handle: word(0) },
        Packet::StatusRes {
            handle: word(0),
            known: word(1),
            running: word(2),
            numerator: word(3),
            denominator: word(4),
        },
        Packet::GetStatusUnique { unique: word(0) },
        Packet::StatusResUnique {
            unique: word(0),
            known: word(1),
            running: word(2),
            numerator: word(3),
            denominator: word(4),
            clients: word(5),
        },
        Packet::EchoReq { data },
        Packet::EchoRes { data },
        Packet::OptionReq { name: word(0) },
        Packet::OptionRes { name: word(0) },
        Packet::Error { code: word(0), text: word(1) },
    ];
    for priority in Priority::ALL {
        for background in [false, true] {
            all.push(Packet::Submit { priority, background, function: word(0), unique: word(1), payload: data });
        }
    }
    all
}

proptest! {
    // G01
    #[test]
    fn every_packet_survives_the_wire(
        pool in proptest::collection::vec(word(), 6),
        data in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        for packet in every(&pool, &data) {
            for magic in [Magic::Request, Magic::Response] {
                let bytes = packet.to_bytes(magic);
                prop_assert_eq!(bytes.len(), 12 + packet.body_length());
                match decode(&bytes, 1 << 20) {
                    Ok(Decoded::Whole { magic: found, kind, packet: Ok(again), consumed }) => {
                        prop_assert_eq!((found, kind, again, consumed), (magic, packet.kind(), packet, bytes.len()));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
                for cut in [0, 3, 4, 11, 12, bytes.len() - 1] {
                    if cut < bytes.len() {
                        let part = decode(&bytes[..cut], 1 << 20);
                        prop_assert!(matches!(part, Ok(Decoded::Incomplete { needed }) if needed > cut), "{:?}", part);
                    }
                }
            }
        }
    }

    // G02
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0_usize..300) {
        let _ = decode(&bytes, limit);
    }

    // G02
    #[test]
    fn no_body_panics(kind in 0_u32..60, body in proptest::collection::vec(0_u8..4, 0..30)) {
        if let Ok(packet) = decode_packet(kind, &body) {
            let again = packet.to_bytes(Magic::Request);
            prop_assert_eq!(decode_packet(kind, &again[12..]), Ok(packet));
        }
    }
}

// G03: the protocol description's own example, byte by byte.
#[test]
fn a_submission_has_the_documented_bytes() {
    let packet = Packet::Submit {
        priority: Priority::Normal,
        background: false,
        function: b"reverse",
        unique: b"",
        payload: b"test",
    };
    assert_eq!(packet.to_bytes(Magic::Request), b"\0REQ\0\0\0\x07\0\0\0\x0dreverse\0\0test");
    let assign = b"\0RES\0\0\0\x0b\0\0\0\x14H:lap:1\0reverse\0test";
    assert_eq!(whole(assign), Packet::JobAssign { handle: b"H:lap:1", function: b"reverse", payload: b"test" });
}

// G03: gearmand passes WORK_FAIL on with the NUL byte of the exception it was made from.
#[test]
fn a_last_argument_may_end_in_nul() {
    assert_eq!(decode_packet(14, b"H:lap:1\0"), Ok(Packet::WorkFail { handle: b"H:lap:1" }));
    assert_eq!(decode_packet(14, b"H:lap:1\0x"), Err(PacketError::ExtraArgument { kind: 14, argument: "the handle" }));
}

// G04
#[test]
fn a_large_packet_is_refused_by_its_header() {
    let error = decode(b"\0REQ\0\0\0\x07\x7f\0\0\0", 1000).unwrap_err();
    assert_eq!(error, FrameError::TooLarge { kind: 7, size: 0x7f00_0000, limit: 1000 });
    let text = error.to_string();
    assert!(text.contains("SUBMIT_JOB") && text.contains("2130706432") && text.contains("1000"), "{text}");
}

// G04
#[test]
fn another_protocol_is_told_at_its_first_byte() {
    let error = decode(&[0x16, 0x03], 1000).unwrap_err();
    assert_eq!(error, FrameError::BadMagic { found: [0x16, 0x03, 0, 0] });
    assert!(error.to_string().contains("speaks TLS; this side does once gearman.ssl_ca"), "{error}");
    assert!(error.to_string().contains("TLS"));
}

#[test]
fn numbers_are_read_as_job_servers_read_them() {
    assert_eq!(leading_number(b"12abc"), 12);
    assert_eq!(leading_number(b"x"), 0);
    assert_eq!(leading_number(b"99999999999"), u32::MAX);
}
