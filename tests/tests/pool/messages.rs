//! Node operations by Gearman, as libra's API server sends them.

use capstan_tests::{gearman, wait_for};
use serde_json::json;

use crate::world::{FAR, Parts, World};

#[test]
fn q01_q02_bug02_what_is_no_action_fails_with_the_request_and_a_reason() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "" });
    let daemon = world.start();
    let reply = world.operate(&json!({ "action": "EXPLODE", "x": 1 }));
    assert_eq!((&reply["response"], &reply["x"]), (&json!("FAIL"), &json!(1)), "{reply}");
    let reply = world.operate(&json!({ "name": "n" }));
    assert_eq!(reply["response"], "FAIL", "{reply}");
    assert!(reply["reason"].as_str().unwrap().contains("action"), "{reply}");
    for payload in [&b"<html>"[..], b"[]", b"", b"{\"action\":"] {
        match gearman::submit(world.site.job_server_port, "libra_pool_mgm", payload) {
            gearman::Outcome::Complete(reply) => assert!(String::from_utf8_lossy(&reply).contains("FAIL")),
            other => panic!("{other:?}"),
        }
    }
    daemon.stop();
}

#[test]
fn p04_q16_devices_are_built_once_for_each_unique_id_and_deleted_by_name() {
    let world = World::new(Parts { pool: "nodes = 0\nnode_basename = \"lb\"\naz = 3", cloud: "" });
    let daemon = world.start();
    let first = world.operate(&json!({ "action": "build_device" }));
    assert_eq!(first["response"], "PASS", "{first}");
    assert_eq!((&first["az"], &first["type"]), (&json!(3), &json!("basename: lb, image: debian-12")), "{first}");
    assert!(first["name"].as_str().unwrap().starts_with("lb-") && first["addr"].is_string(), "{first}");
    let second = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    assert_ne!(first["name"], second["name"]);
    assert_eq!(world.cloud().len(), 2);
    // The same unique id again: the same answer, and no third node.
    let port = world.site.job_server_port;
    let again = |unique: &str| match gearman::submit_as(port, "libra_pool_mgm", unique, br#"{"action":"BUILD_DEVICE"}"#)
    {
        Ok(gearman::Outcome::Complete(reply)) => String::from_utf8(reply).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(again("u-1"), again("u-1"));
    assert_eq!(world.cloud().len(), 3);
    let deleted = world.operate(&json!({ "action": "DELETE_DEVICE", "name": first["name"] }));
    assert_eq!(deleted["response"], "PASS", "{deleted}");
    assert_eq!(world.cloud().len(), 2);
    let unknown = world.operate(&json!({ "action": "DELETE_DEVICE", "name": "nobody" }));
    assert_eq!(unknown["response"], "FAIL", "{unknown}");
    daemon.stop();
}

#[test]
fn q10_addresses_are_taken_assigned_verified_and_given_back() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "" });
    let daemon = world.start();
    let device = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    let ip = world.operate(&json!({ "action": "BUILD_IP" }));
    assert!(ip["response"] == "PASS" && ip["id"].is_string() && ip["ip"].is_string(), "{ip}");
    for action in ["ASSIGN_IP", "REMOVE_IP", "DELETE_IP"] {
        let reply = world.operate(&json!({ "action": action, "name": device["name"], "ip": ip["ip"] }));
        assert_eq!(reply["response"], "PASS", "{reply}");
    }
    let reply = world.operate(&json!({ "action": "DELETE_IP", "ip": ip["ip"] }));
    assert_eq!(reply["response"], "FAIL", "{reply}");
    let reply = world.operate(&json!({ "action": "ASSIGN_IP", "name": device["name"], "ip": "not an address" }));
    assert!(reply["reason"].as_str().unwrap().contains("no address"), "{reply}");
    daemon.stop();
}

#[test]
fn an_address_whose_answer_is_lost_is_found() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "" });
    world.faults(&json!([{ "fault": "reply_lost", "methods": ["allocate_ip"], "calls": [1] }]));
    let daemon = world.start();
    let ip = world.operate(&json!({ "action": "BUILD_IP" }));
    assert_eq!(ip["response"], "PASS", "{ip}");
    assert_eq!(world.calls("allocate_ip").len(), 1);
    daemon.stop();
}

