//! A kill alone proves no durability: the order of the system calls does.

use std::{
    fs,
    process::{Command, Stdio},
};

use capstan_tests::{paths, process::Process, wait_for};
use serde_json::json;

use crate::support::{Cloud, LONG};

#[test]
fn the_record_is_on_disk_before_anything_is_started() {
    let cloud = Cloud::new();
    cloud.image("plain", "exec tail -F @DIR@/x", "");
    let trace = cloud.site.path().join("trace");
    let wanted = json!({ "name": "n", "image": "plain", "size": "small" });
    let mut traced = Process::spawn(
        Command::new("strace")
            .args(["-f", "-y", "-s", "400", "-e", "trace=fsync,rename,renameat,renameat2,execve", "-o"])
            .arg(&trace)
            .arg(paths::capstan())
            .arg("--config")
            .arg(cloud.site.config())
            .args(cloud.words("create_node", &wanted))
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
    .expect("strace runs; `make setup` installs it");
    let node = wait_for("the node to run", LONG, || cloud.nodes().into_iter().find(|node| node["state"] == "running"));
    let id = node["id"].as_str().unwrap();
    // The trace goes on until all that was started has ended.
    cloud.destroy(id);
    assert!(traced.wait(LONG).success());
    let text = fs::read_to_string(&trace).unwrap();
    let nodes = cloud.site.path().join("cloud/nodes");
    let nodes = nodes.to_str().unwrap();
    // Each step is looked for after the one before.
    let mut rest = text.as_str();
    for (call, what) in [
        ("fsync", format!("{nodes}/.{id}/record.new")),
        ("rename", format!("{nodes}/.{id}/record.new\", ")),
        ("fsync", format!("<{nodes}/.{id}>")),
        ("rename", format!("{nodes}/.{id}\", ")),
        ("fsync", format!("<{nodes}>")),
        // The start, which is counted before it is made.
        ("fsync", format!("{nodes}/{id}/record.new")),
        ("rename", format!("{nodes}/{id}/record.new\", ")),
        ("fsync", format!("<{nodes}/{id}>")),
        ("execve", format!("\"run\", \"{nodes}/{id}\"")),
    ] {
        let at = rest
            .match_indices('\n')
            .map(|(at, _)| at + 1)
            .find(|at| {
                let line = rest[*at..].lines().next().unwrap_or_default();
                line.contains(&format!(" {call}")) && line.contains(&what)
            })
            .unwrap_or_else(|| panic!("no {call} of {what} where it is due:\n{text}"));
        rest = &rest[at..];
    }
}
