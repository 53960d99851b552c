//! The frames of a driver in a process of its own, both directions: whatever the bytes and however they arrive, the same
//! messages come of them; what was read can be written and read again; and a hello's manifest keeps the rules or is refused in a line.
#![no_main]

use capstan::drivers::{
    frames::{FrameFault, FrameReader, FromDriver, FromHost, Hello, LONGEST_FRAME, frame, read_message},
    schema_faults,
};
use capstan_fuzz::Source;
use capstan_plugin_api::{DriverError, Manifest, Pending, call::Request};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};

/// What a stream comes to: its frames, and how it ends.
#[derive(Debug, PartialEq)]
struct Read {
    frames: Vec<Vec<u8>>,
    fault: Option<FrameFault>,
    inside_a_frame: bool,
}

/// Reads the bytes as they arrive in pieces of these sizes.
fn read(mut bytes: &[u8], mut size: impl FnMut() -> usize) -> Read {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    loop {
        let most = size().clamp(1, bytes.len().max(1));
        let piece = |room: &mut [u8]| {
            let count = most.min(bytes.len()).min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            Ok(count)
        };
        let count = reader.fill(piece).expect("memory can be read");
        bytes = &bytes[count..];
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(fault) => return Read { frames, fault: Some(fault), inside_a_frame: false },
            }
        }
        if count == 0 {
            let inside_a_frame = reader.is_inside_a_frame();
            return Read { frames, fault: None, inside_a_frame };
        }
    }
}

/// Written and read again it is the same, in one frame.
fn survives(message: &impl Serialize) -> Vec<u8> {
    let bytes = frame(message).expect("what came in a frame fits into one");
    let Read { frames, fault, inside_a_frame } = read(&bytes, || usize::MAX);
    assert!(fault.is_none() && !inside_a_frame && frames.len() == 1);
    frames.into_iter().next().unwrap_or_default()
}

/// A body that travels as text is read as what it stands for, or refused; neither panics.
fn body<T: DeserializeOwned + Serialize>(text: Option<&RawValue>) {
    let Some(Ok(value)) = text.map(|text| serde_json::from_str::<T>(text.get())) else { return };
    let again = serde_json::to_string(&value).expect("it can be written");
    serde_json::from_str::<T>(&again).expect("and read again");
}

fn hello(hello: &Hello<'_>) {
    let manifest = match hello.manifest() {
        Ok(manifest) => manifest,
        Err(fault) => return assert!(!fault.to_string().contains(char::is_control), "{fault:?}"),
    };
    assert!(hello.protocol > 0);
    let is_word = |text: &str, also: &[u8]| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || also.contains(&b))
    };
    let Manifest { name, version, methods, .. } = &manifest;
    assert!(is_word(name, b"_-") && name.as_bytes()[0].is_ascii_lowercase(), "{name:?}");
    assert!((1..=64).contains(&version.len()), "{version:?}");
    assert!(methods.iter().all(|method| is_word(method, b"_.")), "{methods:?}");
    let again = serde_json::to_string(&manifest).expect("a manifest can be written");
    assert_eq!(serde_json::from_str::<Manifest>(&again).expect("and read again"), manifest);
    // Any schema can be held against a configuration, or is itself the fault.
    let _any_number = schema_faults(&manifest, &json!({ "url": "http://x", "token": 7, "list": [1, null] }));
}

fn from_driver(bytes: &[u8]) {
    let Ok(message) = read_message::<FromDriver<'_>>(bytes) else { return };
    assert!(bytes.trim_ascii_start().starts_with(b"{"), "only an object is a message");
    if let Some(reply) = &message.reply {
        body::<DriverError>(reply.error);
        body::<DriverError>(reply.panic);
        body::<Pending>(reply.pending);
    }
    if let Some(said) = &message.hello {
        hello(said);
    }
    let again = survives(&message);
    let read: FromDriver<'_> = read_message(&again).expect("what was written is a message");
    assert_eq!(survives(&read), again);
    let (reply, read) = (message.reply.as_ref(), read.reply.as_ref());
    assert_eq!(reply.map(|reply| reply.id), read.map(|reply| reply.id));
    assert_eq!(
        reply.and_then(|reply| reply.result).map(RawValue::get),
        read.and_then(|reply| reply.result).map(RawValue::get)
    );
}

fn from_host(bytes: &[u8]) {
    let Ok(message) = read_message::<FromHost<'_>>(bytes) else { return };
    if let Some(call) = &message.call {
        let _refused_is_as_good = serde_json::from_str::<Request<'_>>(call.request.get());
    }
    let again = survives(&message);
    let read: FromHost<'_> = read_message(&again).expect("what was written is a message");
    assert_eq!(survives(&read), again);
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let sizes: Vec<usize> = (0..4).map(|_| source.one(&[1, 2, 3, 4, 5, 100, 4096, 40_000])).collect();
    // Either a stream as it is, or texts that are put into frames: few mutations keep a length right.
    let stream = if source.coin() {
        source.0.to_vec()
    } else {
        let texts = source.0.split(|byte| *byte == b'\n').filter(|text| !text.is_empty());
        texts.flat_map(|text| [&u32::try_from(text.len()).unwrap_or(0).to_be_bytes(), text].concat()).collect()
    };
    let whole = read(&stream, || usize::MAX);
    let mut turn = sizes.iter().cycle();
    let pieces = read(&stream, || turn.next().copied().unwrap_or(1));
    assert_eq!(whole, pieces, "in pieces of {sizes:?}");
    if let Some(fault) = &whole.fault {
        assert!(!fault.to_string().contains('\n'), "{fault}");
    }
    for bytes in &whole.frames {
        assert!((1..=LONGEST_FRAME).contains(&bytes.len()));
        from_driver(bytes);
        from_host(bytes);
    }
});
