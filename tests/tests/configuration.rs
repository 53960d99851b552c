//! The configuration through the built binary: every fault at once, sources, secrets, translation, the shipped files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use capstan_tests::{
    daemon::{Ended, HAPROXY, Setup, Site, update},
    http, paths,
};
use serde_json::Value;
use tempfile::TempDir;

/// Runs `capstan` with a clean environment but for these variables.
fn capstan(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let output = Command::new(paths::capstan())
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended::of(output)
}

/// A folder with a configuration.
struct Files(TempDir);

impl Files {
    fn new(text: &str) -> Self {
        let files = Self(tempfile::Builder::new().prefix("capstan-").tempdir().unwrap());
        files.write("capstan.toml", text);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, code: i32, command: &[&str], variables: &[(&str, &str)]) -> Ended {
        let config = self.path("capstan.toml");
        let ended = capstan(&[&["--config", config.to_str().unwrap()], command].concat(), variables);
        assert_eq!(ended.code, Some(code), "{command:?}: {ended:?}");
        ended
    }

    /// The lines of the faults, the folder's name taken off.
    fn faults(&self, variables: &[(&str, &str)]) -> Vec<String> {
        let ended = self.run(64, &["config", "check"], variables);
        let prefix = format!("{}/", self.0.path().display());
        let lines: Vec<String> = ended.error.lines().map(|line| line.replace(&prefix, "")).collect();
        let (first, rest) = lines.split_first().unwrap();
        assert_eq!(first, "capstan: the configuration cannot be used");
        let (last, faults) = rest.split_last().unwrap();
        assert!(last.starts_with(&format!("{} fault", faults.len())), "{last}: {faults:#?}");
        faults.to_vec()
    }
}

fn drivers(folder: &Path) -> String {
    format!("[drivers]\ndirectory = \"{}\"\ntrust_own_files = true\nisolation = \"in-process\"\n", folder.display())
}

/// The number of the line that holds a text, counted from 1.
fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}")) + 1
}

#[test]
fn all_faults_are_listed_at_once_with_file_and_line_and_nothing_is_started() {
    let text = format!(
        r#"[daemon]
roles = ["worker"]
state_dir = "state"
run_dir = "run"

[http]
lisen = ["127.0.0.1:8770"]

[gearman]
servers = ["embedded", "localhost:99999"]
embedded_listen = "127.0.0.1:8770"
keepidle = "often"

{}
[known_drivers.load_balancer.haproxy]
library = "libcapstan_load_balancer_haproxy.so"

[known_drivers.load_balancer.haproxy.config]
control = "process"
maxconn = "many"
bind_adress = "0.0.0.0"

[known_drivers.cloud.dummy]
library = "libcapstan_cloud_dummy.so"

[cloud_farm.default]
engine = "dumy"
password = {{ file = "secrets/absent" }}

[worker]
driver = "haproxi"
max_depth = 1000

[telemetry]
format = "yaml"
"#,
        drivers(&paths::build())
    );
    let files = Files::new(&text);
    let faults = files.faults(&[]);
    let at = |part: &str| format!("capstan.toml:{}: ", line_of(&text, part));
    let mut missing = Vec::new();
    for (part, says) in [
        ("lisen", &["http.lisen: found an unknown key", "did you mean \"listen\"?"][..]),
        ("localhost:99999", &["gearman.servers", "found ", "expected "]),
        ("embedded_listen", &["gearman.embedded_listen: found 127.0.0.1:8770; expected a port of its own"]),
        ("keepidle", &["gearman.keepidle: found the text \"often\"", "expected "]),
        (
            "maxconn",
            &[
                "haproxy.config.maxconn: found \"many\"; expected a value of type integer; see capstan driver info haproxy",
            ],
        ),
        ("bind_adress", &["haproxy.config.bind_adress: found an unknown key", "did you mean \"bind_address\"?"]),
        ("dumy", &["cloud_farm.default.engine", "dummy"]),
        ("secrets/absent", &["cloud_farm.default.password: found the secret file", "unreadable", "expected a secret"]),
        ("haproxi", &["worker.driver", "haproxy"]),
        ("max_depth", &["worker.max_depth: found the number 1000", "8 to 120"]),
        ("yaml", &["telemetry.format: found the text \"yaml\"", "expected "]),
    ] {
        let found =
            faults.iter().any(|fault| fault.starts_with(&at(part)) && says.iter().all(|one| fault.contains(one)));
        if !found {
            missing.push(format!("{}{says:?}", at(part)));
        }
    }
    assert!(missing.is_empty(), "missing:\n{}\nof:\n{}", missing.join("\n"), faults.join("\n"));
    assert_eq!(faults.len(), 11, "{faults:#?}");
    let mut sorted = faults.clone();
    sorted.sort_by_key(|fault| fault.split(':').nth(1).and_then(|line| line.parse::<u32>().ok()));
    assert_eq!(faults, sorted, "in the order of lines");

    // The daemon says the same, with the same code, and leaves no trace.
    let serve = files.run(64, &["serve"], &[]);
    assert_eq!(serve.error.lines().count(), faults.len() + 2, "{}", serve.error);
    assert!(!files.path("state").exists() && !files.path("run").exists(), "something was started");
    // JSON is asked for: the faults still go to standard error, and nothing else comes out.
    let json = files.run(64, &["config", "check", "--output", "json"], &[]);
    assert_eq!(json.out, "");
}

