//! Where values come from: files, `conf.d`, the environment, options, secrets; and what is shown of them.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use capstan::config::{
    Config, DriverKind, DriverProgram, Endpoint, Environment as _, Isolation, Loaded, Loader, Origin,
    ProcessEnvironment, Role, WorkerProtocol, load, show_json, show_text,
};
use serde_json::json;
use tempfile::TempDir;

struct Place {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self { folder, variables: BTreeMap::new() }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Loaded {
        load(&self.path("capstan.toml"), &self.variables).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The origin as it prints, relative to the folder.
    fn origin(&self, loaded: &Loaded, key: &str) -> String {
        loaded
            .origin(key)
            .unwrap_or(&Origin::Default)
            .to_string()
            .replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let place = Place::new(&[("capstan.toml", "")]).variable("HOSTNAME", "lb-7");
    let Config { daemon, http, store, gearman, worker, .. } = place.load().config;
    assert_eq!(daemon.roles, []);
    assert_eq!(http.listen, ["127.0.0.1:8770".parse().unwrap()]);
    assert_eq!(http.socket, PathBuf::from("/run/capstan/capstan.sock"));
    assert_eq!(store.url, "sqlite:/var/lib/capstan/capstan.db");
    assert!(gearman.is_embedded() && gearman.tls.is_none());
    assert_eq!(gearman.endpoints(), [Endpoint::new("127.0.0.1", 4730)]);
    assert_eq!(gearman.reconnect_sleep, Duration::from_secs(60));
    assert_eq!((worker.function.as_str(), worker.device.as_str()), ("lb-7", "lb-7"));
    assert_eq!(worker.diagnostics_targets, gearman.endpoints());
    assert_eq!(worker.protocol, WorkerProtocol::Libra);
}

#[test]
fn a_vendors_file_adds_its_entry_and_nothing_else() {
    let place = Place::new(&[
        ("capstan.toml", "[drivers]\nmax_queue = 7\n[known_drivers.cloud.a]\nlibrary = \"a.so\"\n"),
        ("conf.d/20-acme.toml", "[known_drivers.cloud.acme]\ncommand = [\"/acme\", \"--json\"]\n"),
        ("conf.d/10-more.toml", "\n[drivers]\ntrust_own_files = true\n"),
        ("conf.d/notes.txt", "not TOML"),
    ]);
    let loaded = place.load();
    let names: Vec<_> = loaded.files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["capstan.toml", "10-more.toml", "20-acme.toml"]);
    let acme = loaded.config.known_drivers.get(DriverKind::Cloud, "acme").unwrap();
    assert_eq!(acme.program, DriverProgram::Command(vec!["/acme".to_owned(), "--json".to_owned()]));
    assert_eq!((acme.max_queue, acme.isolation), (7, Isolation::Process));
    assert_eq!(place.origin(&loaded, "drivers.trust_own_files"), "conf.d/10-more.toml:3");
    assert_eq!(place.origin(&loaded, "drivers.max_queue"), "capstan.toml:2");
    assert_eq!(place.origin(&loaded, "known_drivers.cloud.acme.command"), "conf.d/20-acme.toml:2");

