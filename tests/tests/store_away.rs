//! The daemon while its store cannot be used: readiness says why and what to do, nothing is acknowledged that is not kept, and it
//! goes on by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

#[allow(dead_code, reason = "the store's own suites use the rest")]
#[path = "../../host/tests/store_support/postgres.rs"]
mod postgres;
#[path = "../../host/tests/store_support/small_disk.rs"]
mod small_disk;

use std::{fs, path::Path, time::Duration};

use capstan_tests::{
    daemon::{Daemon, Setup, Site},
    http::{self, Request, Response},
    paths, wait_for,
};
use postgres::Server;
use rustix::process::Signal;
use serde_json::{Value, json};
use small_disk::{mounted, on_a_small_file_system};

/// Long enough for anything that is to happen.
const FAR: Duration = Duration::from_secs(30);

/// A daemon with the device API that keeps its state in this folder, or in the store of this URL.
fn site(state: &Path, url: &str) -> Site {
    let site = Site::new(Setup::default());
    let (port, job_server) = (site.http_port, site.job_server_port);
    let (state, directory) = (state.display(), paths::build());
    let directory = directory.display();
    site.configure(&format!(
        "[daemon]\nroles = [\"lbaas\"]\nstate_dir = \"{state}\"\nrun_dir = \"@ROOT@/run\"\n\
         [store]\nurl = \"{url}\"\n\
         [http]\nlisten = [\"127.0.0.1:{port}\"]\n\
         [gearman]\nembedded_listen = \"127.0.0.1:{job_server}\"\n\
         [drivers]\ndirectory = \"{directory}\"\ntrust_own_files = true\n\
         [lbaas]\nopen_device_api = true\n"
    ));
    site
}

fn ready(site: &Site) -> Response {
    http::get(site.http_port, "/readyz", "").expect("the daemon answers while its store cannot be used")
}

/// Waits until readiness is false, and gives what is said of the store.
fn not_ready(site: &Site) -> String {
    wait_for("readiness to fall", FAR, || {
        let answer = ready(site);
        let said = answer.json()["checks"]["store"].as_str().unwrap_or_default().to_owned();
        (answer.status == 503 && said != "ok").then_some(said)
    })
}

fn ready_again(site: &Site) {
    wait_for("readiness to come back by itself", FAR, || (ready(site).status == 200).then_some(()));
}

/// Registers a device; true when that was acknowledged.
fn add(site: &Site, name: &str) -> bool {
    let device =
        json!({ "name": name, "publicIpAddr": "10.0.0.1", "floatingIpAddr": "10.0.0.1", "az": 1, "type": "lb" });
    let answer = Request::new("POST", "/v1/devices").json(&device).send(site.http_port);
    assert!([200, 500, 503].contains(&answer.status), "{answer:?}");
    answer.status == 200
}

fn devices(site: &Site) -> Vec<String> {
    let answer = http::get(site.http_port, "/v1/devices?limit=10000", "").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut names: Vec<String> = answer.json()["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device: &Value| device["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// What was acknowledged is there, now and after a crash.
fn keeps(site: &Site, daemon: Daemon<'_>, acknowledged: &[String]) {
    let holds = |names: &[String]| acknowledged.iter().all(|name| names.contains(name));
    assert!(holds(&devices(site)), "{acknowledged:?}, and there are {:?}", devices(site));
    daemon.kill();
    let daemon = site.start();
    assert!(holds(&devices(site)), "{acknowledged:?}, and after a crash there are {:?}", devices(site));
    daemon.stop();
    site.expect(0, &["store", "check"]);
}

#[test]
fn a_full_disk_is_told_of_and_gone_on_from() {
    on_a_small_file_system("full_disk", 4);
}

#[test]
#[ignore = "runs in a namespace of its own, which the test above makes"]
fn full_disk() {
    let folder = mounted();
    let site = site(&folder.join("state"), "sqlite:capstan.db");
    let daemon = site.start();
    assert_eq!(ready(&site).json()["checks"]["store"], "ok");
    let mut acknowledged = Vec::new();
    for number in 0..5 {
        let name = format!("before-{number}");
        assert!(add(&site, &name));
        acknowledged.push(name);
    }
    // Somebody else's file takes all the room there is.
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![0; 8_000_000]).unwrap_err();
    let mut refused = 0;
    for number in 0.. {
        let name = format!("meanwhile-{number:05}");
        match add(&site, &name) {
            true => acknowledged.push(name),
            false => refused += 1,
        }
        if refused == 5 {
            break;
        }
        assert!(number < 5000, "a full disk takes whatever comes");
    }
    let said = not_ready(&site);
    assert!(said.contains("no room left") && said.contains("free space"), "{said}");
    assert_eq!(ready(&site).json()["status"], "not ready");
    assert_eq!(devices(&site), sorted(&acknowledged), "what is there can be read while nothing can be written");
    assert_eq!(http::get(site.http_port, "/livez", "").unwrap().status, 200);

    fs::remove_file(&ballast).unwrap();
    ready_again(&site);
    assert!(add(&site, "after"));
    acknowledged.push("after".to_owned());
    assert_eq!(devices(&site), sorted(&acknowledged), "what was refused is not there");
    keeps(&site, daemon, &acknowledged);
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names
}

#[test]
fn a_postgres_that_goes_is_told_of_and_gone_on_with_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&[]);
    let site = site(folder.path(), &server.database().url());
    let daemon = site.start();
    assert!(add(&site, "before"));
    let mut acknowledged = vec!["before".to_owned()];
    for (how, signal) in [("in order", Signal::INT), ("by a crash", Signal::QUIT)] {
        server.end(signal);
        // Nobody asks the store for anything, and readiness falls all the same.
        let said = not_ready(&site);
        assert!(said.contains("PostgreSQL") && said.contains(&format!("127.0.0.1:{}", server.port())), "{said}");
        assert!(said.contains("goes on by itself"), "{said}");
        let name = format!("while it ended {how}");
        assert!(!add(&site, &name), "acknowledged without a store");
        assert_eq!(http::get(site.http_port, "/livez", "").unwrap().status, 200);
        server.run(&[]);
        ready_again(&site);
        let name = format!("after it ended {how}");
        assert!(add(&site, &name), "the daemon is ready and takes nothing");
        acknowledged.push(name);
    }
    assert_eq!(devices(&site), sorted(&acknowledged), "what was refused is not there");
    keeps(&site, daemon, &acknowledged);
}
