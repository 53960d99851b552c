//! What must not load, and the one line that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod drivers_support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use capstan::drivers::{DriverState, DriverUnavailable, Kind, Registry, inspect};
use drivers_support::{build, entry, folder, good, manifest, open, open_one, refused, settings};
use serde_json::{Value, json};

/// Each part of the line has to be there, in this order.
fn assert_says(line: &str, parts: &[&str]) {
    let mut rest = line;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in {rest:?} of {line:?}"));
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn what_is_no_file_of_ours_is_refused_by_name() {
    let folder = folder();
    let path = folder.path();
    let good = good(path);

    symlink(&good, path.join("link.so")).unwrap();
    fs::create_dir(path.join("folder.so")).unwrap();
    assert!(Command::new("mkfifo").arg(path.join("fifo.so")).status().unwrap().success());
    fs::copy(&good, path.join("open.so")).unwrap();
    fs::set_permissions(path.join("open.so"), fs::Permissions::from_mode(0o757)).unwrap();
    fs::copy(&good, path.join("group.so")).unwrap();
    fs::set_permissions(path.join("group.so"), fs::Permissions::from_mode(0o775)).unwrap();
    fs::create_dir(path.join("shared")).unwrap();
    fs::copy(&good, path.join("shared/d.so")).unwrap();
    fs::set_permissions(path.join("shared"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir_all(path.join("sticky/below")).unwrap();
    fs::copy(&good, path.join("sticky/d.so")).unwrap();
    fs::copy(&good, path.join("sticky/below/d.so")).unwrap();
    fs::set_permissions(path.join("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();

    for (library, parts) in [
        ("none.so", ["stage resolve", "found no such file", "expected a driver's .so file", "the folder holds "]),
        ("nowhere/none.so", ["stage resolve", "found no folder", "expected the folder", "correct `library`"]),
        ("link.so", ["stage file", "found a symbolic link", "expected a regular file", "name the driver's"]),
        ("folder.so", ["stage file", "found a folder", "expected a regular file", "name the driver's"]),
        ("fifo.so", ["stage file", "found a FIFO", "expected a regular file", "name the driver's"]),
        ("/dev/null", ["stage file", "found a device", "expected a regular file", "name the driver's"]),
        ("open.so", ["stage file", "found mode 0757", "writable by its owner only", "chmod go-w"]),
        ("group.so", ["stage file", "found mode 0775", "writable by its owner only", "chmod go-w"]),
        ("shared/d.so", ["stage file", "shared, in which others may write", "expected folders", "chmod go-w"]),
        (
            "sticky/d.so",
            ["stage file", "sticky, in which others may write", "expected folders", "move the driver elsewhere"],
        ),
    ] {
        let line = refused(path, entry("bad", library)).await;
        assert_says(&line, &[&["driver cloud.bad: "], &parts[..]].concat());
    }
    // Sticky is good enough for development, and only for that.
    open_one(path, entry("good", "sticky/below/d.so")).await;
    // A plain user's own folders are above it as well, and refused first.
    let line = inspect(&path.join("sticky/below/d.so"), false).unwrap_err().to_string();
    assert_says(&line, &["stage file", "the parent folder"]);
}

#[tokio::test]
async fn another_owner_of_file_or_folder_is_refused() {
    let folder = folder();
    let path = folder.path();
    let theirs = path.join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::copy(good(path), path.join("d.so")).unwrap();
    fs::copy(path.join("d.so"), theirs.join("d.so")).unwrap();
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away; anyone sees that own files are not root's.
        let line = inspect(&path.join("d.so"), false).unwrap_err().to_string();
        assert_says(&line, &["stage file", "owned by uid", "expected root as owner", "trust_own_files"]);
        return;
    }
    chown(path.join("d.so"), Some(12345), None).unwrap();
    let line = refused(path, entry("bad", "d.so")).await;
    assert_says(
        &line,
        &["stage file", "a file owned by uid 12345", "expected root or the daemon's user", "chown root"],
    );
    chown(&theirs, Some(12345), None).unwrap();
    let line = refused(path, entry("bad", "theirs/d.so")).await;
    assert_says(&line, &["stage file", "theirs owned by uid 12345", "expected root", "chown root"]);
}

#[tokio::test]
async fn what_is_no_driver_is_refused_before_it_runs() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("empty.so"), "").unwrap();
    fs::write(path.join("text.so"), "#!/bin/sh\necho hello\n").unwrap();
    fs::write(path.join("short.so"), b"\x7fELF\x02\x01\x01").unwrap();
    fs::copy("/proc/self/exe", path.join("program.so")).unwrap();
    let whole = manifest(json!({})).to_string();
    let change = |change: Value| manifest(change).to_string();
    build(path, "no_section", &whole, &["-DNO_SECTION"]);
    build(path, "no_symbol", &whole, &["-DNO_SYMBOL"]);
    build(path, "no_json", "{\"name\": ", &[]);
    build(path, "bad_name", &change(json!({ "name": "A b" })), &[]);
    build(path, "epoch", &change(json!({ "epoch": 2 })), &[]);
    build(path, "target", &change(json!({ "target": "sparc64-unknown-linux-gnu" })), &[]);
    build(path, "kind", &change(json!({ "kind": "mgm", "interface": "mgm/1" })), &[]);
    build(path, "interface", &change(json!({ "interface": "cloud/2" })), &[]);
    build(path, "abort", &change(json!({ "panic": "abort" })), &[]);
    for (name, parts) in [
        ("empty", ["stage elf", "found an empty file", "expected a whole shared library", "copy the file again"]),
        ("text", ["stage elf", "it begins with \"#!/bin/sh", "expected a whole", "name the driver's .so"]),
        ("short", ["stage elf", "the ELF header ends at byte 64, the file has 7", "expected", "copy the file again"]),
        ("no_section", ["stage manifest", "without a section", "expected a Capstan driver", "#[capstan_plugin_api"]),
        ("no_json", ["stage manifest", "cannot be read", "expected a manifest", "ask the driver's vendor"]),
        ("bad_name", ["stage manifest", "the name \"A b\"", "expected a manifest", "ask the driver's vendor"]),
        ("no_symbol", ["stage compatibility", "no symbol capstan_driver_epoch_1", "expected", "export the symbol"]),
        ("epoch", ["stage compatibility", "a driver of epoch 2", "expected epoch 1", "install a build"]),
        ("target", ["stage compatibility", "for sparc64", "expected", "build it for"]),
        ("kind", ["stage compatibility", "kind \"mgm\"", "expected kind \"cloud\"", "known_drivers.mgm"]),
        ("interface", ["stage compatibility", "\"cloud/2\"", "expected cloud/1", "install the driver's build"]),
        ("abort", ["stage compatibility", "panic = \"abort\"", "expected panic = \"unwind\"", "rebuild it"]),
    ] {
        let line = refused(path, entry("bad", format!("{name}.so"))).await;
        assert_says(&line, &parts);
        assert!(!path.join("state/drivers").exists(), "{name}: nothing was copied");
    }
    let mut named = entry("../up", path.join("good.so"));
    named.kind = Kind::Cloud;
    let line = refused(path, named).await;
    assert_says(&line, &["stage resolve", "the name \"../up\"", "rename the entry"]);
}

#[tokio::test]
async fn a_pin_that_differs_and_a_section_that_does_not_fit_are_refused() {
    let folder = folder();
    let path = folder.path();
    let schema = json!({ "type": "object", "required": ["region"], "additionalProperties": false,
        "properties": { "region": { "type": "string" }, "port": { "type": "integer" } } });
    let library = build(path, "d", &manifest(json!({ "config_schema": schema })).to_string(), &[]);
    let mut pinned = entry("d", &library);
    pinned.config = json!({ "region": "here" });
    let sha256 = inspect(&library, true).unwrap().sha256;
    pinned.sha256 = Some(sha256.to_uppercase());
    let (registry, _) = open_one(path, pinned.clone()).await;
    assert_eq!(registry.info(Kind::Cloud, "d").unwrap().sha256.as_deref(), Some(sha256.as_str()));

    let mut other = pinned.clone();
    other.sha256 = Some("0".repeat(64));
    let line = refused(path, other).await;
    assert_says(&line, &["stage checksum", &sha256, "expected 000000", "change `sha256`"]);

    let mut wrong = pinned;
    wrong.config = json!({ "port": "x", "colour": 1 });
    let line = refused(path, wrong).await;
    assert_says(&line, &["stage configuration", "found ", "expected what the schema", "correct these keys"]);
    for fault in ["config.port (not a whole number)", "config.region (missing: a text)", "config.colour (unknown)"] {
        assert!(line.contains(fault), "{fault}: {line}");
    }
}

#[tokio::test]
async fn what_crashes_hangs_or_lies_does_so_in_the_child() {
    let folder = folder();
    let path = folder.path();
    let whole = manifest(json!({})).to_string();
    for (name, switch, parts) in [
        (
            "segv",
            "-DCONSTRUCTOR=volatile int *volatile p = 0; *p = 1",
            ["stage probe", "died by SIGSEGV while being probed", "vendor"],
        ),
        ("abort", "-DCONSTRUCTOR=abort()", ["stage probe", "died by SIGABRT while being probed", "vendor"]),
        ("exit", "-DCONSTRUCTOR=exit(0)", ["stage probe", "ended the process with code 0 while", "vendor"]),
        ("hang", "-DCONSTRUCTOR=for (;;) pause()", ["stage probe", "did not load within 0.5 s", "constructors wait"]),
        ("magic", "-DTABLE_MAGIC=7", ["stage probe", "magic 0x0000000000000007", "docs/abi-epoch-1.md"]),
        ("epoch", "-DTABLE_EPOCH=9", ["stage probe", "a table of epoch 9", "docs/abi-epoch-1.md"]),
        ("size", "-DTABLE_SIZE=24", ["stage probe", "a table of 24 bytes", "docs/abi-epoch-1.md"]),
        ("null", "-DNULL_TABLE", ["stage probe", "a null or unaligned pointer", "docs/abi-epoch-1.md"]),
        ("function", "-DNULL_FUNCTION", ["stage probe", "`invoke` is null", "docs/abi-epoch-1.md"]),
        ("lie", "-DLYING_DESCRIBE", ["stage probe", "`describe` that differs", "the manifest lies"]),
        ("undefined", "-DCONSTRUCTOR=nowhere_defined()", ["stage probe", "nowhere_defined", "install the library"]),
        (
            "forger",
            r#"-DCONSTRUCTOR=puts("\"loaded\""); fflush(stdout); volatile int *volatile p = 0; *p = 1"#,
            ["stage probe", "died by SIGSEGV while being probed", "vendor"],
        ),
    ] {
        build(path, name, &whole, &[switch]);
        let mut settings = settings(path);
        settings.probe_timeout = std::time::Duration::from_millis(500);
        settings.drivers = vec![entry("bad", format!("{name}.so")), entry("good", good(path))];
        let registry = Registry::open(settings).await.unwrap();
        let line = registry.handle(Kind::Cloud, "bad").expect_err(name).to_string();
        assert_says(&line, &parts);
        assert_eq!(registry.info(Kind::Cloud, "good").unwrap().state, DriverState::Ready, "{name}");
        assert_eq!(registry.info(Kind::Cloud, "bad").unwrap().last_error.unwrap(), line);
    }
}

#[tokio::test]
async fn open_and_health_have_a_deadline_and_are_named() {
    let folder = folder();
    let path = folder.path();
    let whole = manifest(json!({})).to_string();
    let refuse = r#"return text(1, "{\"code\":\"auth_failed\",\"message\":\"who are you\"}")"#;
    for (name, switch, parts) in [
        ("refuses", format!("-DOPEN={refuse}"), ["stage open", "auth_failed: who are you", "configuration"]),
        ("hangs", "-DOPEN=nap(3000)".into(), ["stage open", "no answer within 0.3 s", "configuration"]),
        ("null", "-DNULL_INSTANCE".into(), ["stage open", "a null instance", "configuration"]),
        ("ill", format!("-DHEALTH={refuse}"), ["stage health", "auth_failed: who are you", "reload"]),
        ("slow", "-DHEALTH=nap(3000)".into(), ["stage health", "no answer within 0.3 s", "reload"]),
        ("mad", r#"-DHEALTH=return text(0, "[1")"#.into(), ["stage health", "health cannot be read", "reload"]),
    ] {
        let library = build(path, name, &whole, &[&switch]);
        let mut settings = settings(path);
        settings.open_timeout = std::time::Duration::from_millis(300);
        settings.health_timeout = std::time::Duration::from_millis(300);
        settings.drivers = vec![entry("bad", library)];
        let registry = Registry::open(settings).await.unwrap();
        let line = registry.handle(Kind::Cloud, "bad").unwrap_err().to_string();
        assert_says(&line, &parts);
    }
}

#[tokio::test]
async fn a_required_driver_that_fails_is_fatal_and_an_unknown_name_lists_the_known() {
    let folder = folder();
    let path = folder.path();
    let mut needed = entry("needed", "none.so");
    needed.required = true;
    let mut closed = entry("good", good(path));
    closed.config = json!({ "closed": path.join("closed") });
    let mut settings = settings(path);
    settings.drivers = vec![needed, closed];
    let failed = Registry::open(settings).await.unwrap_err();
    assert_says(&failed.to_string(), &["driver cloud.needed: stage resolve"]);
    assert!(path.join("closed").exists(), "the other one was closed");

    let registry = open(path, vec![entry("b", good(path)), entry("a", good(path))]).await;
    let unknown = registry.handle(Kind::Cloud, "c").unwrap_err();
    assert!(matches!(unknown, DriverUnavailable::Unknown { .. }));
    assert_eq!(unknown.to_string(), "no driver cloud.c in known_drivers; known are a, b");
    let none = registry.handle(Kind::Mgm, "c").unwrap_err().to_string();
    assert_eq!(none, "no driver mgm.c in known_drivers; none of that kind is configured");
}

#[tokio::test]
async fn the_private_copy_is_private_checked_and_replaced() {
    let folder = folder();
    let path = folder.path();
    let library = good(path);
    let (registry, handle) = open_one(path, entry("good", &library)).await;
    let sha256 = registry.info(Kind::Cloud, "good").unwrap().sha256.unwrap();
    let copy = path.join("state/drivers").join(format!("{sha256}.so"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&copy), mode(copy.parent().unwrap())), (0o555, 0o700));

    // The file may be overwritten or cut while the driver runs.
    fs::write(&library, "gone").unwrap();
    let answer: u64 = handle.call("echo", &1, Default::default()).await.unwrap();
    assert_eq!(answer, 1);

    // A copy that was tampered with is not what is loaded.
    let library = good(path);
    let whole = fs::read(&copy).unwrap();
    fs::remove_file(&copy).unwrap();
    let mut tampered = whole.clone();
    *tampered.last_mut().unwrap() ^= 1;
    fs::write(&copy, tampered).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o500)).unwrap();
    let (_, handle) = open_one(path, entry("again", &library)).await;
    assert_eq!(fs::read(&copy).unwrap(), whole);
    let answer: u64 = handle.call("echo", &2, Default::default()).await.unwrap();
    assert_eq!(answer, 2);
    let left: Vec<_> = fs::read_dir(copy.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "the copy, the record of its probe and what served: {left:?}");
}

