//! What ends suddenly: a node's program, its supervisor, the driver's process, the daemon.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use capstan_tests::{
    paths,
    process::{self, Process, is_alive, signal_to},
    random::Random,
    wait_for,
};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Cloud, LONG, Node};

#[test]
fn a_program_that_crashes_is_started_again_until_it_does_so_too_often() {
    let cloud = Cloud::new();
    cloud.image("plain", "exec tail -F @DIR@/x", "restart = { limit = 2, window_seconds = 600, delay_ms = 10 }");
    let node = cloud.running("n", "plain");
    let mut program = node.program;
    for starts in 2..=3 {
        signal_to(program, Signal::KILL);
        program = wait_for("the next start", LONG, || {
            let seen = cloud.get(&node.id);
            assert_ne!(seen["state"], "error", "{seen}");
            (seen["state"] == "running" && seen["extra"]["starts"] == starts).then(|| Node::of(&seen).program)
        });
    }
    signal_to(program, Signal::KILL);
    let failed = cloud.until(&node.id, "error");
    let fault = failed["fault"].as_str().unwrap();
    assert!(fault.contains("ended 3 times within 600 s") && fault.contains("SIGKILL"), "{fault}");
    assert_eq!(cloud.processes(&node.id), Vec::<u32>::new());
    // A restart mends it.
    cloud.call("reboot_node", &json!({ "id": node.id }));
    cloud.until(&node.id, "running");
    cloud.destroy(&node.id);

    cloud.image("bad", "echo one; echo two >&2; exit 3", "restart = { limit = 1, delay_ms = 1 }");
    let id = cloud.create("bad", "bad")["id"].as_str().unwrap().to_owned();
    let fault = cloud.until(&id, "error")["fault"].as_str().unwrap().to_owned();
    assert!(fault.contains("exit status: 3") && fault.contains("one\ntwo"), "{fault}");
    cloud.destroy(&id);
}

#[test]
fn too_many_processes_end_the_program() {
    let cloud = Cloud::new();
    let crowd = "for n in 1 2 3 4 5 6; do setsid tail -F @DIR@/x & done; exec tail -F @DIR@/y";
    cloud.image("crowd", crowd, "restart = { limit = 0 }");
    let wanted = json!({ "name": "crowd", "image": "crowd", "size": "tight" });
    let id = cloud.call("create_node", &wanted)["id"].as_str().unwrap().to_owned();
    let fault = wait_for("the end", LONG, || cloud.get(&id)["fault"].as_str().map(str::to_owned));
    // Looked at while the shell still starts them, or when all seven are there.
    assert!(fault.contains(" processes, of which the size allows 4"), "{fault}");
    assert_eq!(cloud.processes(&id), Vec::<u32>::new());
    cloud.destroy(&id);
}

#[test]
fn a_node_whose_supervisor_was_killed_is_in_error_and_goes_whole() {
    let cloud = Cloud::new();
    cloud.image("plain", "env -i setsid tail -F @DIR@/fled & exec tail -F @DIR@/x", "");
    for way in ["destroy_node", "reboot_node"] {
        let node = cloud.running(way.replace('_', "-").as_str(), "plain");
        wait_for("three processes", LONG, || (cloud.processes(&node.id).len() == 3).then_some(()));
        let before = cloud.processes(&node.id);
        signal_to(node.supervisor, Signal::KILL);
        let fault = cloud.until(&node.id, "error")["fault"].as_str().unwrap().to_owned();
        assert!(fault.contains("supervisor was killed"), "{fault}");
        assert!(is_alive(node.program), "it goes on meanwhile");
        cloud.call(way, &json!({ "id": node.id }));
        for pid in before {
            assert!(!is_alive(pid), "{way} left process {pid}");
        }
        if way == "reboot_node" {
            cloud.until(&node.id, "running");
            cloud.destroy(&node.id);
        }
    }
}

