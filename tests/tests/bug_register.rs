//! What libra's worker and HAProxy driver did wrong, as its absence shows from outside. `docs/contract/acceptance.md` lists the
//! whole register; faults that other rows hold are not repeated here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use capstan_tests::{
    daemon::{HAPROXY, Setup, Site, update},
    free_port,
    message::{action, load_balancer, node, of, with},
    web::{self, WebServer},
};
use serde_json::{Value, json};

#[test]
fn bug07_bug08_a_failed_change_disables_all_nodes_and_says_why() {
    let site = Site::haproxy();
    let daemon = site.start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    // The first load balancer is the one at fault; libra marked the nodes of the last.
    let both = of(json!([
        load_balancer("http", taken, json!([node("1", 81), node("2", 82)])),
        load_balancer("tcp", free_port(), json!([node("3", 83)])),
    ]));
    let reply = site.fail(&both, &format!("Port {taken} is in use by another program."));
    let conditions: Vec<&Value> = [(0, 0), (0, 1), (1, 0)]
        .map(|(list, place)| &reply["loadBalancers"][list]["nodes"][place]["condition"])
        .to_vec();
    assert_eq!(conditions, ["DISABLED", "DISABLED", "DISABLED"], "{reply}");
    assert_eq!((site.haproxy_config(), site.haproxy_processes()), (String::new(), Vec::new()), "nothing was begun");
    daemon.stop();
}

#[test]
fn h01_bug10_nothing_to_balance_is_no_fault() {
    let site = Site::haproxy();
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    site.pass(&update(port, &[]));
    assert_eq!(web::get(port, None).unwrap().status, 503, "BUG-10: a load balancer without nodes answers nobody");
    assert_eq!(site.pass(&action("STATS"))["nodes"], json!([]));
    site.pass(&update(port, &[("1", web.port())]));
    assert_eq!(web::get(port, None).unwrap().body, "web");

    // H01: what begins as libra's empty mapping is a device that serves nothing.
    site.pass(&of(json!([])));
    let config = site.haproxy_config();
    assert!(!config.contains("frontend") && !config.contains("backend"), "H01: {config}");
    assert!(web::get(port, None).is_err(), "H01");
    assert_eq!(site.pass(&action("STATS"))["nodes"], json!([]));
    site.pass(&update(port, &[("1", web.port())]));
    assert_eq!(web::get(port, None).unwrap().body, "web");
    daemon.stop();
}

/// Mode and owner of everything below a folder, the folder included.
fn below(folder: &Path) -> Vec<(String, u32, u32)> {
    let about = fs::symlink_metadata(folder).unwrap();
    let mut all = vec![(folder.display().to_string(), about.mode() & 0o777, about.uid())];
    if about.is_dir() {
        all.extend(fs::read_dir(folder).unwrap().flat_map(|entry| below(&entry.unwrap().path())));
    }
    all
}

#[test]
fn bug11_files_are_where_nobody_else_can_plant_one() {
    let site = Site::haproxy();
    let daemon = site.start();
    let port = free_port();
    site.pass(&update(port, &[("1", 81)]));
    site.pass(&update(port, &[]));
    site.pass(&action("METRICS"));
    let own = rustix::process::geteuid().as_raw();
    let all: Vec<_> = [site.haproxy_state(), site.haproxy_runtime()].iter().flat_map(|folder| below(folder)).collect();
    assert!(all.len() > 5, "{all:?}");
    for (path, mode, owner) in &all {
        // Nobody else comes into the folders, and nobody else writes what is in them.
        let closed = if Path::new(path).is_dir() { 0o077 } else { 0o022 };
        assert!(mode & closed == 0 && *owner == own, "{path} has mode {mode:o} and owner {owner}");
    }
    site.pass(&action("DELETE"));
    daemon.stop();

    // A folder that others may write is refused, and with it what they may have put there.
    fs::set_permissions(site.haproxy_state(), fs::Permissions::from_mode(0o777)).unwrap();
    let elsewhere = site.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    std::os::unix::fs::symlink(&elsewhere, site.haproxy_state().join("haproxy.cfg")).unwrap();
    let daemon = site.start();
    let reply = site.ask(&update(port, &[("1", 81)]));
    assert_eq!(reply["hpcs_response"], "FAIL", "{reply}");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
    daemon.stop();
    let log = site.log();
    assert!(log.contains(&site.haproxy_state().display().to_string()), "the log names the folder: {log}");
}

#[test]
fn bug12_the_last_good_configuration_comes_back() {
    let site = Site::new(Setup { driver: "haproxy", driver_config: HAPROXY, ..Setup::default() });
    let (port, web) = (free_port(), WebServer::start("web"));
    let daemon = site.start();
    site.pass(&update(port, &[("1", web.port())]));
    let (file, processes) = (site.haproxy_config(), site.haproxy_processes());
    daemon.stop();

    // A stand-in for the checker lets a file through that HAProxy then refuses.
    let blind = site.path().join("blind-checker");
    fs::write(&blind, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&blind, fs::Permissions::from_mode(0o755)).unwrap();
    let text = fs::read_to_string(site.config()).unwrap();
    let log_file = text.lines().find(|line| line.starts_with("log_file")).unwrap();
    let broken = format!("{log_file}\nhaproxy_path = \"{}\"\nstats_user = \"no-such-user\"", blind.display());
    site.configure(&text.replace(log_file, &broken));
    let daemon = site.start();
    site.fail(
        &update(free_port(), &[("1", web.port())]),
        "The new configuration did not come up; the previous one was restored.",
    );
    assert!(site.log().contains("no-such-user"), "HAProxy's own words: {}", site.log());
    assert_eq!(site.haproxy_config(), file);
    assert_eq!(site.haproxy_processes()[0], processes[0], "its master lives");
    assert_eq!(web::get(port, None).unwrap().body, "web");
    daemon.stop();

    site.configure(&text);
    let daemon = site.start();
    let other = free_port();
    site.pass(&update(other, &[("1", web.port())]));
    assert_eq!(web::get(other, None).unwrap().body, "web", "and is changed again");
    daemon.stop();
}

#[test]
fn bug22_a_time_limit_of_zero_is_the_default_and_not_for_ever() {
    let site = Site::haproxy();
    let daemon = site.start();
    let message = update(free_port(), &[("1", 81)]);
    let options = |value: u32| json!({ "client_timeout": value, "server_timeout": value, "connect_timeout": value, "connect_retries": value });
    site.pass(&with(message.clone(), "/loadBalancers/0/options", options(0)));
    let config = site.haproxy_config();
    for line in ["timeout client 30000ms", "timeout server 30000ms", "timeout connect 30000ms", "retries 0"] {
        assert!(config.lines().any(|found| found.trim() == line), "{line}:\n{config}");
    }
    site.pass(&with(message, "/loadBalancers/0/options", options(7)));
    assert!(site.haproxy_config().contains("timeout connect 7ms"));
    daemon.stop();
}
