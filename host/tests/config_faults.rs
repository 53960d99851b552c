//! What is wrong with a configuration is said all at once, with file and line.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use capstan::config::{DriverSchemas, Drivers, Faults, InstanceConfig, KnownDriver, Loader, Misfit, SchemaFault, load};
use proptest::prelude::*;
use tempfile::TempDir;

const NOOP: &str = "[known_drivers.load_balancer.noop]\nlibrary = \"libnoop.so\"\n";

fn written(text: &str) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capstan.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Every fault as `file name:line: rest`.
fn lines(faults: &Faults, folder: &Path) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    faults.as_slice().iter().map(|fault| fault.to_string().replace(&prefix, "")).collect()
}

fn faults(text: &str) -> Vec<String> {
    let (folder, path) = written(text);
    lines(&load(&path, &environment(&[])).unwrap_err(), folder.path())
}

/// Asserts that `text` has exactly one fault, beginning and containing as stated.
fn one(text: &str, begins: &str, contains: &str) {
    let found = faults(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(begins), "{}\n  expected to begin with {begins}", found[0]);
    assert!(found[0].contains(contains), "{}\n  expected to contain {contains}", found[0]);
}

// Found by fuzzing: a quoted key may hold a line end or what a terminal obeys.
#[test]
fn a_fault_is_one_line_whatever_its_key_is() {
    let found = faults("\"a\\nb\\u001b[2J\" = 1\n");
    assert!(found[0].starts_with("capstan.toml:1: a\\nb\\u{1b}[2J: found "), "{found:?}");
    assert!(!found[0].contains(char::is_control), "{found:?}");
}

#[test]
fn all_faults_are_listed_at_once_in_the_order_of_lines() {
    let text = "[http]\nlisten = \"127.0.0.1:8770\"\nenabeld = true\n\n[htpp]\n\n[gearman]\nembedded_listen = \"127.0.0.1\"\n\n\
                [known_drivers.load_balancer.noop]\nlibrary = \"libnoop.so\"\nsha256 = \"abc\"\nisolation = \"proces\"\n\
                max_queue = -1\n\n[known_drivers.cloud.acme.config]\npassword = { file = \"absent\" }\n\n\
                [telemetry]\nlevel = 3\n";
    let (folder, path) = written(text);
    let faults = load(&path, &environment(&[])).unwrap_err();
    let begins = [
        "capstan.toml:2: http.listen: found the text \"127.0.0.1:8770\"; expected a list; ",
        "capstan.toml:3: http.enabeld: found an unknown key; expected a key among anonymous, body_timeout_seconds, ",
        "capstan.toml:5: htpp: found an unknown section; ",
        "capstan.toml:8: gearman.embedded_listen: found the text \"127.0.0.1\"; expected an address and a port; ",
        "capstan.toml:12: known_drivers.load_balancer.noop.sha256: found the text \"abc\"; expected a SHA-256 of 64 hexadecimal digits; ",
        "capstan.toml:13: known_drivers.load_balancer.noop.isolation: found the text \"proces\"; expected \"process\" or \"in-process\"; did you mean \"process\"?",
        "capstan.toml:14: known_drivers.load_balancer.noop.max_queue: found the number -1; expected a whole number from 0 to ",
        "capstan.toml:16: known_drivers.cloud.acme: found neither library nor command; ",
        "capstan.toml:17: known_drivers.cloud.acme.config.password: found the secret file absent unreadable (No such file",
        "capstan.toml:20: telemetry.level: found the number 3; expected a text; ",
    ];
    let found = lines(&faults, folder.path());
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begins) in found.iter().zip(begins) {
        assert!(found.starts_with(begins), "{found}\n  expected to begin with\n{begins}");
    }
    assert!(faults.to_string().ends_with("\n10 faults in the configuration"), "{faults}");
}

