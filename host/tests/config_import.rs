//! An old `libra.ini` becomes a configuration that loads; what has no counterpart is named.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use capstan::config::{Config, DriverKind, Endpoint, Role, import::libra_ini, load};
use serde_json::json;

fn loaded(toml: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        fs::write(folder.path().join(name), "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n").unwrap();
    }
    fs::write(folder.path().join("nova-password"), "hunter2").unwrap();
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
        "etc/worker.ini:31: [mysql1] host: not part of the worker; its later home is the store section",
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
    assert_eq!((imported.notes, imported.not_understood), (Vec::<String>::new(), 0));
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
    assert_eq!(imported.not_understood, 10, "{:#?}", imported.notes);
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

// Found by a newcomer: of two spellings the pool had an entry without servers, and would have asked another API server.
#[test]
fn the_api_servers_driver_is_one_entry_however_it_is_spelt() {
    for spelt in ["hp-rest", "hp_rest"] {
        let text = format!(
            "[mgm]\nnodes = 2\ndriver = {spelt}\napi_server = 10.0.0.1:8889\nnova_image = i\nnova_image_size = s\n"
        );
        let config = loaded(&libra_ini(Path::new("libra.ini"), &text).toml);
        assert_eq!(config.pool.driver, "hp_rest", "{spelt}");
        assert_eq!(config.known_drivers.names(DriverKind::Mgm), ["hp_rest"], "{spelt}");
        let api = config.known_drivers.get(DriverKind::Mgm, &config.pool.driver).unwrap();
        assert_eq!(api.config.expose()["servers"], json!(["10.0.0.1:8889"]), "{spelt}");
    }
}

const POOL_WITH_A_STOCK: &str = "\
[mgm]
pid = /var/run/libra/libra_mgm.pid
user = libra
logfile = /var/log/libra/libra_mgm.log
datadir = /etc/libra/
api_server = 10.0.0.1:8889 10.0.0.2:8889
nodes = 10
check_interval = 5
submit_interval = 1.5
driver = hp_rest
az = 2
node_basename = lb_node
nova_auth_url = https://keystone.example.org:35357/v2.0/
nova_user = someone
nova_pass = s3cret-of-nova
nova_region = az-2.region-a
nova_tenant = tenant
nova_keyname = key
nova_secgroup = group
nova_image = 8419
nova_image_size = standard.medium
nova_insecure = TRUE
";

#[test]
fn a_pool_manager_with_a_stock_is_carried_over_whole() {
    let imported = libra_ini(Path::new("libra.ini"), POOL_WITH_A_STOCK);
    let config = loaded(&imported.toml);
    assert_eq!(config.daemon.roles, [Role::PoolManager]);
    let (pool, stock) = (&config.pool, &config.pool.stocks[0]);
    assert_eq!((pool.driver.as_str(), stock.nodes, stock.az), ("hp_rest", 10, 2));
    assert_eq!((pool.check_interval, pool.failed_interval), (Duration::from_secs(300), Duration::from_secs(90)));
    assert_eq!((stock.image.as_str(), stock.size.as_str()), ("8419", "standard.medium"));
    assert_eq!((stock.key_pair.as_deref(), stock.node_basename.as_deref()), (Some("key"), Some("lb_node")));
    assert_eq!(stock.security_groups, ["group"]);
    let api = config.known_drivers.get(DriverKind::Mgm, "hp_rest").unwrap();
    assert_eq!(api.config.expose(), &json!({ "servers": ["10.0.0.1:8889", "10.0.0.2:8889"] }));
    let cloud = config.cloud_farm.get(None).unwrap();
    assert_eq!(cloud.engine, "nova");
    assert_eq!(
        cloud.config.expose(),
        &json!({
            "user": "someone",
            "password": "hunter2",
            "extra_params": {
                "ex_force_auth_url": "https://keystone.example.org:35357/v2.0/",
                "ex_force_service_region": "az-2.region-a",
                "ex_tenant_name": "tenant",
                "ex_insecure": true,
            },
        })
    );
    let starts = [
        "libra.ini: the cloud driver nova is looked for in ",
        "libra.ini:2: [mgm] pid: no counterpart: ",
        "libra.ini:3: [mgm] user: no counterpart: the daemon's own identity ",
        "libra.ini:4: [mgm] logfile: no counterpart: ",
        "libra.ini:5: [mgm] datadir: no counterpart: failed nodes are rows of the store",
        "libra.ini:6: [mgm] api_server: carried over as known_drivers.mgm.hp_rest.config.servers; libra verified no server's",
        "libra.ini:15: [mgm] nova_pass: not copied: write it into the file nova-password",
    ];
    assert_eq!(imported.notes.len(), starts.len(), "{:#?}", imported.notes);
    for (note, start) in imported.notes.iter().zip(starts) {
        assert!(note.starts_with(start), "{note}\n  expected\n{start}");
    }
    let everything = format!("{}{:?}", imported.toml, imported.notes);
    assert!(!everything.contains("s3cret-of-nova"), "a password left its file");
}