#[test]
fn a_message_that_was_accepted_is_done_although_its_daemon_was_killed() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "build_time = { ms = 1000 }" });
    let daemon = world.start();
    let port = world.site.job_server_port;
    let sender =
        std::thread::spawn(move || gearman::submit_as(port, "libra_pool_mgm", "u-1", br#"{"action":"BUILD_DEVICE"}"#));
    wait_for("the build to begin", FAR, || (world.calls("create_node").len() == 1).then_some(()));
    daemon.kill();
    assert!(sender.join().unwrap().is_err(), "an answer from a dead daemon");
    let daemon = world.start();
    let reply = match gearman::submit_as(port, "libra_pool_mgm", "u-1", br#"{"action":"BUILD_DEVICE"}"#) {
        Ok(gearman::Outcome::Complete(reply)) => serde_json::from_slice::<serde_json::Value>(&reply).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reply["response"], "PASS", "{reply}");
    assert_eq!(world.calls("create_node").len(), 1);
    daemon.stop();
}

#[test]
fn the_gearman_tool_drives_a_node_operation() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "" });
    let daemon = world.start();
    let output = gearman::tool(world.site.job_server_port, &["-f", "libra_pool_mgm"], br#"{"action":"BUILD_IP"}"#);
    let reply: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reply["response"], "PASS", "{reply}");
    daemon.stop();
}

/// A worker on a node, as far as DIAGNOSTICS goes: the `gearman` tool, which answers each job with the same text.
struct FakeNode(std::process::Child);

impl FakeNode {
    fn new(port: u16, name: &str, reply: &serde_json::Value) -> Self {
        let child = std::process::Command::new("gearman")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-w",
                "-f",
                name,
                "--",
                "sh",
                "-c",
                "cat >/dev/null; printf %s \"$0\"",
            ])
            .arg(reply.to_string())
            .stdin(std::process::Stdio::null())
            .spawn();
        Self(child.expect("the gearman tool starts; `make setup` installs it"))
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Builds a device on which a worker answers DIAGNOSTICS so.
fn built_with(world: &World, reply: &serde_json::Value) -> serde_json::Value {
    std::thread::scope(|scope| {
        let building = scope.spawn(|| world.operate(&json!({ "action": "BUILD_DEVICE" })));
        let node = wait_for("a node that is checked", FAR, || world.in_state("checking").pop());
        let _node = FakeNode::new(world.site.job_server_port, node["name"].as_str().unwrap(), reply);
        building.join().unwrap()
    })
}

fn with_diagnostics(pool: &str) -> World {
    World::new(Parts { pool, cloud: "" })
        .changed("diagnostics = false", "diagnostics = true\ndiagnostics_timeout_seconds = 0.5")
}

#[test]
fn q04_a_device_whose_worker_answers_well_passes_with_all_its_fields() {
    let world = with_diagnostics("nodes = 0\naz = 3\nbuild_timeout_seconds = 20");
    let daemon = world.start();
    let good = json!({ "hpcs_response": "PASS", "network": "PASS", "gearman": [{ "host": "h", "status": "PASS" }] });
    let reply = built_with(&world, &good);
    assert_eq!(reply["response"], "PASS", "{reply}");
    assert!(reply["name"].is_string() && reply["addr"].is_string() && reply["type"].is_string(), "{reply}");
    assert_eq!((&reply["az"], world.cloud().len()), (&json!(3), 1));
    daemon.stop();
}

#[test]
fn q07_a_worker_that_is_too_old_for_the_question_is_good() {
    let world = with_diagnostics("nodes = 0\nbuild_timeout_seconds = 20");
    let daemon = world.start();
    let reply = built_with(
        &world,
        &json!({ "hpcs_response": "FAIL", "hpcs_error": "Selected driver does not support this action." }),
    );
    assert_eq!(reply["response"], "PASS", "{reply}");
    daemon.stop();
}

#[test]
fn q05_a_device_whose_worker_has_no_network_is_named_and_deleted() {
    let world = with_diagnostics("nodes = 0\nbuild_timeout_seconds = 3");
    let daemon = world.start();
    let reply = built_with(&world, &json!({ "hpcs_response": "PASS", "network": "FAIL", "gearman": [] }));
    assert_eq!(reply["response"], "FAIL", "{reply}");
    assert!(reply["name"].is_string() && reply["addr"].is_string(), "{reply}");
    assert!(reply["reason"].as_str().unwrap().contains("DIAGNOSTICS: its worker has no network"), "{reply}");
    wait_for("the node to be gone", FAR, || world.cloud().is_empty().then_some(()));
    daemon.stop();
}