// Found by a newcomer: untrue faults about what the parser had not come to stood before the one that was to be corrected.
#[test]
fn broken_toml_is_named_with_its_lines_and_nothing_is_said_of_what_it_hides() {
    let found = faults("[daemon]\nroles = [\n\"worker\"\n[http]\nlisten = 5 5\n[telemetry]\nformat = \"yaml\"\n");
    assert!(!found.is_empty() && found.iter().all(|fault| fault.contains("; expected TOML; ")), "{found:#?}");
    one(
        "[daemon]\nroles = [\"worker\"]\n[pool\nnodes = 1\n[telemetry]\nformat = \"yaml\"\n",
        "capstan.toml:3: found unclosed table, expected `]`; expected TOML; ",
        "correct the line",
    );
    // Of every file, in their order.
    let (folder, path) = written("[telemetry]\nformat = \"yaml\"\nformat = \"text\"\n[http\n");
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(folder.path().join("conf.d/a.toml"), "[telemetry]\nformat = \"json\"\n").unwrap();
    fs::write(folder.path().join("conf.d/b.toml"), "x = \n").unwrap();
    let read = load(&path, &environment(&[("CAPSTAN_HTTP__NOTHING", "1")])).unwrap_err();
    let found = lines(&read, folder.path());
    let begins = ["capstan.toml:3: ", "capstan.toml:4: ", "conf.d/b.toml:1: "];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (fault, begins) in found.iter().zip(begins) {
        assert!(fault.starts_with(begins) && fault.contains("; expected TOML; "), "{fault}");
    }
}

#[test]
fn a_missing_file_and_a_folder_are_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("absent.toml"), folder.path().to_owned()] {
        let faults = load(&path, &environment(&[])).unwrap_err();
        assert!(faults.to_string().contains("found that it cannot be read"), "{faults}");
    }
}

#[test]
fn a_port_has_one_listener() {
    let http = "[http]\nlisten = [\"127.0.0.1:4730\", \"[::1]:8770\", \"127.0.0.1:0\", \"127.0.0.1:0\"]\n";
    one(http, "capstan.toml:2: gearman.embedded_listen: ", "http.listen has 127.0.0.1:4730");
}

#[test]
fn a_port_is_free_when_nothing_listens_there() {
    let (_folder, path) =
        written("[http]\nlisten = [\"127.0.0.1:4730\"]\n[gearman]\nservers = [\"gearman.example.org:4730\"]\n");
    load(&path, &environment(&[])).unwrap();
    let (_folder, path) = written("[http]\nenabled = false\nlisten = [\"127.0.0.1:4730\"]\n");
    load(&path, &environment(&[])).unwrap();
}

#[test]
fn one_address_twice_is_refused() {
    one(
        "[http]\nlisten = [\"[::1]:1\", \"[::1]:1\"]\n",
        "capstan.toml:2: http.listen: found [::1]:1; ",
        "another port",
    );
}

#[test]
fn nothing_listens_off_loopback_without_authentication() {
    one("[http]\nlisten = [\"0.0.0.0:8770\"]\n", "capstan.toml:2: http.listen: ", "there is no [http.tls]");
    one(
        "[gearman]\nembedded_listen = \"0.0.0.0:4730\"\n",
        "capstan.toml:2: gearman.embedded_listen: ",
        "client certificates",
    );
}

#[test]
fn job_servers_are_hosts_with_ports() {
    one(
        "[gearman]\nservers = [\n\"a:4730\",\n\"b\"]\n",
        "capstan.toml:4: gearman.servers: found the text \"b\"",
        "host:4730",
    );
    one("[gearman]\nservers = []\n", "capstan.toml:2: gearman.servers: ", "at least one");
}

#[test]
fn tls_is_given_whole_and_readable() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    fs::write(folder.path().join("key.pem"), "-----BEGIN EC PRIVATE KEY-----\n").unwrap();
    fs::set_permissions(folder.path().join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.path().join("neither.pem"), "x").unwrap();
    let path = folder.path().join("capstan.toml");
    fs::write(&path, "[gearman]\nssl_ca = \"ca.pem\"\nssl_cert = \"ca.pem\"\n").unwrap();
    let found = lines(&load(&path, &environment(&[])).unwrap_err(), folder.path());
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("capstan.toml:2: gearman.ssl_ca: found no ssl_key; "), "{found:#?}");
    fs::write(
        &path,
        "[gearman]\nembedded_listen = \"0.0.0.0:1\"\n[gearman.embedded_tls]\nca = \"ca.pem\"\ncert = \"c.pem\"\n",
    )
    .unwrap();
    let found = lines(&load(&path, &environment(&[])).unwrap_err(), folder.path());
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("capstan.toml:3: gearman.embedded_tls.key: found nothing; "), "{found:#?}");
    assert!(
        found[1].starts_with("capstan.toml:5: gearman.embedded_tls.cert: found c.pem, which cannot be read"),
        "{found:#?}"
    );
    // Each file holds what its key is for.
    fs::write(
        &path,
        "[http.tls]\ncert = \"key.pem\"\nkey = \"ca.pem\"\nclient_ca = \"neither.pem\"\n[store]\n\
         url = \"postgres://a@b/c\"\nca = \"absent.pem\"\n",
    )
    .unwrap();
    let found = lines(&load(&path, &environment(&[])).unwrap_err(), folder.path());
    let begins = [
        "capstan.toml:2: http.tls.cert: found key.pem, which holds a private key; expected a PEM file with certificates; ",
        "capstan.toml:3: http.tls.key: found ca.pem, which holds a certificate; expected a PEM file with a private key; ",
        "capstan.toml:4: http.tls.client_ca: found neither.pem, which holds neither certificate nor key; ",
        "capstan.toml:7: store.ca: found absent.pem, which cannot be read",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begins) in found.iter().zip(begins) {
        assert!(found.starts_with(begins), "{found}\n  expected to begin with\n{begins}");
    }
}