#[test]
fn the_last_generations_pool_manager_answers_messages_and_keeps_no_stock() {
    let text = "[gearman]\nservers = one:4730\n[mgm]\naz = 1\nthreads = 8\nrm_fip_ignore_500 = true\ntcp_check_port = 80\n\
                build_diag_timeout = 20\nnova_image = i\nnova_image_size = s\nnova_net_id = n\nnova_az_name = z\nnova_tenant_id = 7\n";
    let imported = libra_ini(Path::new("libra.ini"), text);
    let config = loaded(&imported.toml);
    let (pool, stock) = (&config.pool, &config.pool.stocks[0]);
    assert_eq!((pool.driver.as_str(), stock.nodes, pool.messages_at_once), ("dummy", 0, 8));
    assert_eq!((pool.tcp_check_port, pool.remove_ip_ignores_errors), (Some(80), true));
    assert_eq!(pool.diagnostics_timeout, Duration::from_secs(20));
    assert_eq!((stock.location.as_deref(), &stock.networks[..]), (Some("z"), &["n".to_owned()][..]));
    // What libra demanded and the file has not is told all at once.
    for missing in ["nova_user", "nova_pass", "nova_auth_url", "nova_region", "nova_keyname", "nova_secgroup"] {
        let start = format!("libra.ini: [mgm] {missing}: libra demanded it and the file has none; set ");
        assert!(imported.notes.iter().any(|note| note.starts_with(&start)), "{missing}: {:#?}", imported.notes);
    }
    assert!(imported.notes.iter().any(|note| note.contains("kept no stock")), "{:#?}", imported.notes);
}

#[test]
fn a_pool_manager_of_the_first_generation_sends_the_first_body() {
    let text = "[worker]\ndriver = haproxy\n[mgm]\nnodes = 2\napi-server = localhost:8889\nnova-image = i\nnova-image-size = s\n";
    let imported = libra_ini(Path::new("libra.ini"), text);
    let config = loaded(&imported.toml);
    assert_eq!(config.daemon.roles, [Role::PoolManager, Role::Worker]);
    let api = config.known_drivers.get(DriverKind::Mgm, "hp_rest").unwrap();
    assert_eq!(api.config.expose(), &json!({ "body": "seed", "servers": ["localhost:8889"] }));
}

#[test]
fn values_of_the_pool_manager_that_make_no_sense_are_named() {
    let text = "[mgm]\nnodes = -1\naz = one\ncheck_interval = 0\nthreads = 0\ntcp_check_port = 70000\nnova_image =\n\
                driver = Own driver\nnova_insecure = perhaps\nnode_basename = lb node\nunheard_of = 1\napi_server = ::::\nnova_secgroup =\n";
    let imported = libra_ini(Path::new("libra.ini"), text);
    for key in [
        "nodes",
        "az",
        "check_interval",
        "threads",
        "tcp_check_port",
        "nova_image",
        "nova_insecure",
        "node_basename",
        "unheard_of",
        "api_server",
        "nova_secgroup",
    ] {
        assert!(
            imported.notes.iter().any(|note| note.contains(&format!("[mgm] {key}: "))),
            "{key}: {:#?}",
            imported.notes
        );
    }
    assert!(
        imported.notes.iter().any(|note| note.contains("the driver \"Own driver\" cannot be a name")),
        "{:#?}",
        imported.notes
    );
    assert!(toml::from_str::<toml::Table>(&imported.toml).is_ok(), "{}", imported.toml);
}
