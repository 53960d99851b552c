//! Control groups, where this machine lets the tests make any; where it does not, the reason is asserted.

use std::{
    fs,
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::{Confinement, command, prepare, run};
use crate::{
    config::Limits,
    drivers::confinement::{Cgroup, cgroup::hand_down},
};

fn group(limits: &Limits) -> Option<Cgroup> {
    match Cgroup::create("cloud.test 1", limits) {
        Ok(group) => Some(group.unwrap()),
        Err(reason) => {
            eprintln!("no control group on this machine: {reason}");
            let known = ["no control group", "systemd", "programs that drivers start", "has no controller", "hands no"];
            assert!(known.iter().any(|known| reason.contains(known)), "{reason}");
            None
        }
    }
}

fn folders(group: &Cgroup) -> Vec<PathBuf> {
    group.membership_files().iter().map(|file| file.parent().unwrap().to_owned()).collect()
}

pub(super) fn touch_memory(_: &Json) {
    let memory = vec![1_u8; 128 << 20];
    assert_eq!(memory.iter().step_by(4096).filter(|byte| **byte == 1).count(), 128 << 8);
}

#[test]
fn a_group_out_of_memory_is_counted() {
    let limits = Limits { memory: Some(32 << 20), ..Limits::default() };
    let Some(group) = group(&limits) else { return };
    let prepared = prepare(&Confinement { limits, ..Confinement::default() }).within(&group);
    assert_eq!(prepared.shortfalls(), [""; 0], "the group needs no help");
    assert_eq!(group.oom_kills(), 0);
    let ended = run(&prepared, "touch_memory", &Json::Null);
    assert_eq!(ended.status.signal(), Some(Signal::KILL.as_raw()), "{}", ended.text);
    assert_eq!(group.oom_kills(), 1);
    let folders = folders(&group);
    assert!(folders.iter().all(|folder| folder.exists()));
    drop(group);
    assert!(!folders.iter().any(|folder| folder.exists()));
}

#[test]
fn processes_of_root_are_limited_by_a_group() {
    let limits = Limits { processes: Some(12), ..Limits::default() };
    let Some(group) = group(&limits) else { return };
    let prepared = prepare(&Confinement { limits, ..Confinement::default() }).within(&group);
    assert_eq!(prepared.shortfalls(), [""; 0]);
    run(&prepared, "start_threads", &json!(11)).assert_success();
    assert_eq!(group.refused_processes(), 1);
}

/// Prints the number of a grandchild that leaves session and process group, then waits to be killed.
pub(super) fn hold_grandchild(_: &Json) {
    let mut grandchild = Command::new("/usr/bin/setsid").args(["sleep", "60"]).spawn().unwrap();
    println!("\nready");
    grandchild.wait().unwrap();
}

fn assert_kills_all(group: &Cgroup) {
    let prepared = prepare(&Confinement::default()).within(group);
    let folder = tempfile::tempdir().unwrap();
    let mut between = command(&prepared, "hold_grandchild", &Json::Null, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = between.stdout.take().unwrap();
    let mut text = String::new();
    while !text.contains("ready\n") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    let members = |group: &Cgroup| fs::read_to_string(&group.membership_files()[0]).unwrap().lines().count();
    assert!(members(group) >= 2);
    group.kill();
    // The pipe closes when the last of them is gone, grandchildren included.
    output.read_to_string(&mut text).unwrap();
    assert!(text.contains("confined process ended with 9"), "{text}");
    assert!(between.wait().unwrap().success(), "the process between is no member");
}

#[test]
fn killing_a_group_reaches_grandchildren_in_sessions_of_their_own() {
    let Some(group) = group(&Limits { processes: Some(32), ..Limits::default() }) else { return };
    assert_kills_all(&group);
}

/// The argument names a group with the controllers that it has.
pub(super) fn hand_down_own_group(argument: &Json) {
    let group = Path::new(argument["group"].as_str().unwrap());
    let controllers: Vec<&str> = argument["controllers"].as_str().unwrap().split_whitespace().collect();
    // A group that has members hands nothing down: this process must move into a leaf.
    fs::write(group.join("cgroup.procs"), "0").unwrap();
    hand_down(group, &controllers).unwrap();
    hand_down(group, &controllers).unwrap();
    let handed_down = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap();
    assert!(controllers.iter().all(|name| handed_down.split_whitespace().any(|found| found == *name)));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let leaf = format!("{}/capstan-daemon", group.file_name().unwrap().to_str().unwrap());
    assert!(own.lines().any(|line| line.starts_with("0::") && line.ends_with(&leaf)), "{own}");
}

#[test]
fn a_daemon_alone_in_its_group_moves_into_a_leaf() {
    let Some(root) = version_2() else { return };
    let group = root.join(format!("capstan-test-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&group) {
        eprintln!("no control group on this machine: {error}");
        return;
    }
    // Where version 1 has all controllers there are none, and nothing to move for.
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap();
    let ended = (!controllers.trim().is_empty()).then(|| {
        let argument = json!({ "group": group, "controllers": controllers });
        run(&prepare(&Confinement::default()), "hand_down_own_group", &argument)
    });
    let leaf = group.join("capstan-daemon");
    for folder in [&leaf, &group].into_iter().filter(|folder| folder.exists()) {
        fs::remove_dir(folder).unwrap();
    }
    if let Some(ended) = ended {
        ended.assert_success();
    }
}

fn version_2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    if root.is_none() {
        eprintln!("no tree of version 2 is mounted");
    }
    root.map(PathBuf::from)
}

/// Also where version 2 has no controllers, because version 1 has them.
#[test]
fn version_2_kills_at_one_stroke() {
    let Some(root) = version_2() else { return };
    match Cgroup::version_2(&root, "kill", &Limits::default()) {
        Ok(group) => {
            assert!(folders(&group)[0].join("cgroup.kill").exists());
            assert_kills_all(&group);
        }
        Err(error) => assert!(error.starts_with("no control group can be made in "), "{error}"),
    }
}

#[test]
fn a_process_can_be_added_from_outside() {
    let Some(group) = group(&Limits { processes: Some(32), ..Limits::default() }) else { return };
    let mut process = Command::new("/bin/sleep").arg("60").process_group(0).spawn().unwrap();
    group.add(process.id().try_into().unwrap()).unwrap();
    drop(group);
    assert_eq!(process.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
}

#[test]
fn groups_of_daemons_that_are_gone_are_removed() {
    let limits = Limits { processes: Some(32), ..Limits::default() };
    let Some(first) = group(&limits) else { return };
    let folder = folders(&first).remove(0);
    // Number 1 runs, but was not started then.
    let left = folder.with_file_name("capstan-1-999999999-0-cloud.test");
    fs::create_dir(&left).unwrap();
    let second = group(&limits).unwrap();
    assert!(!left.exists());
    assert!(folder.exists(), "the first one's daemon is this process");
    assert_ne!(folder, folders(&second)[0], "two of one name");
}

#[test]
fn a_driver_without_limits_needs_no_group() {
    let limits = Limits { files: Some(32), ..Limits::default() };
    assert!(Cgroup::create("cloud.test", &limits).unwrap().is_none());
}