#[test]
fn nodes_go_on_without_daemon_and_driver_and_are_found_again() {
    let pool = "[pool]\ndriver = \"dummy\"\nnodes = 2\nimage = \"plain\"\nsize = \"small\"\ndiagnostics = false\n\
                poll_interval_seconds = 0.1\n\
                [known_drivers.mgm.dummy]\nlibrary = \"libcapstan_mgm_dummy.so\"\n[known_drivers.mgm.dummy.config]\nfree = 0\n";
    let cloud = Cloud::with("", &[8080], "");
    cloud.image("plain", "env -i setsid tail -F @DIR@/fled & exec tail -F @DIR@/x", "");
    // The pool manager has the daemon itself make the nodes.
    let text = fs::read_to_string(cloud.site.config()).unwrap();
    let own = text.split("[known_drivers.cloud.local.config]\n").nth(1).unwrap();
    let farm = format!("[cloud_farm.default]\nengine = \"local\"\n[cloud_farm.default.extra_params]\n{own}");
    cloud
        .site
        .configure(&format!("{}\n{farm}\n{pool}", text.replace("[\"worker\"]", "[\"worker\", \"pool-manager\"]")));
    let daemon = cloud.start();
    let running = || -> Vec<Node> {
        let nodes = cloud.nodes();
        nodes.iter().filter(|node| node["state"] == "running").map(Node::of).collect()
    };
    let before = wait_for("two nodes", LONG, || Some(running()).filter(|nodes| nodes.len() == 2));
    // The API server says at each start that none of its devices is free, so the daemon makes more.
    let programs = |nodes: &[Node]| -> Vec<(String, u32)> {
        let first = nodes.iter().filter(|node| before.iter().any(|first| first.id == node.id));
        first.map(|node| (node.id.clone(), node.program)).collect()
    };

    let drivers: Vec<u32> = process::below(daemon.id())
        .into_iter()
        .filter(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("__driver") && line.contains("cloud.local")
        })
        .collect();
    assert!(!drivers.is_empty(), "the driver has processes of its own");
    drivers.iter().for_each(|pid| signal_to(*pid, Signal::KILL));
    assert_eq!(programs(&running()), programs(&before), "the driver's end");
    daemon.kill();
    assert_eq!(programs(&running()), programs(&before), "the daemon's end");
    let daemon = cloud.start();
    assert_eq!(programs(&running()), programs(&before), "the daemon's return");
    daemon.kill();
    for node in &running() {
        let all = cloud.processes(&node.id);
        // Another host than the one that started it: what it cannot ask it ends by its mark.
        cloud.destroy(&node.id);
        for pid in all {
            assert!(!is_alive(pid), "process {pid} was left");
        }
    }
}

#[test]
fn a_host_killed_at_random_moments_of_a_create_makes_no_second_node() {
    let cloud = Cloud::new();
    cloud.image("plain", "env -i setsid tail -F @DIR@/fled & exec tail -F @DIR@/x", "");
    let mut random = Random::seeded(20_130_321);
    let begun = Instant::now();
    let first = cloud.running("first", "plain");
    let whole = begun.elapsed();
    let (mut nothing, mut something) = (0, 0);
    for round in 0..12 {
        let wanted = json!({ "name": "n", "image": "plain", "size": "small", "client_token": round.to_string() });
        let mut host = Process::spawn(
            Command::new(paths::capstan())
                .arg("--config")
                .arg(cloud.site.config())
                .args(cloud.words("create_node", &wanted))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
        .unwrap();
        std::thread::sleep(Duration::from_micros(random.below(whole.as_micros() as u64)));
        host.signal(Signal::KILL);
        host.wait(LONG);
        match cloud.nodes().len() {
            1 => nothing += 1,
            2 => something += 1,
            more => panic!("{more} nodes"),
        }
        // Half of them are completed, the others are destroyed as they are.
        if round % 2 == 0 {
            let id = cloud.call("create_node", &wanted)["id"].as_str().unwrap().to_owned();
            cloud.until(&id, "running");
        }
        let nodes = cloud.nodes();
        assert!(nodes.len() <= 2, "{nodes:#?}");
        for node in nodes.iter().filter(|node| node["id"] != first.id.as_str()) {
            cloud.destroy(node["id"].as_str().unwrap());
        }
    }
    assert_eq!(cloud.nodes().len(), 1);
    cloud.destroy(&first.id);
    let left = process::with_command_line(cloud.site.path().join("cloud").to_str().unwrap());
    assert_eq!(left, Vec::<u32>::new());
    assert!(nothing + something == 12 && something > 0, "{nothing} kills came before the record, {something} after it");
}

#[test]
fn a_crash_at_any_step_leaves_what_is_listed_and_can_be_destroyed() {
    let cloud = Cloud::new();
    cloud.image("plain", "exec tail -F @DIR@/x", "");
    let nodes = cloud.site.path().join("cloud/nodes");
    let node = cloud.running("n", "plain");
    let record = fs::read(nodes.join(&node.id).join("record.json")).unwrap();
    // After the record, before anything else: the same token goes on where the crash was.
    let mut early: serde_json::Value = serde_json::from_slice(&record).unwrap();
    early["id"] = json!("00000001");
    early["address"] = json!("127.79.0.1");
    early["client_token"] = json!("early");
    early["run"] = json!(0);
    early["plan"] = json!(null);
    let folder = nodes.join("00000001");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("record.json"), early.to_string()).unwrap();
    assert_eq!(cloud.get("00000001")["state"], "error");
    let again = json!({ "name": "n", "image": "plain", "size": "small", "client_token": "early" });
    assert_eq!(cloud.call("create_node", &again)["id"], "00000001");
    cloud.until("00000001", "running");
    cloud.destroy("00000001");
    // Without a repetition it can be destroyed as it is.
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("record.json"), early.to_string()).unwrap();
    cloud.destroy("00000001");
    // A record that cannot be read.
    fs::write(nodes.join(&node.id).join("record.json"), "{").unwrap();
    let seen = cloud.get(&node.id);
    assert!(seen["state"] == "error" && seen["fault"].as_str().unwrap().contains("cannot be read"), "{seen}");
    cloud.destroy(&node.id);
    assert!(!is_alive(node.program) && !is_alive(node.supervisor));
    // What a crash left aside goes with the next node.
    fs::create_dir_all(nodes.join(".00000002/disk")).unwrap();
    let last = cloud.running("m", "plain");
    assert!(!nodes.join(".00000002").exists());
    cloud.destroy(&last.id);
}
