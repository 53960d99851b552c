//! The cloud in a file.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use super::*;

/// Names the file to the program that is killed.
const FILE: &str = "DUMMY_CLOUD_OF_THE_CRASH_TEST";

#[test]
fn a_file_outlives_its_instances_and_is_shared_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud");
    let config = json!({ "user": "u", "extra_params": { "file": file, "build_time": { "ms": 3_600_000 } } });
    let (one, other) = (open(config.clone()), open(config.clone()));
    let mut request = wanted("a");
    request["client_token"] = json!("t");
    request["tags"] = json!({ "owner": "us" });
    let node = one.ok("create_node", &request);
    assert_eq!(other.ok("create_node", &request), node, "instances share the file");
    let ip = other.ok("allocate_ip", &json!({}));
    other.ok("assign_ip", &json!({ "address": ip["address"], "node": node["id"] }));
    one.ok("create_volume", &json!({ "name": "v", "size_gib": 1 }));
    drop((one, other));
    let again = open(config);
    let found = again.ok("get_node", &json!({ "id": node["id"] }));
    assert_eq!(
        (&found["tags"], &found["public_ips"], &found["state"]),
        (&json!({ "owner": "us" }), &json!([ip["address"]]), &json!("pending"))
    );
    assert_eq!(again.ok("list_volumes", &json!({}))["items"][0]["name"], "v");
    again.ok("destroy_node", &json!({ "id": node["id"] }));
    assert_ne!(again.ok("create_node", &request)["id"], node["id"], "ids are not given twice");

    let no_file = folder.path().join("folder");
    std::fs::create_dir(&no_file).unwrap();
    let refused = Driven::open(table(), &json!({ "file": no_file })).err().unwrap();
    assert!(refused.1["message"].as_str().unwrap().contains(no_file.to_str().unwrap()), "{}", refused.1);
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud");
    let cloud = open(json!({ "file": file }));
    cloud.ok("create_node", &wanted("a"));
    std::fs::rename(&file, folder.path().join("elsewhere")).unwrap();
    let refused = cloud.invoke("create_node", &wanted("b")).1;
    assert_eq!(refused["code"], "unavailable");
    assert!(refused["operator_message"].as_str().unwrap().contains("/cloud: "), "{refused}");
    assert!(!refused["message"].as_str().unwrap().contains('/'), "{refused}");
    std::fs::rename(folder.path().join("elsewhere"), &file).unwrap();
    assert_eq!(count(&cloud), 1);
}

/// Runs only where the crash test starts it, and until that kills it.
#[test]
fn creates_nodes_until_it_is_killed() {
    let Some(file) = env::var_os(FILE) else { return };
    let cloud = open(json!({ "file": Path::new(&file) }));
    loop {
        println!("made {}", cloud.ok("create_node", &wanted("a"))["id"].as_str().unwrap());
    }
}

#[test]
fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud");
    let mut answered = Vec::new();
    for round in 1..=5_usize {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "file::creates_nodes_until_it_is_killed", "--nocapture"])
            .env(FILE, &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut made = lines.filter_map(|line| line.rsplit_once("made ").map(|(_, id)| id.to_owned()));
        answered.extend(made.by_ref().take(20 * round));
        child.kill().unwrap();
        answered.extend(made);
        child.wait().unwrap();
    }
    let cloud = open(json!({ "file": file, "page_size": 1_000_000 }));
    let nodes = cloud.ok("list_nodes", &json!({}))["items"].clone();
    let ids: std::collections::HashSet<&str> =
        nodes.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let lost: Vec<&String> = answered.iter().filter(|id| !ids.contains(id.as_str())).collect();
    assert!(answered.len() >= 300 && lost.is_empty(), "{lost:?} of {}", answered.len());
    assert!(ids.len() <= answered.len() + 5, "one for each kill was made and not answered, of {}", ids.len());
}
