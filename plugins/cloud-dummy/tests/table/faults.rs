//! Faults of calls; those of nodes are tested where nodes are made.

use std::fs;

use super::*;

#[test]
fn a_lost_reply_leaves_a_node() {
    let cloud = open(json!({ "faults": [
        { "fault": "reply_lost", "calls": [1] },
        { "fault": "reply_lost", "calls": [2], "code": "unavailable", "message": "connection reset" },
        { "fault": "reply_lost", "methods": ["destroy_node"], "times": 1 },
    ] }));
    let mut request = wanted("a");
    request["client_token"] = json!("t");
    assert_eq!(cloud.code("create_node", &request), "timeout");
    assert_eq!(count(&cloud), 1);
    let lost = cloud.invoke("create_node", &wanted("b")).1;
    assert_eq!(
        (&lost["code"], &lost["message"], &lost["retry"]),
        (&json!("unavailable"), &json!("connection reset"), &json!("now"))
    );
    assert_eq!(cloud.ok("create_node", &request)["id"], "node-1", "its token finds it");
    assert_eq!(cloud.code("destroy_node", &json!({ "id": "node-1" })), "timeout");
    assert_eq!(cloud.code("destroy_node", &json!({ "id": "node-1" })), "not_found");
    assert_eq!(count(&cloud), 1);
}

#[test]
fn a_refused_call_does_nothing() {
    let cloud = open(json!({ "faults": [
        { "fault": "rate_limited", "methods": ["create_node"], "node": "web-", "retry_after_ms": 1_500 },
        { "fault": "error", "methods": ["create_node"], "node": "db-", "code": "auth_failed", "message": "<html>401</html>" },
    ] }));
    let limited = cloud.invoke("create_node", &wanted("web-1")).1;
    assert_eq!((&limited["code"], &limited["retry"]["after_ms"]), (&json!("rate_limited"), &json!(1_500)));
    let refused = cloud.invoke("create_node", &wanted("db-1")).1;
    assert_eq!((&refused["code"], &refused["message"]), (&json!("auth_failed"), &json!("<html>401</html>")));
    cloud.ok("create_node", &wanted("other"));
    assert_eq!(count(&cloud), 1);
}

#[test]
fn a_slow_list_runs_into_the_deadline() {
    let cloud = open(json!({ "faults": [{ "fault": "slow", "methods": ["list_nodes"], "delay_ms": 3_600_000 }] }));
    let slow = cloud.invoke_raw(b"list_nodes", br#"{ "deadline_ms": 20, "params": {} }"#);
    assert_eq!(slow.1["code"], "timeout");
    cloud.ok("list_images", &json!({}));
}

#[test]
fn the_control_file_changes_faults_while_the_cloud_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (control, calls) = (folder.path().join("faults.json"), folder.path().join("calls"));
    let cloud = open(json!({ "extra_params": { "control": control, "call_log": calls } }));
    let put = |rules: Value| {
        fs::write(control.with_extension("new"), rules.to_string()).unwrap();
        fs::rename(control.with_extension("new"), &control).unwrap();
    };
    cloud.ok("create_node", &wanted("a"));
    put(json!([{ "fault": "error", "code": "quota_exceeded" }, { "fault": "slow", "delay_ms": 1 }]));
    assert_eq!(cloud.code("create_node", &wanted("b")), "quota_exceeded");
    put(json!({ "fault": "error" }));
    let refused = cloud.invoke("create_node", &wanted("b")).1;
    assert!(refused["message"].as_str().unwrap().contains("expected a JSON list of faults"), "{refused}");
    put(json!([]));
    cloud.ok("create_node", &wanted("b"));
    let text = fs::read_to_string(&calls).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answers: Vec<&str> = lines.iter().map(|line| line["answer"].as_str().unwrap()).collect();
    assert_eq!(answers, ["ok", "quota_exceeded", "internal", "ok"]);
    assert_eq!(lines[1]["faults"], json!(["error", "slow"]));
    assert_eq!((&lines[1]["subject"], &lines[1]["request_id"]), (&json!("b"), &json!("r \"1\"")));
}