#[test]
fn a_port_that_two_listeners_want_is_a_fault() {
    let files = Files::new(
        "[daemon]\nroles = [\"worker\"]\n[http]\nlisten = [\"127.0.0.1:9001\"]\n[gearman]\nservers = [\"embedded\"]\n\
         embedded_listen = \"127.0.0.1:9001\"\n[known_drivers.load_balancer.haproxy]\nlibrary = \"x.so\"\n",
    );
    let faults = files.faults(&[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(
        faults[0].starts_with("capstan.toml:7: gearman.embedded_listen: ") && faults[0].contains("9001"),
        "{faults:#?}"
    );
    // Both would also be refused off loopback.
    let faults = files.faults(&[
        ("CAPSTAN_HTTP__LISTEN", "[\"0.0.0.0:9002\"]"),
        ("CAPSTAN_GEARMAN__EMBEDDED_LISTEN", "0.0.0.0:9003"),
    ]);
    assert!(
        faults.iter().any(|fault| fault.contains("CAPSTAN_HTTP__LISTEN") && fault.contains("loopback")),
        "{faults:#?}"
    );
    assert!(faults.iter().any(|fault| fault.contains("CAPSTAN_GEARMAN__EMBEDDED_LISTEN")), "{faults:#?}");
}

#[test]
fn files_of_conf_d_and_variables_lie_over_the_file_and_show_says_so() {
    let files = Files::new(&format!(
        "[daemon]\nroles = [\"worker\"]\n[worker]\ndriver = \"noop\"\nfunction = \"one\"\n{}",
        drivers(&paths::build())
    ));
    files.write(
        "conf.d/20-noop.toml",
        "[known_drivers.load_balancer.noop]\nlibrary = \"libcapstan_load_balancer_noop.so\"\n",
    );
    files.write("conf.d/10-telemetry.toml", "[telemetry]\nlevel = \"debug\"\n");
    files.write("conf.d/README", "no TOML at all");
    files.run(0, &["config", "check"], &[]);
    let variables =
        [("CAPSTAN_WORKER__FUNCTION", "two"), ("CAPSTAN_HTTP__ENABLED", "false"), ("CAPSTAN_NAME", "no key")];
    let show = files.run(0, &["config", "show"], &variables);
    for (key, from) in [
        ("function = \"two\"", "CAPSTAN_WORKER__FUNCTION"),
        ("enabled = false", "CAPSTAN_HTTP__ENABLED"),
        ("driver = \"noop\"", "capstan.toml:4"),
        ("level = \"debug\"", "conf.d/10-telemetry.toml:2"),
        ("library = \"libcapstan_load_balancer_noop.so\"", "conf.d/20-noop.toml:2"),
        ("max_depth = 64", "default"),
    ] {
        let line = show.out.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {}", show.out));
        assert!(line.contains(from), "{line}");
    }
    let json = files.run(0, &["config", "show", "--output", "json"], &variables).json();
    let value = |key: &str| json["values"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone();
    assert_eq!(value("worker.function")["value"], "two");
    assert_eq!((value("telemetry.level")["line"].as_u64(), json["files"].as_array().unwrap().len()), (Some(2), 3));
    // What is shown is TOML again and means the same.
    let again = Files::new(&show.out);
    again.run(0, &["config", "check"], &[]);

    // A file of conf.d may add and not override.
    files.write("conf.d/30-clash.toml", "[worker]\nfunction = \"three\"\n");
    let faults = files.faults(&[]);
    assert!(faults.len() == 1 && faults[0].starts_with("conf.d/30-clash.toml:2: worker.function: "), "{faults:#?}");
    // A variable that names no key is a fault of its own.
    fs::remove_file(files.path("conf.d/30-clash.toml")).unwrap();
    let faults = files.faults(&[("CAPSTAN_WORKER__FUNKTION", "x")]);
    assert!(
        faults.len() == 1 && faults[0].contains("CAPSTAN_WORKER__FUNKTION") && faults[0].contains("did you mean"),
        "{faults:#?}"
    );
}

#[test]
fn no_secret_is_ever_printed() {
    const SECRETS: [&str; 3] = ["s3cr3t-from-a-file", "s3cr3t-from-the-environment", "s3cr3t-in-a-variable"];
    let site = Site::new(Setup {
        driver: "bad",
        driver_config: "a = { file = \"secret\" }\nb = [{ c = { env = \"SUITE_USER\" } }]",
        more: r#"[known_drivers.cloud.dummy]
library = "libcapstan_cloud_dummy.so"

[cloud_farm.default]
engine = "dummy"
user = { env = "SUITE_USER" }
password = { file = "secret" }

[cloud_farm.second]
engine = "dummy""#,
        ..Setup::default()
    });
    let secret = site.path().join("secret");
    fs::write(&secret, format!("{}\n", SECRETS[0])).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let config = site.config();
    let run = |command: &[&str]| {
        let arguments = [&["--config", config.to_str().unwrap()], command].concat();
        capstan(&arguments, &[("SUITE_USER", SECRETS[1]), ("CAPSTAN_CLOUD_FARM__SECOND__PASSWORD", SECRETS[2])])
    };
    let mut all = String::new();
    // The cloud in memory takes no user and no password, which `check` says; `show` does not ask the drivers.
    for (command, code) in
        [(&["config", "show"][..], 0), (&["config", "show", "--output", "json"], 0), (&["config", "check"], 64)]
    {
        let ended = run(command);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        all.push_str(&format!("{ended:?}"));
    }
    assert!(all.contains("SUITE_USER") && all.contains("secret"), "references are shown: {all}");
    assert!(
        all.contains("every user") || all.contains("can read"),
        "a secret file that all may read is worth a warning: {all}"
    );
    // A fault elsewhere does not bring them out either.
    let text = fs::read_to_string(&config).unwrap();
    site.configure(&text.replace("engine = \"dummy\"", "engine = 7"));
    let ended = run(&["config", "show"]);
    assert_eq!(ended.code, Some(64));
    all.push_str(&format!("{ended:?}"));
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

#[test]
fn a_secret_is_blotted_out_of_the_log() {
    // The bad driver writes what it is told into its error, so a secret among its keys reaches the log by way of the driver.
    let site = Site::new(Setup {
        driver: "bad",
        driver_config: "invoke = { suspend = \"good\", enable = { file = \"secret\" } }",
        ..Setup::default()
    });
    fs::write(site.path().join("secret"), "s3cr3t-no-misbehaviour").unwrap();
    let daemon = site.start();
    let reply = site.ask(&serde_json::json!({ "hpcs_action": "ENABLE" }));
    assert_eq!(reply["hpcs_response"], "FAIL", "{reply}");
    daemon.stop();
    assert!(site.log().contains("*****"), "{}", site.log());
    assert!(!site.log().contains("s3cr3t"), "{}", site.log());
}

const LIBRA: &str = "\
[DEFAULT]
daemon = true
user = haproxy
group = haproxy
verbose = true

[gearman]
servers = 10.0.0.1:4730, gearman.example.org:4731
keepalive = true
keepcnt = 3
poll = 2
reconnect_sleep = 30

[worker]
driver = haproxy
pid = /var/run/libra/libra_worker.pid

[worker:haproxy]
service = ubuntu
statsfile = /var/log/haproxy.stats

[mgm]
az = 1
";

#[test]
fn an_old_libra_ini_becomes_a_configuration_that_checks() {
    let files = Files::new("");
    files.write("libra.ini", LIBRA);
    let libra = files.path("libra.ini");
    let imported = files.run(0, &["config", "import", libra.to_str().unwrap()], &[]);
    for line in [
        "servers = [\"10.0.0.1:4730\", \"gearman.example.org:4731\"]",
        "keepalive = true",
        "keepcnt = 3",
        "reconnect_sleep_seconds = 30",
        "driver = \"haproxy\"",
        "control = \"systemd\"",
        "level = \"info\"",
    ] {
        assert!(imported.out.lines().any(|found| found.starts_with(line)), "{line}:\n{}", imported.out);
    }
    for note in ["daemon", "poll", "pid", "statsfile", "mgm"] {
        assert!(imported.error.contains(note), "{note}: {}", imported.error);
    }
    files.write("capstan.toml", &imported.out);
    let directory = paths::build().display().to_string();
    let variables = [("CAPSTAN_DRIVERS__DIRECTORY", directory.as_str()), ("CAPSTAN_DRIVERS__TRUST_OWN_FILES", "true")];
    files.run(0, &["config", "check"], &variables);
    let json = files.run(0, &["config", "import", libra.to_str().unwrap(), "--output", "json"], &[]).json();
    assert_eq!(json["toml"].as_str().unwrap().trim(), imported.out.trim());
    assert_eq!(json["notes"].as_array().unwrap().len(), imported.error.lines().count());
    // What cannot be read is usage, not a bug.
    files.run(64, &["config", "import", "/nowhere/libra.ini"], &[]);
    // Text that is no INI at all is named, not translated into nothing.
    files.write("libra.ini", "\u{0}\u{1}[[[\nno = section\n====\n");
    let odd = files.run(0, &["config", "import", libra.to_str().unwrap()], &[]);
    assert!(!odd.error.is_empty(), "{odd:?}");
}

#[test]
fn the_shipped_files_check() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("config");
    let directory = paths::build().display().to_string();
    let variables = [("CAPSTAN_DRIVERS__DIRECTORY", directory.as_str()), ("CAPSTAN_DRIVERS__TRUST_OWN_FILES", "true")];
    let mut names: Vec<PathBuf> = [shipped.clone(), shipped.join("examples")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    for path in names {
        let folder = tempfile::tempdir().unwrap();
        // In a folder of its own: files that it names by a relative path are made there.
        let text = fs::read_to_string(&path).unwrap();
        let copy = folder.path().join("capstan.toml");
        fs::write(&copy, &text).unwrap();
        fs::create_dir(folder.path().join("tls")).unwrap();
        for name in ["ca.pem", "node.pem", "node.key"] {
            fs::write(folder.path().join("tls").join(name), "").unwrap();
        }
        let ended = capstan(&["--config", copy.to_str().unwrap(), "config", "check"], &variables);
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", path.display());
        // And the drivers' sections are really looked at.
        if text.contains("bind_address") {
            fs::write(&copy, text.replace("bind_address = ", "bind_addres = ")).unwrap();
            let ended = capstan(&["--config", copy.to_str().unwrap(), "config", "check"], &variables);
            assert!(ended.code == Some(64) && ended.error.contains("bind_addres"), "{}: {ended:?}", path.display());
        }
    }
}

#[test]
fn a_hang_up_with_a_broken_file_keeps_the_running_configuration() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let good = fs::read_to_string(site.config()).unwrap();
    let hang_up = |expected: &str| {
        let before = site.log().matches(expected).count();
        daemon.signal(rustix::process::Signal::HUP);
        capstan_tests::wait_for(expected, std::time::Duration::from_secs(10), || {
            (site.log().matches(expected).count() > before).then_some(())
        });
        assert_eq!(http::get(site.http_port, "/readyz", "").unwrap().status, 200);
        site.pass(&update(80, &[("1", 81)]));
    };
    hang_up("nothing changed");
    site.configure(&format!("{good}\n[htpp]\nlisten = 1\n"));
    hang_up("the running one is kept");
    assert!(site.log().contains("htpp"), "the fault is named");
    site.configure("[[[ no TOML");
    hang_up("the running one is kept");
    fs::remove_file(site.config()).unwrap();
    hang_up("the running one is kept");
    site.configure(&good.replace("[worker]\n", "[worker]\nmax_depth = 30\n"));
    hang_up("restart to apply what changed");
    site.configure(&good);
    hang_up("nothing changed");
    daemon.stop();
}

#[test]
fn a_schema_fault_of_haproxys_section_has_its_own_line() {
    for (line, says) in [
        ("spare_slots = -1", "spare_slots"),
        ("control = \"docker\"", "control"),
        ("bind_address = 7", "bind_address"),
        ("haproxy_path = [\"/usr/sbin/haproxy\"]", "haproxy_path"),
    ] {
        let key = line.split(' ').next().unwrap();
        let mut section: Vec<&str> = HAPROXY.lines().filter(|one| !one.starts_with(key)).collect();
        section.push(line);
        let site = Site::worker("haproxy", &section.join("\n"));
        let text = fs::read_to_string(site.config()).unwrap();
        let ended = site.expect(64, &["config", "check"]);
        let expected = format!(
            "{}:{}: known_drivers.load_balancer.haproxy.config.{says}",
            site.config().display(),
            line_of(&text, line)
        );
        assert!(ended.error.lines().any(|fault| fault.starts_with(&expected)), "{expected}:\n{}", ended.error);
        let json: Value = site.expect(0, &["driver", "info", "haproxy", "--output", "json"]).json();
        assert!(json.to_string().contains(key), "the schema that says so");
    }
}