#[test]
fn a_fault_says_what_is_wrong_with_the_value_at_hand() {
    for (text, begins, contains) in [
        (
            "[pool]\nhealth_limit = 1.5\n",
            "capstan.toml:2: pool.health_limit: found the number 1.5; ",
            "without a fraction",
        ),
        (
            "[pool]\nhealth_limit = \"2\"\n",
            "capstan.toml:2: pool.health_limit: found the text \"2\"; expected a whole number from 1 to 1000; ",
            "without quotes",
        ),
        (
            "[pool]\nbuilds_at_once = -1\n",
            "capstan.toml:2: pool.builds_at_once: found the number -1; ",
            "from 1 to 1024;",
        ),
        (
            "[pool]\nbuilds_at_once = 0\n",
            "capstan.toml:2: pool.builds_at_once: found the number 0; ",
            "from 1 to 1024;",
        ),
        ("[http]\nenabled = 1\n", "capstan.toml:2: http.enabled: found the number 1; ", "one of the two"),
        (
            "[http]\nlisten = [\"127.0.0.1:1\", \"0.0.0.0:2\"]\n",
            "capstan.toml:2: http.listen: found 0.0.0.0:2, which is open to the network",
            "http.tls.names",
        ),
        (
            "[http]\nenabled = false\n[known_drivers.mgm.local]\nlibrary = \"libcapstan_mgm_local.so\"\n",
            "capstan.toml:3: known_drivers.mgm.local.config.socket: found nothing; ",
            "http.enabled",
        ),
    ] {
        one(text, begins, contains);
    }
    // What is missing is missed in its table, where there is one.
    let pool = "[daemon]\nroles = [\"pool-manager\"]\n[known_drivers.mgm.m]\nlibrary = \"m.so\"\n[known_drivers.cloud.c]\n\
                library = \"c.so\"\n[cloud_farm.default]\nengine = \"c\"\n";
    one(
        &format!("{pool}[pool]\ndriver = \"m\"\nsize = \"s\"\n"),
        "capstan.toml:9: pool.image: found nothing; ",
        "add it",
    );
    one(
        &format!("{pool}[pool]\ndriver = \"m\"\nsize = \"s\"\n[pool.stocks.web]\nnodes = 2\n"),
        "capstan.toml:12: pool.stocks.web.image: found nothing; ",
        "add it",
    );
    let found = faults(pool);
    assert!(found.iter().any(|fault| fault.starts_with("capstan.toml:2: pool.image: found nothing; ")), "{found:#?}");
}

#[test]
fn drivers_are_named_by_kind_and_plain_names() {
    one(
        "[known_drivers.loadbalancer.x]\nlibrary = \"l.so\"\n",
        "capstan.toml:1: known_drivers.loadbalancer: ",
        "\"load_balancer\"",
    );
    one(
        "[known_drivers.cloud.Acme]\nlibrary = \"l.so\"\n",
        "capstan.toml:1: known_drivers.cloud.Acme: found the name \"Acme\"",
        "a-z",
    );
    one(
        "[known_drivers.cloud]\nacme = \"l.so\"\n",
        "capstan.toml:2: known_drivers.cloud.acme: found the text",
        "a table",
    );
    one(
        "[known_drivers.cloud.a]\nlibrary = \"l.so\"\ncommand = [\"/c\"]\n",
        "capstan.toml:3: known_drivers.cloud.a.command: ",
        "one of the two",
    );
    one(
        "[known_drivers.cloud.a]\ncommand = []\n",
        "capstan.toml:2: known_drivers.cloud.a.command: found no program",
        "program first",
    );
    one(
        "[known_drivers.cloud.a]\nlibrary = \"\"\n",
        "capstan.toml:2: known_drivers.cloud.a.library: ",
        "file of the library",
    );
    one(
        "[known_drivers.cloud.a]\ncommand = [\"/c\"]\nisolation = \"in-process\"\n",
        "capstan.toml:3: known_drivers.cloud.a.isolation: ",
        "process of its own",
    );
}

