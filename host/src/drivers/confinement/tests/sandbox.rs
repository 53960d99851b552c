//! A sandboxed process reaches what its entry names and the base set, and nothing else.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use serde_json::{Value as Json, json};

use super::{Confinement, Prepared, prepare, run};
use crate::{config::Sandbox, drivers::confinement::rules::Rules};

fn prepared(sandbox: Sandbox) -> Prepared {
    prepare(&Confinement { sandbox: Some(sandbox), ..Confinement::default() })
}

/// Version of Landlock here; the tests of what an older kernel lacks assert that it says so.
fn version() -> u64 {
    serde_json::to_value(Rules::of(Sandbox::default())).unwrap()["version"].as_u64().unwrap()
}

fn refused<T>(result: io::Result<T>) {
    assert_eq!(result.err().map(|error| error.kind()), Some(io::ErrorKind::PermissionDenied));
}

pub(super) fn reach_files(argument: &Json) {
    let folder = Path::new(argument["folder"].as_str().unwrap());
    let (read, write, other) = (folder.join("read"), folder.join("write"), folder.join("other"));

    assert_eq!(fs::read_to_string(read.join("file")).unwrap(), "text");
    assert_eq!(fs::read_dir(&read).unwrap().count(), 1);
    refused(OpenOptions::new().append(true).open(read.join("file")));
    refused(fs::write(read.join("new"), ""));
    refused(fs::remove_file(read.join("file")));

    fs::write(write.join("new"), "1").unwrap();
    fs::rename(write.join("new"), write.join("renamed")).unwrap();
    fs::write(write.join("renamed"), "").unwrap();
    fs::create_dir(write.join("below")).unwrap();
    fs::write(write.join("below/file"), "").unwrap();
    refused(fs::rename(write.join("renamed"), other.join("moved")));

    refused(fs::read(other.join("file")));
    refused(fs::read_dir(&other));
    refused(fs::read_dir("/"));
    refused(fs::read_dir(format!("/proc/{}", rustix::process::getppid().unwrap())));
    // A link is judged by what it leads to.
    std::os::unix::fs::symlink(other.join("file"), write.join("link")).unwrap();
    refused(fs::read(write.join("link")));

    // The base set.
    fs::read("/etc/passwd").unwrap();
    fs::read("/proc/self/maps").unwrap();
    assert!("localhost:1".to_socket_addrs().unwrap().next().is_some());
    OpenOptions::new().write(true).open("/dev/null").unwrap().write_all(b"x").unwrap();
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut [0]).unwrap();
    refused(fs::read_dir("/etc"));

    if argument["version"].as_u64().unwrap() >= 3 {
        refused(
            rustix::fs::open(read.join("file"), rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::TRUNC, 0.into())
                .map_err(io::Error::from),
        );
    }
}

#[test]
fn files_outside_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["read", "write", "other"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("file"), "text").unwrap();
    }
    let paths = |name: &str| vec![folder.path().join(name)];
    let prepared = prepared(Sandbox { read: paths("read"), write: paths("write"), connect: Vec::new() });
    let argument = json!({ "folder": folder.path(), "version": version() });
    run(&prepared, "reach_files", &argument).assert_success();
}

/// The argument says whether the program was named.
pub(super) fn execute(is_named: &Json) {
    let ended = Command::new("/bin/true").status();
    if is_named.as_bool().unwrap() {
        assert!(ended.unwrap().success());
    } else {
        refused(ended);
    }
}

#[test]
fn only_programs_that_are_named_are_executed() {
    run(&prepared(Sandbox::default()), "execute", &json!(false)).assert_success();
    let named = Sandbox { read: vec!["/bin/true".into()], ..Sandbox::default() };
    run(&prepared(named), "execute", &json!(true)).assert_success();
    let written = Sandbox { write: vec!["/bin/true".into()], ..Sandbox::default() };
    run(&prepared(written), "execute", &json!(false)).assert_success();
}

