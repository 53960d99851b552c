//! An old `libra.ini` becomes a configuration that loads; what has no counterpart is named.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use capstan::config::{Config, DriverKind, Endpoint, Role, import::libra_ini, load};
use serde_json::json;

fn loaded(toml: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let path = folder.path().join("capstan.toml");
    fs::write(&path, toml).unwrap();
    load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}\n{toml}")).config
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint::new(host, port)
}

const LAST_GENERATION: &str = "\
[DEFAULT]
daemon = true
user = haproxy
group = haproxy
billing_enable = False
verbose = true
debug = TRUE

[gearman]
servers = 10.0.0.1:4730, gearman.example.org:4731
keepalive = true
keepcnt = 3
keepidle = 60
keepintvl = 10
poll = 2
reconnect_sleep = 30
ssl_ca = ca.pem
ssl_cert = cert.pem
ssl_key = key.pem

[worker]
driver = haproxy
pid = /var/run/libra/libra_worker.pid

[worker:haproxy]
service = ubuntu
logfile = /var/log/haproxy.log
statsfile = /var/log/haproxy.stats

[mgm]
az = 1
nova_user = someone

[mysql1]
host = db
";

#[test]
fn every_option_of_the_worker_is_carried_over_or_named() {
    let imported = libra_ini(Path::new("etc/worker.ini"), LAST_GENERATION);
    let config = loaded(&imported.toml);
    assert_eq!(config.daemon.roles, [Role::Worker]);
    let gearman = &config.gearman;
    assert_eq!(gearman.endpoints(), [endpoint("10.0.0.1", 4730), endpoint("gearman.example.org", 4731)]);
    assert_eq!((gearman.keepalive, gearman.keepcnt), (true, Some(3)));
    assert_eq!((gearman.keepidle, gearman.keepintvl), (Some(Duration::from_secs(60)), Some(Duration::from_secs(10))));
    assert_eq!(gearman.reconnect_sleep, Duration::from_secs(30));
    assert!(gearman.tls.as_ref().unwrap().key.ends_with("key.pem"));
    assert_eq!((config.worker.driver.as_str(), config.telemetry.level.as_str()), ("haproxy", "debug"));
    let haproxy = config.known_drivers.get(DriverKind::LoadBalancer, "haproxy").unwrap();
    assert_eq!(
        haproxy.config.expose(),
        &json!({
            "control": "systemd",
            "service_name": "haproxy.service",
            "log_file": "/var/log/haproxy.log",
            "stats_user": "haproxy",
            "stats_group": "haproxy",
        })
    );
    let starts = [
        "etc/worker.ini:2: [DEFAULT] daemon: no counterpart: ",
        "etc/worker.ini:3: [DEFAULT] user: carried over as known_drivers.load_balancer.haproxy.config.stats_user; ",
        "etc/worker.ini:4: [DEFAULT] group: carried over",
        "etc/worker.ini:5: [DEFAULT] billing_enable: no counterpart: not part of the worker",
        "etc/worker.ini:15: [gearman] poll: no counterpart: the job server wakes an idle worker",
        "etc/worker.ini:23: [worker] pid: no counterpart: ",
        "etc/worker.ini:28: [worker:haproxy] statsfile: no counterpart: ",
        "etc/worker.ini:31: [mgm] az: not part of the worker; its later home is the pool section",
        "etc/worker.ini:32: [mgm] nova_user: not part of the worker; ",
        "etc/worker.ini:35: [mysql1] host: not part of the worker; its later home is the store section",
    ];
    assert_eq!(imported.notes.len(), starts.len(), "{:#?}", imported.notes);
    for (note, start) in imported.notes.iter().zip(starts) {
        assert!(note.starts_with(start), "{note}\n  expected\n{start}");
    }
}

#[test]
fn the_first_generation_kept_all_in_one_section() {
    let imported = libra_ini(
        Path::new("libra.ini"),
        "[global]\nverbose = true\nnodaemon = false\n[worker]\nserver = one:4730 two:4730\nreconnect-sleep = 5\n\
         haproxy-service = ubuntu\ndriver = haproxy\nlogfile = /var/log/libra/worker.log\n",
    );
    let config = loaded(&imported.toml);
    assert_eq!(config.gearman.endpoints(), [endpoint("one", 4730), endpoint("two", 4730)]);
    assert_eq!(config.gearman.reconnect_sleep, Duration::from_secs(5));
    assert_eq!(config.telemetry.level, "info");
    assert_eq!(imported.notes.len(), 2, "{:#?}", imported.notes);
}

#[test]
fn an_empty_file_means_libras_defaults() {
    let imported = libra_ini(Path::new("libra.ini"), "");
    let config = loaded(&imported.toml);
    assert_eq!(config.gearman.endpoints(), [endpoint("localhost", 4730)]);
    assert_eq!((config.worker.driver.as_str(), config.telemetry.level.as_str()), ("haproxy", "warn"));
    assert_eq!(imported.notes, Vec::<String>::new());
}

#[test]
fn what_cannot_be_understood_is_named_and_never_breaks_the_result() {
    let imported = libra_ini(
        Path::new("libra.ini"),
        "stray\n[gearman]\nservers = nonsense\nreconnect_sleep = soon\nkeepalive = perhaps\nkeepcnt = 1.5\nssl_ca =\nunheard_of = 1\n\
         [worker]\ndriver = Own_\"driver\n[worker:haproxy]\nservice = solaris\nlogfile = /var/log/\"q\".log\n[other]\nx = 1\n",
    );
    let config = loaded(&imported.toml);
    assert_eq!(config.worker.driver, "haproxy");
    let haproxy = config.known_drivers.get(DriverKind::LoadBalancer, "haproxy").unwrap();
    assert_eq!(haproxy.config.expose()["log_file"], "/var/log/\"q\".log");
    assert_eq!(imported.notes.len(), 10, "{:#?}", imported.notes);
}

#[test]
fn a_time_that_no_configuration_may_hold_is_named() {
    for time in ["0", "-1", "nan", "inf", "1e-10", "366666666666666666666", "31622401"] {
        let text = format!("[gearman]\nkeepintvl = {time}\nreconnect_sleep = {time}\nkeepidle = 7\n");
        let imported = libra_ini(Path::new("libra.ini"), &text);
        let config = loaded(&imported.toml);
        assert_eq!(config.gearman.reconnect_sleep, Duration::from_secs(60), "{time}");
        assert_eq!(config.gearman.keepintvl, None, "{time}");
        assert_eq!(config.gearman.keepidle, Some(Duration::from_secs(7)), "{time}");
        assert_eq!(imported.notes.len(), 2, "{:#?}", imported.notes);
    }
}

#[test]
fn a_driver_of_another_name_gets_an_entry() {
    let imported = libra_ini(Path::new("libra.ini"), "[worker]\ndriver = own-driver\n");
    assert!(loaded(&imported.toml).known_drivers.get(DriverKind::LoadBalancer, "own-driver").is_some());
    assert!(imported.notes[0].contains("libcapstan_load_balancer_own_driver.so"), "{:#?}", imported.notes);
}
