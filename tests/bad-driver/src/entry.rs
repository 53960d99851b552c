//! What the file says and exports before there is a configuration.

use std::{hint::black_box, thread, time::Duration};

use capstan_plugin_api::{
    abi::{self, Bytes, DriverTable},
    manifest::{Declaration, SerialBy},
    schema::Schema,
};

use super::{cancel, close, health, invoke, open};

const DECLARATION: Declaration = Declaration {
    name: "bad",
    version: "0.1.0",
    vendor: "Capstan",
    description: "Misbehaves as its configuration says",
    kind: "load_balancer",
    interface: "load_balancer/1",
    panic: "unwind",
    methods: &["apply", "observe", "suspend", "enable", "delete", "validate", "status", "poll", "recover"],
    calls: &[],
    serial_by: SerialBy::None,
    config: &Schema::Map(&Schema::Any),
};
const LEN: usize = DECLARATION.rendered_len();

#[used]
#[unsafe(link_section = ".capstan_manifest")]
static MANIFEST: [u8; LEN] = DECLARATION.render();

/// What `describe` answers: apart from the section, so that a patched section lies.
static DESCRIBED: [u8; LEN] = DECLARATION.render();

/// Patched in the file to `null`, `magic`, `epoch`, `size`, `other`, `descr`, `hang`, `abort` or `panic`, padded with dots;
/// `other` and `descr` spoil `describe`, the last one by a panic.
#[used]
static ENTRY: [u8; 26] = *b"CAPSTAN-BAD-ENTRY=good....";

unsafe extern "C" fn describe() -> Bytes {
    Bytes::of(&DESCRIBED)
}

unsafe extern "C" fn describe_other() -> Bytes {
    Bytes::of(b"{\"name\":\"another\"}")
}

#[allow(clippy::panic, reason = "a panic is one of the cases")]
unsafe extern "C" fn describe_panics() -> Bytes {
    panic!("describe panics")
}

const TABLE: DriverTable = DriverTable {
    magic: abi::MAGIC,
    epoch: abi::EPOCH,
    size: size_of::<DriverTable>() as u32,
    describe,
    open,
    invoke,
    cancel,
    health,
    close,
};

static GOOD: DriverTable = TABLE;
static WRONG_MAGIC: DriverTable = DriverTable { magic: 0x7F45_4C46, ..TABLE };
static WRONG_EPOCH: DriverTable = DriverTable { epoch: 7, ..TABLE };
static WRONG_SIZE: DriverTable = DriverTable { size: 8, ..TABLE };
static OTHER: DriverTable = DriverTable { describe: describe_other, ..TABLE };
static DESCRIBE_PANICS: DriverTable = DriverTable { describe: describe_panics, ..TABLE };

/// The entry, good unless the file was patched.
#[allow(clippy::panic, reason = "a panic is one of the cases")]
#[unsafe(no_mangle)]
pub extern "C" fn capstan_driver_epoch_1() -> *const DriverTable {
    // Read as it stands in the file, not as the compiler knows it.
    let chosen = black_box(&ENTRY);
    // SAFETY: a reference can be read.
    let chosen = unsafe { std::ptr::read_volatile(chosen) };
    match &chosen[18..23] {
        b"null." => std::ptr::null(),
        b"magic" => &WRONG_MAGIC,
        b"epoch" => &WRONG_EPOCH,
        b"size." => &WRONG_SIZE,
        b"other" => &OTHER,
        b"descr" => &DESCRIBE_PANICS,
        b"hang." => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        b"abort" => std::process::abort(),
        b"panic" => panic!("the entry panics"),
        _ => &GOOD,
    }
}