#[test]
fn the_worker_needs_a_driver_that_is_known() {
    one(
        &format!("[daemon]\nroles = [\"worker\"]\n[worker]\ndriver = \"nop\"\n{NOOP}"),
        "capstan.toml:4: worker.driver: found the unknown driver \"nop\"; ",
        "known are noop); did you mean \"noop\"?",
    );
    one(
        "[daemon]\nroles = [\"worker\"]\n",
        "capstan.toml:2: worker.driver: found the unknown driver \"haproxy\"",
        "none is known yet",
    );
    let (_folder, path) = written("[worker]\ndriver = \"nop\"\n");
    load(&path, &environment(&[])).unwrap();
}

#[test]
fn a_cloud_names_a_driver_of_its_kind_and_keeps_its_password_elsewhere() {
    let found = faults(&format!(
        "{NOOP}[cloud_farm.default]\nengine = \"noop\"\npassword = \"hunter2-plain\"\n[cloud_farm.b]\n"
    ));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("capstan.toml:4: cloud_farm.default.engine: found the unknown driver \"noop\""),
        "{found:#?}"
    );
    assert!(
        found[1].starts_with("capstan.toml:5: cloud_farm.default.password: found something other than a reference"),
        "{found:#?}"
    );
    assert!(found[2].starts_with("capstan.toml:6: cloud_farm.b.engine: found nothing; "), "{found:#?}");
    assert!(!found.concat().contains("hunter2"), "{found:#?}");
}

#[test]
fn names_for_gearman_and_levels_for_the_log_are_checked() {
    one("[worker]\nfunction = \"a b\"\ndevice = \"d\"\n", "capstan.toml:2: worker.function: ", "without spaces");
    one(
        "[telemetry]\nlevel = \"loud\"\n",
        "capstan.toml:2: telemetry.level: found the text \"loud\"",
        "off, error, warn",
    );
    one(
        "[gearman]\nreconnect_sleep_seconds = 0\n",
        "capstan.toml:2: gearman.reconnect_sleep_seconds: found the number 0",
        "above 0",
    );
    // Nothing at all, to the nanosecond.
    one(
        "[gearman]\nreconnect_sleep_seconds = 1e-10\n",
        "capstan.toml:2: gearman.reconnect_sleep_seconds: found the number 0.0000000001",
        "above 0",
    );
    one(
        "[worker]\nmax_depth = 9999999999999999999\n",
        "capstan.toml:2: worker.max_depth: ",
        "whole number from 8 to 120",
    );
}

#[test]
fn the_environment_is_held_to_the_same_rules() {
    let variables = [
        ("CAPSTAN_HTTP__LISTN", "[]"),
        ("CAPSTAN_HTTP__ENABLED", "maybe"),
        ("CAPSTAN_HTTP__LISTEN__X", "1"),
        ("CAPSTAN_CONFIG", "x"),
    ];
    let (_folder, path) = written("[http]\nlisten = []\n");
    let faults = load(&path, &environment(&variables)).unwrap_err();
    let found: Vec<String> = faults.as_slice().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("environment CAPSTAN_HTTP__ENABLED: http.enabled: found the text \"maybe\"; "),
        "{found:#?}"
    );
    assert!(found[1].starts_with("environment CAPSTAN_HTTP__LISTEN__X: "), "{found:#?}");
    assert!(found[2].starts_with("environment CAPSTAN_HTTP__LISTN: http.listn: found an unknown key; "), "{found:#?}");
}

/// Complains about every value of a driver's table that is a text of odd length, and about a missing `must`.
struct Stand;

