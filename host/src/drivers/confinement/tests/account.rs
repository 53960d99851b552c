//! The user changes, and there is no way back.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
};

use rustix::process::{Signal, Uid};
use serde_json::{Value as Json, json};

use super::{Confinement, Prepared, limits::plain_user, prepare, run};

fn confinement(user: &str) -> Confinement {
    Confinement { user: Some(user.to_owned()), ..Confinement::default() }
}

/// The argument is a file that only root may read.
pub(super) fn be_nobody(private: &Json) {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), [&*uid; 4]);
    assert_eq!(field("Gid:"), [&*gid; 4]);
    assert_eq!(field("Groups:"), [&*gid]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    rustix::thread::set_thread_uid(Uid::ROOT).unwrap_err();
    rustix::thread::set_thread_res_uid(None, Uid::ROOT, None).unwrap_err();
    rustix::thread::set_thread_groups(&[]).unwrap_err();
    let error = fs::read(private.as_str().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(
        rustix::process::parent_process_death_signal().unwrap(),
        Some(Signal::KILL),
        "it must outlive the change"
    );
    assert_eq!(
        rustix::process::dumpable_behavior().unwrap(),
        rustix::process::DumpableBehavior::NotDumpable,
        "others of the user must not read its memory"
    );
}

#[test]
fn root_becomes_another_user_for_good() {
    if !rustix::process::geteuid().is_root() {
        let error = confinement("root").prepare().unwrap_err();
        assert!(error.contains("cannot become it; run it as root"), "{error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("private");
    fs::write(&private, "").unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
    run(&prepare(&confinement("nobody")), "be_nobody", &json!(private)).assert_success();
}

/// The argument is a confinement that makes root of this process, which has become a plain user.
pub(super) fn become_root(prepared: &Json) {
    let prepared: Prepared = serde_json::from_value(prepared.clone()).unwrap();
    let error = prepared.apply().unwrap_err();
    assert!(error.starts_with("this process cannot become the user root ("), "{error}");
}

#[test]
fn a_change_that_fails_is_fatal() {
    let plain = Confinement { user: plain_user(), ..Confinement::default() };
    let mut root = serde_json::to_value(prepare(&Confinement::default())).unwrap();
    root["account"] = json!({ "name": "root", "uid": 0, "gid": 0, "groups": [0] });
    run(&prepare(&plain), "become_root", &root).assert_success();
}

#[test]
fn an_unknown_user_is_named() {
    let error = confinement("no-such-user").prepare().unwrap_err();
    assert_eq!(error, "user = \"no-such-user\": there is no such user; create it or name another");
    assert!(confinement("a\0b").prepare().is_err());
}

#[test]
fn the_daemons_own_user_needs_no_rights() {
    let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    let prepared = prepare(&confinement(&own.name));
    assert_eq!(prepared.shortfalls(), [""; 0]);
    let limits = json!(64);
    let confinement = Confinement {
        limits: crate::config::Limits { files: Some(64), ..Default::default() },
        user: Some(own.name),
        ..Confinement::default()
    };
    run(&prepare(&confinement), "open_files", &limits).assert_success();
}