// libra had the option and waited ten seconds whatever it said.
#[test]
fn bug01_diagnostics_wait_as_long_as_they_are_told_to() {
    let world = with_diagnostics("nodes = 0\nbuild_timeout_seconds = 1");
    let daemon = world.start();
    let began = std::time::Instant::now();
    let reply = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    assert!(reply["reason"].as_str().unwrap().contains("DIAGNOSTICS"), "{reply}");
    assert!(began.elapsed() < std::time::Duration::from_secs(9), "{:?}", began.elapsed());
    daemon.stop();
}

#[test]
fn q08_a_device_whose_create_was_not_answered_is_found_and_handed_over() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "" });
    world.faults(&json!([{ "fault": "reply_lost", "methods": ["create_node"], "calls": [1] }]));
    let daemon = world.start();
    let reply = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    assert_eq!(reply["response"], "PASS", "{reply}");
    assert_eq!((world.calls("create_node").len(), world.cloud().len()), (1, 1));
    daemon.stop();
}

#[test]
fn q11_bug53_an_address_that_is_seen_at_the_third_look_is_assigned() {
    let world =
        World::new(Parts { pool: "nodes = 0\nassign_checks = 5\nassign_check_interval_seconds = 0.1", cloud: "" });
    let daemon = world.start();
    let device = world.operate(&json!({ "action": "BUILD_DEVICE" }));
    let ip = world.operate(&json!({ "action": "BUILD_IP" }));
    let assign = json!({ "action": "ASSIGN_IP", "name": device["name"], "ip": ip["ip"] });
    world.faults(&json!([{ "fault": "error", "methods": ["list_ips"], "calls": [1, 2] }]));
    let reply = world.operate(&assign);
    assert_eq!(reply["response"], "PASS", "{reply}");
    world.faults(&json!([{ "fault": "error", "methods": ["list_ips"] }]));
    let reply = world.operate(&assign);
    assert_eq!(reply["response"], "FAIL", "{reply}");
    assert!(reply["reason"].as_str().unwrap().contains("after 5 looks"), "{reply}");
    daemon.stop();
}

#[test]
fn q14_an_internal_error_of_a_removal_counts_as_the_configuration_says() {
    for (pool, expected) in [("nodes = 0\nremove_ip_ignores_errors = true", "PASS"), ("nodes = 0", "FAIL")] {
        let world = World::new(Parts { pool, cloud: "" });
        let daemon = world.start();
        let device = world.operate(&json!({ "action": "BUILD_DEVICE" }));
        let ip = world.operate(&json!({ "action": "BUILD_IP" }));
        let message = |action: &str| json!({ "action": action, "name": device["name"], "ip": ip["ip"] });
        assert_eq!(world.operate(&message("ASSIGN_IP"))["response"], "PASS");
        world.faults(&json!([{ "fault": "error", "methods": ["remove_ip"], "code": "internal" }]));
        let reply = world.operate(&message("REMOVE_IP"));
        assert_eq!(reply["response"], expected, "{reply}");
        // Only an internal one: another refusal is a refusal in any case.
        world.faults(&json!([{ "fault": "error", "methods": ["remove_ip"], "code": "auth_failed" }]));
        assert_eq!(world.operate(&message("REMOVE_IP"))["response"], "FAIL");
        daemon.stop();
    }
}

#[test]
fn a_python_program_drives_node_operations() {
    let world = World::new(Parts { pool: "nodes = 0", cloud: "" });
    let daemon = world.start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pool/client.py");
    let port = world.site.job_server_port.to_string();
    let ask = |message: serde_json::Value| {
        let output =
            std::process::Command::new("python3").args([script, &port, &message.to_string()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let built = ask(json!({ "action": "BUILD_DEVICE" }));
    assert_eq!(built["response"], "PASS", "{built}");
    // The same unique id, and another message: refused, and nothing is done.
    let refused = ask(json!({ "action": "DELETE_DEVICE", "name": built["name"] }));
    assert!(refused["reason"].as_str().unwrap().contains("under the same unique id"), "{refused}");
    assert_eq!(world.cloud().len(), 1);
    daemon.stop();
}