impl DriverSchemas for Stand {
    fn faults(&self, _: &Drivers, driver: &KnownDriver, config: &InstanceConfig) -> Vec<SchemaFault> {
        assert_ne!(driver.name, "skipped", "an entry with faults of its own is not held against a schema");
        let mut found = Vec::new();
        for pointer in ["/a", "/deep/0/b", "/token", "/extra_params/port"] {
            if let Some(text) = config.expose().pointer(pointer).and_then(|value| value.as_str())
                && text.len() % 2 == 1
            {
                found.push(SchemaFault {
                    pointer: pointer.to_owned(),
                    expected: format!("a number, not {text}"),
                    misfit: Misfit::Value { choices: Vec::new(), is_secret: false, remedy: "correct it" },
                });
            }
        }
        if config.expose().get("must").is_none() && config.expose().get("extra_params").is_none() {
            found.push(SchemaFault {
                pointer: "/must".to_owned(),
                expected: "a text".to_owned(),
                misfit: Misfit::MissingKey,
            });
        }
        found
    }

    fn unloadable(&self, _: &Drivers, driver: &KnownDriver) -> Option<String> {
        (driver.name == "gone").then(|| "it is gone".to_owned())
    }
}

// A driver that will not load costs itself, and the daemon only if it is required.
#[test]
fn files_of_drivers_are_looked_at_where_that_is_asked_for() {
    let text = "[known_drivers.load_balancer.gone]\nlibrary = \"l.so\"\n[known_drivers.load_balancer.gone.config]\nmust = \"be\"\n";
    let (folder, path) = written(text);
    let variables = environment(&[]);
    let loader = Loader::new(&variables).file(&path).schemas(&Stand);
    assert!(loader.load().unwrap().warnings.is_empty(), "a daemon tells of it at its stage");
    let warnings = loader.clone().driver_files().load().unwrap().warnings;
    let plain: Vec<String> =
        warnings.iter().map(|one| one.to_string().replace(&format!("{}/", folder.path().display()), "")).collect();
    assert_eq!(plain, ["capstan.toml:2: known_drivers.load_balancer.gone.library: will not load: it is gone"]);
    fs::write(&path, text.replace("\"l.so\"\n", "\"l.so\"\nrequired = true\n")).unwrap();
    let found = lines(&loader.driver_files().load().unwrap_err(), folder.path());
    assert!(
        found.len() == 1
            && found[0].starts_with(
                "capstan.toml:2: known_drivers.load_balancer.gone.library: found that it will not load: it is gone; "
            ),
        "{found:#?}"
    );
}

#[test]
fn faults_inside_a_drivers_own_table_get_their_line_too() {
    let text = "[known_drivers.load_balancer.noop]\nlibrary = \"l.so\"\n[known_drivers.load_balancer.noop.config]\n\
                a = \"odd\"\ndeep = [\n  { b = \"odd\" },\n]\ntoken = { env = \"TOKEN\" }\n\
                [known_drivers.cloud.acme]\nlibrary = \"l.so\"\n\
                [known_drivers.cloud.skipped]\nlibrary = \"l.so\"\nrequired = 1\n\
                [cloud_farm.default]\nengine = \"acme\"\n[cloud_farm.default.extra_params]\nport = \"odd\"\n";
    let (folder, path) = written(text);
    let variables = environment(&[("TOKEN", "swordfish")]);
    let faults = Loader::new(&variables).file(&path).schemas(&Stand).load().unwrap_err();
    let begins = [
        "capstan.toml:3: known_drivers.load_balancer.noop.config.must: found nothing; expected a text; ",
        "capstan.toml:4: known_drivers.load_balancer.noop.config.a: found the text \"odd\"; expected a number, not odd; ",
        "capstan.toml:6: known_drivers.load_balancer.noop.config.deep.0.b: found the text \"odd\"; ",
        "capstan.toml:8: known_drivers.load_balancer.noop.config.token: found a secret; expected a number, not *****; ",
        "capstan.toml:13: known_drivers.cloud.skipped.required: ",
        "capstan.toml:17: cloud_farm.default.extra_params.port: found the text \"odd\"; ",
    ];
    let found = lines(&faults, folder.path());
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begins) in found.iter().zip(begins) {
        assert!(found.starts_with(begins), "{found}\n  expected to begin with\n{begins}");
    }
}