    let place = Place::new(&[
        ("capstan.toml", "[drivers]\nmax_queue = 7\n"),
        ("conf.d/a.toml", "[drivers]\nmax_queue = 9\n"),
        ("conf.d/b.toml", "drivers = 1\n"),
    ]);
    let faults = load(&place.path("capstan.toml"), &place.variables).unwrap_err().to_string();
    assert!(
        faults.contains("conf.d/a.toml:2: drivers.max_queue: found a second value; expected no more than the one at"),
        "{faults}"
    );
    assert!(faults.contains("conf.d/b.toml:1: drivers: found a second value"), "{faults}");
}

#[test]
fn the_environment_overrides_files_and_options_override_both() {
    let place = Place::new(&[(
        "capstan.toml",
        "[worker]\nfunction = \"file\"\ndevice = \"file\"\n[known_drivers.load_balancer.my-lb]\nlibrary = \"l.so\"\n",
    )])
    .variable("CAPSTAN_WORKER__FUNCTION", "7")
    .variable("CAPSTAN_WORKER__DEVICE", "variable")
    .variable("CAPSTAN_WORKER__DRIVER", "my-lb")
    .variable("CAPSTAN_DAEMON__ROLES", "[\"worker\"]")
    .variable("CAPSTAN_HTTP__LISTEN", "[\"127.0.0.1:0\"]")
    .variable("CAPSTAN_GEARMAN__RECONNECT_SLEEP_SECONDS", "0.25")
    .variable("CAPSTAN_KNOWN_DRIVERS__LOAD_BALANCER__MY_LB__CONFIG__BIND_ADDRESS", "127.0.0.2")
    .variable("CAPSTAN_LOG", "ignored");
    let loaded = Loader::new(&place.variables)
        .file(place.path("capstan.toml"))
        .set("worker.device", "option", "--device")
        .load()
        .unwrap();
    let config = &loaded.config;
    assert_eq!((config.worker.function.as_str(), config.worker.device.as_str()), ("7", "option"));
    assert_eq!(config.daemon.roles, [Role::Worker]);
    assert_eq!(config.http.listen, ["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(config.gearman.reconnect_sleep, Duration::from_millis(250));
    let driver = config.known_drivers.get(DriverKind::LoadBalancer, "my-lb").unwrap();
    assert_eq!(driver.config.expose(), &json!({ "bind_address": "127.0.0.2" }));
    assert_eq!(place.origin(&loaded, "worker.function"), "environment CAPSTAN_WORKER__FUNCTION");
    assert_eq!(place.origin(&loaded, "worker.device"), "command line --device");
}

#[test]
fn without_a_file_there_are_still_options() {
    let variables = BTreeMap::new();
    let loaded = Loader::new(&variables)
        .set("known_drivers.load_balancer.noop.library", "libnoop.so", "--library")
        .set("worker.driver", "noop", "--driver")
        .set("daemon.roles", "[\"worker\"]", "worker")
        .load()
        .unwrap();
    assert_eq!(loaded.config.worker.driver, "noop");
    assert!(loaded.files.is_empty());
}

#[test]
fn relative_paths_are_taken_from_the_file_that_states_them() {
    let place = Place::new(&[
        ("capstan.toml", "[daemon]\nstate_dir = \"state\"\n"),
        ("conf.d/a.toml", "[drivers]\ndirectory = \"../lib\"\n"),
    ]);
    let config = place.load().config;
    assert_eq!(config.daemon.state_dir, place.path("state"));
    assert_eq!(config.drivers.directory, Some(place.path("conf.d").join("../lib")));
    assert_eq!(config.store.url, format!("sqlite:{}", place.path("state/capstan.db").display()));
}

fn with_secrets() -> Place {
    let place = Place::new(&[
        (
            "capstan.toml",
            "[known_drivers.cloud.acme]\nlibrary = \"l.so\"\n[known_drivers.cloud.acme.config]\n\
             list = [{ env = \"ENV_SECRET\" }, \"plain\"]\n\
             [cloud_farm.default]\nengine = \"acme\"\nuser = \"me\"\npassword = { file = \"secrets/password\" }\n\
             extra_params = { port = 8773, nested = { token = { credential = \"token\" } }, file = \"plain.txt\" }\n\
             [cloud_farm.other]\nengine = \"acme\"\n",
        ),
        ("secrets/password", "file-secret\n"),
        ("credentials/token", "credential-secret"),
    ]);
    let credentials = place.path("credentials").display().to_string();
    place
        .variable("ENV_SECRET", "env-secret")
        .variable("CREDENTIALS_DIRECTORY", &credentials)
        .variable("CAPSTAN_CLOUD_FARM__OTHER__PASSWORD", "literal-secret")
}

const SECRETS: [&str; 4] = ["file-secret", "credential-secret", "env-secret", "literal-secret"];

#[test]
fn secrets_reach_the_driver() {
    let place = with_secrets();
    let loaded = place.load();
    let cloud = loaded.config.cloud_farm.get(None).unwrap();
    assert_eq!(cloud.engine, "acme");
    assert_eq!(
        cloud.config.expose(),
        &json!({
            "user": "me",
            "password": "file-secret",
            "extra_params": { "port": 8773, "nested": { "token": "credential-secret" }, "file": "plain.txt" },
        })
    );
    assert_eq!(cloud.config.secret_pointers(), ["/extra_params/nested/token", "/password"]);
    let other = loaded.config.cloud_farm.get(Some("other")).unwrap();
    assert_eq!(other.config.expose(), &json!({ "password": "literal-secret" }));
    let acme = loaded.config.known_drivers.get(DriverKind::Cloud, "acme").unwrap();
    assert_eq!(acme.config.expose(), &json!({ "list": ["env-secret", "plain"] }));
    let mut values: Vec<_> = loaded.secret_values().iter().map(|secret| secret.expose().to_owned()).collect();
    values.sort();
    let mut expected = SECRETS.map(str::to_owned);
    expected.sort();
    assert_eq!(values, expected);
}

#[test]
fn secrets_are_never_shown() {
    let place = with_secrets();
    let loaded = place.load();
    let all = format!(
        "{}\n{}\n{loaded:?}\n{:?}\n{}",
        show_text(&loaded),
        show_json(&loaded),
        loaded.secret_values(),
        serde_json::to_string(&loaded.secret_values()).unwrap()
    );
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in\n{all}");
    }
    assert!(show_text(&loaded).contains("password = \"*****\"  "), "{}", show_text(&loaded));
}

#[test]
fn what_is_shown_is_toml_with_the_place_of_each_value() {
    let place = with_secrets();
    let loaded = place.load();
    let text = show_text(&loaded);
    let file = place.path("capstan.toml").display().to_string();
    for (key, place) in [
        ("user = \"me\"", format!("# {file}:7")),
        ("port = 8773", format!("# {file}:9")),
        ("listen = [\"127.0.0.1:8770\"]", "# default".to_owned()),
        ("token = { credential = \"token\" }", format!("# {file}:9")),
        ("# ssl_ca is not set", "# default".to_owned()),
    ] {
        assert!(text.lines().any(|line| line.starts_with(key) && line.ends_with(&place)), "{key} {place}\nin\n{text}");
    }
    let parsed: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(
        parsed["cloud_farm"]["default"]["extra_params"]["nested"]["token"]["credential"].as_str(),
        Some("token")
    );

    let json = show_json(&loaded);
    let row = json["values"].as_array().unwrap().iter().find(|row| row["key"] == "cloud_farm.default.user").unwrap();
    assert_eq!(
        row,
        &json!({ "key": "cloud_farm.default.user", "value": "me", "origin": format!("{file}:7"), "file": file, "line": 7 })
    );
    assert_eq!(json["files"], json!([file]));
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_about() {
    let place = with_secrets();
    assert_eq!(place.load().warnings, []);
    fs::set_permissions(place.path("secrets/password"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = place.load().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("capstan.toml:8: cloud_farm.default.password: "), "{}", warnings[0]);
    assert!(warnings[0].text.contains("(mode 644)"), "{}", warnings[0]);
}

#[test]
fn secrets_that_cannot_be_had_are_faults() {
    let text = "[known_drivers.cloud.a]\nlibrary = \"l.so\"\n[known_drivers.cloud.a.config]\na = { env = \"ABSENT\" }\n\
                b = { credential = \"x\" }\nc = { credential = \"../x\" }\nd = { file = \"empty\" }\ne = { file = \".\" }\n";
    let place = Place::new(&[("capstan.toml", text), ("empty", "\n")]);
    let faults = load(&place.path("capstan.toml"), &place.variables).unwrap_err();
    let found: Vec<String> = faults.as_slice().iter().map(|fault| fault.found.clone()).collect();
    assert_eq!(found.len(), 5, "{faults}");
    for (found, part) in
        found.iter().zip(["variable ABSENT", "no CREDENTIALS_DIRECTORY", "credential name", "empty", "no regular file"])
    {
        assert!(found.contains(part), "{found} / {part}");
    }
}

#[test]
fn two_readings_of_the_same_files_are_equal_and_a_changed_secret_is_a_difference() {
    let place = with_secrets();
    let before = place.load().config;
    assert!(before == place.load().config);
    let text = fs::read_to_string(place.path("capstan.toml")).unwrap();
    fs::write(place.path("capstan.toml"), format!("# a comment moves every line\n\n{text}")).unwrap();
    assert!(before == place.load().config, "what is said counts, not where");
    fs::write(place.path("secrets/password"), "changed-secret").unwrap();
    let after = place.load().config;
    assert!(before.cloud_farm != after.cloud_farm);
    assert!(before.known_drivers == after.known_drivers);
}

#[test]
fn the_process_has_an_environment_and_a_name() {
    let environment = ProcessEnvironment;
    assert!(!environment.host_name().is_empty());
    assert!(environment.get("PATH").is_some());
    assert!(environment.starting_with("PATH").iter().any(|(name, _)| name == "PATH"));
}

#[test]
fn bug40_what_has_no_effect_is_said() {
    let with = |keepalive: bool| {
        let text = format!("[gearman]\nkeepalive = {keepalive}\nkeepcnt = 3\nkeepidle = 60\n");
        Place::new(&[("capstan.toml", &text)]).load().warnings
    };
    assert_eq!(with(true), []);
    let warnings: Vec<String> = with(false).iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].ends_with("capstan.toml:3: gearman.keepcnt: has no effect without gearman.keepalive = true"),
        "{warnings:?}"
    );
}

const OWN: &str = "[daemon]\nrun_dir = \"run\"\n[known_drivers.mgm.own]\nlibrary = \"libcapstan_mgm_local.so\"\n";

fn own_config(text: &str) -> serde_json::Value {
    let place = Place::new(&[("capstan.toml", text)]);
    let driver = place.load().config.known_drivers.get(DriverKind::Mgm, "own").unwrap().clone();
    let shown = driver.config.redacted().to_string().replace(&format!("{}/", place.folder.path().display()), "");
    serde_json::from_str(&shown).unwrap()
}

#[test]
fn the_driver_of_the_daemons_own_api_gets_the_daemons_own_socket_and_token() {
    assert_eq!(own_config(OWN), json!({ "socket": "run/capstan.sock", "token": { "file": "run/device.token" } }));
    let config = format!("{OWN}[known_drivers.mgm.own.config]\n");
    assert_eq!(
        own_config(&format!("{config}timeout_seconds = 3\n")),
        json!({ "socket": "run/capstan.sock", "token": { "file": "run/device.token" }, "timeout_seconds": 3 })
    );
    // The same socket by another name, from the folder of the file.
    assert_eq!(
        own_config(&format!("{config}socket = \"run/capstan.sock\"\n"))["token"],
        json!({ "file": "run/device.token" })
    );
    assert_eq!(
        own_config(&format!("{config}socket = \"other.sock\"\n")),
        json!({ "socket": "other.sock" }),
        "the token is for no other daemon"
    );
    // No other driver is completed.
    let other = OWN.replace("libcapstan_mgm_local.so", "libmine.so");
    assert_eq!(own_config(&other), json!({}));
}
