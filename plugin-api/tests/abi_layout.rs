//! The boundary is frozen: its layout stands in a golden file, and the C header agrees with it. Whoever has to change the
//! golden file is making another epoch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]

use std::{fmt::Write, mem::offset_of, path::Path, process::Command};

use capstan_plugin_api::abi::{
    self, Buffer, Bytes, DriverTable, HostContext, HostTable, Instance, LayoutRecord, Reply,
};

const GOLDEN: &str = include_str!("golden/abi-epoch-1.txt");

macro_rules! structures {
    ($each:ident) => {
        $each!(Bytes, "capstan_bytes", data, len);
        $each!(Buffer, "capstan_buffer", data, len, free);
        $each!(Reply, "capstan_reply", status, reserved, body);
        $each!(HostTable, "capstan_host_table", magic, epoch, size, context, call, log, cancelled);
        $each!(DriverTable, "capstan_driver_table", magic, epoch, size, describe, open, invoke, cancel, health, close);
    };
}

fn constants() -> [(&'static str, u64); 11] {
    [
        ("CAPSTAN_MAGIC", abi::MAGIC),
        ("CAPSTAN_EPOCH", abi::EPOCH.into()),
        ("CAPSTAN_OK", abi::STATUS_OK.into()),
        ("CAPSTAN_ERROR", abi::STATUS_ERROR.into()),
        ("CAPSTAN_PENDING", abi::STATUS_PENDING.into()),
        ("CAPSTAN_PANIC", abi::STATUS_PANIC.into()),
        ("CAPSTAN_LOG_ERROR", abi::LOG_ERROR.into()),
        ("CAPSTAN_LOG_WARN", abi::LOG_WARN.into()),
        ("CAPSTAN_LOG_INFO", abi::LOG_INFO.into()),
        ("CAPSTAN_LOG_DEBUG", abi::LOG_DEBUG.into()),
        ("CAPSTAN_LOG_TRACE", abi::LOG_TRACE.into()),
    ]
}

#[test]
fn rust_lays_the_boundary_out_as_it_was_frozen() {
    let mut found = String::new();
    for (name, value) in constants() {
        writeln!(found, "{name} {value:#x}").unwrap();
    }
    macro_rules! print {
        ($type:ident, $name:literal, $($field:ident),*) => {
            writeln!(found, "{} size {} align {}", $name, size_of::<$type>(), align_of::<$type>()).unwrap();
            $(writeln!(found, "{}.{} at {}", $name, stringify!($field), offset_of!($type, $field)).unwrap();)*
        };
    }
    structures!(print);
    assert_eq!(found, GOLDEN);
    assert_eq!((abi::ENTRY_SYMBOL, abi::LAYOUT_SYMBOL), ("capstan_driver_epoch_1", "capstan_driver_layout_1"));
    assert_eq!(abi::MANIFEST_SECTION, ".capstan_manifest");
    // Only Rust reads the record, but an older host reads a newer driver's.
    assert_eq!(offset_of!(LayoutRecord, abi_stable), 0);
    assert_eq!(offset_of!(LayoutRecord, layout), 16);
    assert_eq!(offset_of!(LayoutRecord, host_layout), 24);
}

/// A parameter more or less would leave every offset as it is; this does not compile then.
#[test]
fn rust_calls_over_the_boundary_as_it_was_frozen() {
    type Context = *mut HostContext;
    type InstancePtr = *mut Instance;
    let _signatures = |host: HostTable, driver: DriverTable, buffer: Buffer| {
        let _: unsafe extern "C" fn(Context, u64, Bytes, Bytes) -> Reply = host.call;
        let _: unsafe extern "C" fn(Context, u64, u32, Bytes, Bytes, Bytes) = host.log;
        let _: unsafe extern "C" fn(Context, u64) -> u32 = host.cancelled;
        let _: unsafe extern "C" fn() -> Bytes = driver.describe;
        let _: unsafe extern "C" fn(*const HostTable, Bytes, *mut InstancePtr) -> Reply = driver.open;
        let _: unsafe extern "C" fn(InstancePtr, u64, Bytes, Bytes) -> Reply = driver.invoke;
        let _: unsafe extern "C" fn(InstancePtr, u64) = driver.cancel;
        let _: unsafe extern "C" fn(InstancePtr) -> Reply = driver.health;
        let _: unsafe extern "C" fn(InstancePtr) = driver.close;
        let _: Option<unsafe extern "C" fn(*mut u8, usize)> = buffer.free;
    };
    extern "C" fn entry() -> *const DriverTable {
        std::ptr::null()
    }
    let _: abi::EntryFn = entry;
}

/// The same table, printed by a program that `cc` made from the header.
#[test]
fn the_header_lays_the_boundary_out_as_it_was_frozen() {
    let mut program = String::from("#include \"capstan_driver.h\"\n#include <stdio.h>\nint main(void) {\n");
    for (name, _) in constants() {
        writeln!(program, "printf(\"{name} 0x%llx\\n\", (unsigned long long){name});").unwrap();
    }
    macro_rules! print {
        ($type:ident, $name:literal, $($field:ident),*) => {
            writeln!(
                program,
                "printf(\"%s size %zu align %zu\\n\", \"{0}\", sizeof({0}), _Alignof({0}));",
                $name
            )
            .unwrap();
            $(writeln!(
                program,
                "printf(\"%s at %zu\\n\", \"{0}.{1}\", offsetof({0}, {1}));",
                $name,
                stringify!($field)
            )
            .unwrap();)*
        };
    }
    structures!(print);
    program.push_str("return 0;\n}\n");

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-layout");
    std::fs::create_dir_all(&folder).unwrap();
    let (source, binary) = (folder.join("print.c"), folder.join("print"));
    std::fs::write(&source, program).unwrap();
    cc(&["-std=c11"], &source, &binary);
    let printed = Command::new(&binary).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), GOLDEN);
}

/// A driver's author may use an older C, or C++.
#[test]
fn the_header_is_clean_in_c_and_cpp() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-header");
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("driver.c");
    std::fs::write(
        &source,
        "#include \"capstan_driver.h\"\nCAPSTAN_MANIFEST(\"{}\");\n\
         const capstan_driver_table *capstan_driver_epoch_1(void) {\n\
         static capstan_driver_table table; table.describe = capstan_describe; return &table; }\n",
    )
    .unwrap();
    for language in [["-xc", "-std=c99"], ["-xc", "-std=c17"], ["-xc++", "-std=c++11"], ["-xc++", "-std=c++20"]] {
        cc(&[language.as_slice(), &["-shared", "-fPIC"]].concat(), &source, &folder.join("driver.so"));
    }
}

fn cc(options: &[&str], source: &Path, output: &Path) {
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    let made = Command::new("cc")
        .args(options)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-I", include, "-o"])
        .args([output, source])
        .output()
        .expect("cc is installed");
    assert!(made.status.success(), "{options:?}: {}", String::from_utf8_lossy(&made.stderr));
}