/// A stand-in for an editor's accident: some characters of a good file removed, doubled or replaced.
fn garbled(edits: &[(usize, u8, char)]) -> String {
    let mut text: Vec<char> = include_str!("../../config/capstan.toml").replace("\n#", "\n").chars().collect();
    for (at, kind, other) in edits {
        let at = at % text.len();
        match kind % 3 {
            0 => drop(text.remove(at)),
            1 => text.insert(at, *other),
            _ => text[at] = *other,
        }
    }
    text.into_iter().collect()
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(edits in prop::collection::vec((any::<usize>(), any::<u8>(), any::<char>()), 1..20)) {
        let (_folder, path) = written(&garbled(&edits));
        if let Err(faults) = load(&path, &environment(&[])) {
            prop_assert!(!faults.as_slice().is_empty());
            for line in faults.to_string().lines().rev().skip(1) {
                prop_assert!(line.contains(": found ") && line.contains("; expected "), "{line}");
            }
        }
    }
}

#[test]
fn a_password_of_the_store_stands_outside_its_url_and_in_no_fault() {
    for url in [
        "postgres://capstan:sesame@db/capstan",
        "postgres://capstan:sesame@db",
        "postgresql://db/capstan?user=capstan&password=sesame",
        "mysql://capstan:sesame@db/capstan",
    ] {
        let text = format!("[store]\nurl = \"{url}\"\n");
        one(&text, "capstan.toml:2: store.url: found a url with a password in it", "store.password");
        assert!(!faults(&text)[0].contains("sesame"));
    }
    let plain = "[store]\nurl = \"postgres://db/capstan\"\npassword = \"sesame\"\n";
    one(plain, "capstan.toml:3: store.password: found something other than a reference to a secret", "{ file = ");
    assert!(!faults(plain)[0].contains("sesame"));
    one("[store]\nca = \"ca.pem\"\n", "capstan.toml:2: store.ca: found it beside a file of SQLite", "set store.url");
    one("[store]\nurl = \"mysql://db\"\n", "capstan.toml:2: store.url: ", "sqlite:PATH or postgres://");
    one("[store]\nconnections = 0\n", "capstan.toml:2: store.connections: ", "from 1 to 100");
}

#[test]
fn every_fault_of_the_http_section_is_told_at_once() {
    let found = faults(
        "[http]\nanonymous = \"operater\"\nmax_connections = 0\nclient_admins = [\"a\"]\nclient_viewers = [\"a\"]\n\
         [http.tls]\ncert = \"absent.pem\"\nclient_auth = \"required\"\n",
    );
    for says in [
        "http.anonymous: found the text \"operater\"",
        "http.max_connections: ",
        "http.client_viewers: found \"a\", which http.client_admins has as well",
        "http.tls.cert: ",
        "http.tls.key: found nothing",
        "http.tls.client_auth: found \"required\" without client_ca",
    ] {
        assert!(found.iter().any(|fault| fault.contains(says)), "{says} is not in {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn the_daemons_own_token_file_may_be_named_before_there_is_one() {
    let text = |file: &str| {
        format!(
            "[daemon]\nrun_dir = \"run\"\n[known_drivers.mgm.local]\nlibrary = \"x.so\"\n\
             [known_drivers.mgm.local.config]\ntoken = {{ file = \"{file}\" }}\n"
        )
    };
    let (_folder, path) = written(&text("run/device.token"));
    let token = |loaded: capstan::config::Loaded| {
        let driver = loaded.config.known_drivers.get(capstan::config::DriverKind::Mgm, "local").unwrap().clone();
        driver.config.expose()["token"].as_str().unwrap().to_owned()
    };
    let loaded = load(&path, &environment(&[])).unwrap();
    assert!(loaded.secret_values().is_empty(), "nothing is known yet that the log would have to blot out");
    // A daemon knows what it will write there, whatever an earlier one has left behind.
    fs::create_dir(path.parent().unwrap().join("run")).unwrap();
    fs::write(path.parent().unwrap().join("run/device.token"), "of an earlier daemon\n").unwrap();
    assert_eq!(token(load(&path, &environment(&[])).unwrap()), "of an earlier daemon");
    let environment = environment(&[]);
    let loaded = Loader::new(&environment).file(&path).device_token("of this daemon").load().unwrap();
    assert_eq!(loaded.secret_values().len(), 1);
    assert_eq!(token(loaded), "of this daemon");
    // Any other file that is missing is a fault.
    one(&text("run/other.token"), "capstan.toml:6: known_drivers.mgm.local.config.token: ", "unreadable");
}