#[tokio::test]
async fn a_probe_is_not_repeated_for_the_same_file() {
    let folder = folder();
    let path = folder.path();
    let marks = path.join("marks");
    let append = format!("-DCONSTRUCTOR=FILE *f = fopen(\"{}\", \"a\"); fputs(\"x\", f); fclose(f)", marks.display());
    let library = build(path, "d", &manifest(json!({})).to_string(), &[&append]);
    open_one(path, entry("a", &library)).await;
    assert_eq!(fs::read_to_string(&marks).unwrap(), "xx", "once in the child, once here");
    open_one(path, entry("b", &library)).await;
    assert_eq!(fs::read_to_string(&marks).unwrap(), "xx", "neither again in a child nor twice in one process");
}

#[test]
fn a_probe_whose_daemon_has_ended_loads_nothing() {
    let folder = folder();
    let path = folder.path();
    let mark = path.join("mark");
    let hangs = format!("-DCONSTRUCTOR=fclose(fopen(\"{}\", \"w\")); for (;;) pause()", mark.display());
    let library = build(path, "d", &manifest(json!({})).to_string(), &[&hangs]);
    // Its parent is this test, which is not the daemon that it is told of.
    let mut probe = Command::new(env!("CARGO_BIN_EXE_capstan"));
    let ended = probe.arg("__probe-driver").arg(&library).arg("1").output().unwrap();
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(70), 0), "{ended:?}");
    assert!(!mark.exists(), "its constructor has run");
}