pub(super) fn connect(argument: &Json) {
    let port = |name: &str| u16::try_from(argument[name].as_u64().unwrap()).unwrap();
    for address in ["127.0.0.1", "127.0.0.2"] {
        TcpStream::connect((address, port("admitted"))).unwrap();
    }
    if argument["version"].as_u64().unwrap() >= 4 {
        refused(TcpStream::connect(("127.0.0.1", port("other"))));
        refused(TcpListener::bind("127.0.0.1:0"));
    }
}

#[test]
fn connections_to_other_ports_are_refused() {
    let admitted = TcpListener::bind("0.0.0.0:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let prepared = prepared(Sandbox { connect: vec![port(&admitted)], ..Sandbox::default() });
    let argument = json!({ "admitted": port(&admitted), "other": port(&other), "version": version() });
    run(&prepared, "connect", &argument).assert_success();
    let says = prepared.shortfalls().iter().any(|line| line.contains("connect is not enforced"));
    assert_eq!(says, (1..4).contains(&version()));
}

pub(super) fn signal_parent(version: &Json) {
    let sent = rustix::process::test_kill_process(rustix::process::getppid().unwrap());
    if version.as_u64().unwrap() >= 6 {
        assert_eq!(sent, Err(rustix::io::Errno::PERM));
    }
    rustix::process::test_kill_process(rustix::process::getpid()).unwrap();
}

#[test]
fn processes_outside_get_no_signals() {
    run(&prepared(Sandbox::default()), "signal_parent", &json!(version())).assert_success();
}

#[test]
fn a_kernel_with_everything_has_no_shortfalls_and_a_missing_path_is_named() {
    if version() >= 6 {
        assert_eq!(prepared(Sandbox::default()).shortfalls(), [""; 0]);
    }
    let sandbox = Sandbox { write: vec!["/no/such/folder".into()], ..Sandbox::default() };
    let prepared = prepared(sandbox);
    let last = prepared.shortfalls().last().unwrap();
    assert!(
        last.starts_with("sandbox.write names /no/such/folder, where nothing can be admitted (No such file"),
        "{last}"
    );
}

#[test]
fn folders_below_the_state_directory_are_made_and_no_others() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let (below, beside, around) = (state.join("cloud/deep"), root.path().join("beside"), state.join("../around"));
    let sandbox = Sandbox { write: vec![below.clone(), beside.clone(), around.clone()], ..Sandbox::default() };
    let plan = Confinement { sandbox: Some(sandbox), ..Confinement::default() };
    Confinement { user: Some("nobody".to_owned()), ..plan.clone() }.make_folders(&state);
    assert!(!below.exists(), "whose it is to be is not the daemon's to say");
    plan.make_folders(&state);
    let made = below.metadata().unwrap();
    assert_eq!((made.is_dir(), made.permissions().mode() & 0o777), (true, 0o700));
    assert!(!beside.exists() && !around.exists());
}

fn with_version(version: i32) -> Vec<String> {
    let rules = json!({ "sandbox": Sandbox::default(), "version": version });
    serde_json::from_value::<Rules>(rules).unwrap().shortfalls()
}

#[test]
fn what_an_older_kernel_lacks_is_said() {
    assert_eq!(
        with_version(0),
        ["sandbox is not enforced: this kernel has no Landlock (Linux 5.13, and `landlock` in its lsm= list)"]
    );
    assert_eq!(with_version(1).len(), 4);
    assert_eq!(
        with_version(3)[0],
        "Landlock of this kernel (ABI 3) lacks network rules (Linux 6.7): connect is not enforced"
    );
    assert_eq!(with_version(5).len(), 1);
    assert_eq!(with_version(6), [""; 0]);
}

/// The daemon found more than the child's kernel has: nothing runs half sandboxed.
#[test]
fn rules_that_the_kernel_does_not_know_are_fatal() {
    let mut value = serde_json::to_value(prepared(Sandbox::default())).unwrap();
    value["rules"]["version"] = json!(10);
    let prepared = serde_json::from_value(value).unwrap();
    // Should this ever succeed, the kernel is as new as the number.
    run(&prepared, "abort", &Json::Null).assert_refused("the sandbox cannot be enforced");
}
