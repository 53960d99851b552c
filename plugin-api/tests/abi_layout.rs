//! The boundary is frozen: its layout, values and names stand in a golden file, and the C header agrees with it. Whoever has
//! to change the golden file is making another epoch (docs/compatibility.md).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]

use std::{fmt::Write, mem::offset_of, path::Path, process::Command};

use capstan_plugin_api::abi::{
    self, Buffer, Bytes, DriverTable, HostContext, HostTable, Instance, LayoutRecord, Reply,
};

const GOLDEN: &str = include_str!("golden/abi-epoch-1.txt");
const OTHER_EPOCH: &str = "epoch 1 is frozen, in Rust and in C: put the boundary back as it was. What has to be \
                           different is another epoch, a second symbol beside this one (docs/compatibility.md)";

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

fn names() -> [(&'static str, &'static str); 3] {
    [
        ("symbol of the table", abi::ENTRY_SYMBOL),
        ("section of the manifest", abi::MANIFEST_SECTION),
        ("rust symbol of the layout record", abi::LAYOUT_SYMBOL),
    ]
}

/// The lines that C knows too.
fn golden_of_c() -> String {
    GOLDEN
        .lines()
        .filter(|line| line.to_lowercase().starts_with("capstan_"))
        .fold(String::new(), |all, line| all + line + "\n")
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
    for (name, value) in names() {
        writeln!(found, "{name} {value}").unwrap();
    }
    // Only Rust reads the record, but an older host reads a newer driver's.
    print!(LayoutRecord, "rust layout record", abi_stable, layout, host_layout);
    assert_eq!(found, GOLDEN, "{OTHER_EPOCH}");
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
    let mut program = format!("#include \"capstan_driver.h\"\n#include <stdio.h>\n{SIGNATURES}int main(void) {{\n");
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
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), golden_of_c(), "{OTHER_EPOCH}");
}

/// The functions as they were frozen; `cc` refuses a pointer of another type.
const SIGNATURES: &str = "
void signatures(const capstan_host_table *host, const capstan_driver_table *driver, capstan_buffer buffer);
void signatures(const capstan_host_table *host, const capstan_driver_table *driver, capstan_buffer buffer) {
    capstan_reply (*call)(capstan_host_context *, uint64_t, capstan_bytes, capstan_bytes) = host->call;
    void (*log)(capstan_host_context *, uint64_t, uint32_t, capstan_bytes, capstan_bytes, capstan_bytes) = host->log;
    uint32_t (*cancelled)(capstan_host_context *, uint64_t) = host->cancelled;
    capstan_bytes (*describe)(void) = driver->describe;
    capstan_reply (*open)(const capstan_host_table *, capstan_bytes, capstan_instance **) = driver->open;
    capstan_reply (*invoke)(capstan_instance *, uint64_t, capstan_bytes, capstan_bytes) = driver->invoke;
    void (*cancel)(capstan_instance *, uint64_t) = driver->cancel;
    capstan_reply (*health)(capstan_instance *) = driver->health;
    void (*close)(capstan_instance *) = driver->close;
    void (*release)(uint8_t *, size_t) = buffer.free;
    (void)call, (void)log, (void)cancelled, (void)describe, (void)open, (void)invoke, (void)cancel, (void)health;
    (void)close, (void)release;
}
";

/// A library made with the header has symbol and section under the frozen names, even where nothing else is visible.
#[test]
fn the_header_names_symbol_and_section_as_they_were_frozen() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-names");
    std::fs::create_dir_all(&folder).unwrap();
    let (source, library) = (folder.join("driver.c"), folder.join("driver.so"));
    std::fs::write(&source, SMALLEST_DRIVER).unwrap();
    cc(&["-std=c11", "-shared", "-fPIC", "-fvisibility=hidden"], &source, &library);
    let say = |program: &str, options: &[&str]| {
        let output = Command::new(program).args(options).arg(&library).output().expect("binutils come with cc");
        String::from_utf8(output.stdout).unwrap()
    };
    let [(entry, symbol), (place, section), _] = names();
    for (name, value) in [(entry, symbol), (place, section)] {
        assert!(GOLDEN.lines().any(|line| line == format!("{name} {value}")), "{OTHER_EPOCH}");
    }
    let symbols = say("nm", &["-D", "--defined-only", "--format=just-symbols"]);
    assert_eq!(
        symbols.lines().filter(|name| name.starts_with("capstan")).collect::<Vec<_>>(),
        [symbol],
        "{OTHER_EPOCH}"
    );
    let sections = say("readelf", &["-S", "-W"]);
    assert!(sections.contains(&format!(" {section} ")), "{OTHER_EPOCH}: {sections}");
}

const SMALLEST_DRIVER: &str = "#include \"capstan_driver.h\"\nCAPSTAN_MANIFEST(\"{}\");\n\
    const capstan_driver_table *capstan_driver_epoch_1(void) {\n\
    static capstan_driver_table table; table.describe = capstan_describe; return &table; }\n";

/// A driver's author may use an older C, or C++.
#[test]
fn the_header_is_clean_in_c_and_cpp() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-header");
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("driver.c");
    std::fs::write(&source, SMALLEST_DRIVER).unwrap();
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
