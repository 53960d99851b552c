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
        ("maxconn", &["haproxy.config.maxconn: found the text \"many\"; expected a whole number"]),
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
fn a_job_server_on_a_port_that_nobody_knows_is_a_fault() {
    let files = Files::new("[gearman]\nembedded_listen = \"127.0.0.1:0\"\n");
    assert_eq!(
        files.faults(&[]),
        [
            "capstan.toml:2: gearman.embedded_listen: found the text \"127.0.0.1:0\"; expected a port from 1 to 65535, by \
          which workers and clients find the job server; choose one, such as 4730"
        ]
    );
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
fn a_configuration_says_the_same_however_it_is_named_and_from_wherever() {
    let text = "[daemon]\nroles = [\"pool-manager\"]\nstate_dir = \"state\"\nrun_dir = \"run\"\n[drivers]\ndirectory = \"lib\"\n\
                [known_drivers.mgm.hp_rest]\nlibrary = \"x.so\"\n[known_drivers.mgm.hp_rest.config]\ntoken = { file = \"pw\" }\n\
                [known_drivers.mgm.hp_rest.sandbox]\nread = [\"etc\"]\n[known_drivers.cloud.a]\nlibrary = \"y.so\"\n\
                [cloud_farm.default]\nengine = \"a\"\n[pool]\nimage = \"i\"\nsize = \"s\"\nuser_data = \"user-data\"\n";
    let files = Files::new(text);
    files.write("pw", "a-secret");
    let root = files.0.path();
    let show = |from: &Path, config: &Path, variables: &[(&str, &str)]| -> Value {
        let output = Command::new(paths::capstan())
            .args(["--config", config.to_str().unwrap(), "config", "show", "--output", "json"])
            .current_dir(from)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let ended = Ended::of(output);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.json()
    };
    let named = show(Path::new("/"), &files.path("capstan.toml"), &[]);
    assert_eq!(show(root, Path::new("capstan.toml"), &[]), named);
    assert_eq!(show(root, Path::new("./capstan.toml"), &[]), named);
    let value = |shown: &Value, key: &str| {
        let values = shown["values"].as_array().unwrap();
        values.iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("{key}"))["value"].clone()
    };
    let folder = root.display();
    for (key, path) in [
        ("daemon.state_dir", format!("{folder}/state")),
        ("daemon.run_dir", format!("{folder}/run")),
        ("store.url", format!("sqlite:{folder}/state/capstan.db")),
        ("http.socket", format!("{folder}/run/capstan.sock")),
        ("drivers.directory", format!("{folder}/lib")),
        ("pool.user_data", format!("{folder}/user-data")),
        ("identity.directory", format!("{folder}/state/identity")),
    ] {
        assert_eq!(value(&named, key), path.as_str(), "{key}");
    }
    // From the environment: relative to where the command is started.
    let shown = show(root, Path::new("capstan.toml"), &[("CAPSTAN_DAEMON__STATE_DIR", "elsewhere")]);
    assert_eq!(value(&shown, "store.url"), format!("sqlite:{folder}/elsewhere/capstan.db"));
    // And the file is looked for where it says.
    let info = ["--config", "capstan.toml", "store", "info"];
    let output = Command::new(paths::capstan()).args(info).current_dir(root).env_clear().output().unwrap();
    let ended = Ended::of(output);
    assert!(ended.error.contains(&format!(" {folder}/state/capstan.db")), "{ended:?}");
}

#[test]
fn what_a_look_at_files_can_tell_is_told_and_what_not_is_said() {
    let text = format!(
        "{}[known_drivers.mgm.gone]\nlibrary = \"libgone.so\"\n[known_drivers.cloud.program]\ncommand = [\"no-program\"]\n\
         [known_drivers.mgm.own]\nlibrary = \"libcapstan_mgm_local.so\"\n[known_drivers.mgm.own.config]\n",
        drivers(&paths::build()).replace("isolation = \"in-process\"\n", "")
    );
    let files = Files::new(&text);
    let ended = files.run(0, &["config", "check"], &[]);
    let warnings: Vec<&str> = ended.out.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{ended:?}");
    for (key, file) in [("mgm.gone.library", "libgone.so"), ("cloud.program.command", "no-program")] {
        let says = |line: &&str| line.contains(&format!("known_drivers.{key}: will not load: ")) && line.contains(file);
        assert!(warnings.iter().any(says), "{key}: {ended:?}");
    }
    let last = ended.out.lines().last().unwrap();
    assert!(last.starts_with("valid: ") && last.contains("not looked at: what drivers check"), "{last}");
    assert!(files.run(0, &["config", "check", "--output", "json"], &[]).json()["not_checked"].is_string());
    // A driver that is required keeps the daemon from starting.
    files.write("capstan.toml", &text.replace("\"libgone.so\"", "\"libgone.so\"\nrequired = true"));
    let faults = files.faults(&[]);
    assert!(faults.len() == 1 && faults[0].contains("known_drivers.mgm.gone.library: "), "{faults:#?}");
    // A secret stands outside the file, and no fault repeats it.
    files.write("capstan.toml", &format!("{text}token = \"in-the-clear\"\n"));
    let faults = files.faults(&[]);
    let begins = format!(
        "capstan.toml:{}: known_drivers.mgm.own.config.token: found a text; expected a reference to a secret; ",
        text.lines().count() + 1
    );
    assert!(faults.len() == 1 && faults[0].starts_with(&begins), "{begins}\n{faults:#?}");
    assert!(!faults[0].contains("in-the-clear"), "{faults:#?}");
}

/// A pool manager's configuration, up to the keys of `[pool]` itself.
fn pool_manager() -> String {
    format!(
        "[daemon]\nroles = [\"pool-manager\"]\nstate_dir = \"state\"\nrun_dir = \"run\"\n[http]\nlisten = []\n{}\
         [known_drivers.mgm.dummy]\nlibrary = \"libcapstan_mgm_dummy.so\"\n\
         [known_drivers.cloud.dummy]\nlibrary = \"libcapstan_cloud_dummy.so\"\n\
         [cloud_farm.default]\nengine = \"dummy\"\n[pool]\ndriver = \"dummy\"\nimage = \"debian-12\"\nsize = \"small\"\n",
        drivers(&paths::build())
    )
}

// Found by a newcomer: the check called valid what the daemon then refused.
#[test]
fn the_files_of_stocks_are_read_by_the_check_as_by_the_daemon() {
    let text = format!(
        "{}user_data = \"absent.txt\"\n[pool.stocks.a]\n[pool.stocks.b]\n[pool.stocks.c]\nuser_data = \"asks.txt\"\n\
         [pool.stocks.d]\nuser_data = \".\"\n[pool.stocks.e]\nuser_data = \"good.txt\"\n",
        pool_manager()
    );
    let files = Files::new(&text);
    files.write("asks.txt", "token = @TOKEN@\n");
    files.write("good.txt", "#!/bin/sh\n");
    let line = |part: &str| line_of(&text, part);
    let begins = [
        format!(
            "capstan.toml:{}: pool.user_data: found absent.txt, which cannot be read (No such file",
            line("absent")
        ),
        format!(
            "capstan.toml:{}: pool.stocks.c.user_data: found asks.txt, which has a place for a token",
            line("asks")
        ),
        format!("capstan.toml:{}: pool.stocks.d.user_data: found ., which cannot be read (it is no", line("\".\"")),
    ];
    let faults = files.faults(&[]);
    assert_eq!(faults.len(), begins.len(), "{faults:#?}");
    for (fault, begins) in faults.iter().zip(&begins) {
        let fault = fault.replace(&format!("found {},", files.0.path().display()), "found .,");
        assert!(fault.starts_with(begins), "{fault}\n{begins}");
    }
    let checked = files.run(64, &["config", "check"], &[]);
    assert_eq!(files.run(64, &["serve"], &[]).error, checked.error);
    // Commands that ask a daemon do not read what may be for that daemon alone.
    files.run(0, &["config", "show"], &[]);
}

// Found by a newcomer: such nodes were built and could not be registered, or every create failed.
#[test]
fn a_node_basename_leaves_room_for_the_id_and_makes_a_host_name() {
    let files = Files::new("");
    let write =
        |basename: &str| files.write("capstan.toml", &format!("{}node_basename = \"{basename}\"\n", pool_manager()));
    for good in ["", "lb", "a_b.c-1", &"n".repeat(91)] {
        write(good);
        files.run(0, &["config", "check"], &[]);
    }
    for bad in [&*"n".repeat(92), &"n".repeat(300), "-lb", "l b", "lb/", "l\u{fc}"] {
        write(bad);
        let faults = files.faults(&[]);
        let line = pool_manager().lines().count() + 1;
        let begins = format!("capstan.toml:{line}: pool.node_basename: found ");
        assert!(faults.len() == 1 && faults[0].starts_with(&begins), "{bad}: {faults:#?}");
        assert!(faults[0].contains("expected at most 91 letters"), "{bad}: {faults:#?}");
    }
}

#[test]
fn a_value_taken_over_from_another_key_shows_that_keys_place() {
    let text = r#"[daemon]
run_dir = "run"

[gearman]
embedded_listen = "127.0.0.1:9004"

[drivers]
isolation = "in-process"
max_queue = 7
user = "root"

[drivers.limits]
files = 64

[known_drivers.load_balancer.heir]
library = "heir.so"
max_queue = 9

[known_drivers.cloud.program]
command = ["/program"]

[worker]
function = "node"
"#;
    let files = Files::new(text);
    let variables = [("CAPSTAN_DRIVERS__CALL_TIMEOUT_SECONDS", "3")];
    let config = files.path("capstan.toml").display().to_string();
    let at = |part: &str| format!("{config}:{}", line_of(text, part));
    let shown = files.run(0, &["config", "show", "--output", "json"], &variables).json();
    let text_form = files.run(0, &["config", "show"], &variables).out;
    for (key, origin, inherits) in [
        ("known_drivers.load_balancer.heir.isolation", at("isolation"), Some("drivers.isolation")),
        ("known_drivers.load_balancer.heir.max_queue", at("max_queue = 9"), None),
        ("known_drivers.load_balancer.heir.max_concurrency", "default".to_owned(), None),
        (
            "known_drivers.load_balancer.heir.call_timeout_seconds",
            "environment CAPSTAN_DRIVERS__CALL_TIMEOUT_SECONDS".to_owned(),
            Some("drivers.call_timeout_seconds"),
        ),
        // A command is a process of its own, whatever is said of drivers in general.
        ("known_drivers.cloud.program.isolation", "default".to_owned(), None),
        ("known_drivers.cloud.program.max_queue", at("max_queue = 7"), Some("drivers.max_queue")),
        ("known_drivers.cloud.program.user", at("user = "), Some("drivers.user")),
        ("known_drivers.cloud.program.limits.files", at("files"), Some("drivers.limits.files")),
        ("known_drivers.cloud.program.limits.memory", "default".to_owned(), None),
        ("http.socket", at("run_dir"), Some("daemon.run_dir")),
        ("store.url", "default".to_owned(), None),
        ("worker.device", at("function"), Some("worker.function")),
        ("worker.diagnostics_targets", at("embedded_listen"), Some("gearman.embedded_listen")),
        ("drivers.isolation", at("isolation"), None),
    ] {
        let values = shown["values"].as_array().unwrap();
        let row = values.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key}"));
        assert_eq!((row["origin"].as_str(), row["inherits"].as_str()), (Some(&*origin), inherits), "{row}");
        let place = inherits.map_or_else(|| format!("  # {origin}"), |from| format!("  # {origin} ({from})"));
        let (section, name) = key.rsplit_once('.').unwrap();
        let section = text_form.split(&format!("[{section}]\n")).nth(1).unwrap().split("\n\n").next().unwrap();
        let line = section.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{key}: {text_form}"));
        assert!(line.ends_with(&place), "{line}");
    }
    // A fault of such a value is placed where it was written.
    let run_dir = "x".repeat(100);
    files.write("capstan.toml", &text.replace("\"run\"", &format!("\"/{run_dir}\"")));
    let fault = format!("capstan.toml:2: http.socket: found /{run_dir}/capstan.sock, which has 114 bytes; ");
    assert!(files.faults(&[])[0].starts_with(&fault));
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
engine = "dummy"
extra_params = { seed = { env = "SUITE_USER" } }"#,
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
    // A seed is a number, which `check` says of the secret that stands there; `show` does not ask the drivers.
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

[admin_api]
db_sections = mysql1
";

#[test]
fn an_old_libra_ini_becomes_a_configuration_that_checks() {
    let files = Files::new("");
    files.write("old worker.ini", LIBRA);
    let libra = files.path("old worker.ini");
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
    for note in ["daemon", "poll", "pid", "statsfile", "admin_api"] {
        assert!(imported.error.contains(note), "{note}: {}", imported.error);
    }
    // Whatever it is called, its name is what the notes and the result speak of.
    assert!(imported.out.starts_with(&format!("# Translated from {}.\n", libra.display())), "{}", imported.out);
    let line = line_of(LIBRA, "pid = ");
    let note = format!("{}:{line}: [worker] pid: no counterpart: ", libra.display());
    assert!(imported.error.lines().any(|found| found.starts_with(&note)), "{note}:\n{}", imported.error);
    assert!(imported.error.lines().all(|found| found.starts_with(&format!("{}:", libra.display()))), "{imported:?}");
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
    files.write("old worker.ini", "\u{0}\u{1}[[[\nno = section\n====\n");
    let odd = files.run(1, &["config", "import", libra.to_str().unwrap()], &[]);
    assert!(!odd.error.is_empty(), "{odd:?}");
    // What could be read is written, and the exit code says that not all could.
    files.write("old worker.ini", "[gearman]\nservers = 10.0.0.1:4730\ngarbage\nkeepcnt = lots\n");
    let part = files.run(1, &["config", "import", libra.to_str().unwrap()], &[]);
    assert!(part.out.contains("servers = [\"10.0.0.1:4730\"]"), "{part:?}");
    assert!(part.error.lines().last().unwrap().contains("2 of the notes on"), "{part:?}");
    let json = files.run(1, &["config", "import", libra.to_str().unwrap(), "--output", "json"], &[]).json();
    assert_eq!(json["not_understood"], 2, "{json:#}");
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
            fs::write(
                folder.path().join("tls").join(name),
                "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n",
            )
            .unwrap();
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
    fs::write(site.config(), [0xff, 0xfe, 0]).unwrap();
    hang_up("the running one is kept");
    fs::remove_file(site.config()).unwrap();
    hang_up("the running one is kept");
    fs::create_dir(site.config()).unwrap();
    hang_up("the running one is kept");
    fs::remove_dir(site.config()).unwrap();
    site.configure(&good.replace("[worker]\n", "[worker]\nmax_depth = 30\n"));
    hang_up("restart to apply what changed");
    site.configure(&good);
    for _ in 0..50 {
        daemon.signal(rustix::process::Signal::HUP);
    }
    hang_up("nothing changed");
    daemon.stop();
}

// Found by a newcomer: a broken file locked one out of a daemon that ran well.
#[test]
fn beside_a_broken_file_a_command_names_the_way_to_the_daemon_that_runs() {
    let site = Site::worker("noop", "");
    let daemon = site.start();
    let good = fs::read_to_string(site.config()).unwrap();
    for broken in [format!("{good}\n[pool]\nnodes = -5\n"), format!("{good}\n[pool\n")] {
        site.configure(&broken);
        let refused = site.expect(64, &["driver", "list"]);
        let way = refused.error.lines().last().unwrap();
        let (_, socket) = way.split_once("by --socket ").unwrap_or_else(|| panic!("{refused:?}"));
        site.expect(0, &["--socket", socket, "driver", "list"]);
    }
    // Where nothing can be read, the usual place.
    fs::remove_file(site.config()).unwrap();
    let refused = site.expect(64, &["driver", "list"]);
    assert!(refused.error.ends_with("by --socket /run/capstan/capstan.sock\n"), "{refused:?}");
    // What needs no daemon speaks of none.
    assert!(!site.expect(64, &["config", "check"]).error.contains("--socket"));
    site.configure(&good);
    daemon.stop();
}

#[test]
fn a_hang_up_names_what_needs_a_restart_and_nothing_else() {
    let more = "[known_drivers.cloud.dummy]\nlibrary = \"libcapstan_cloud_dummy.so\"\n\
                [cloud_farm.default]\nengine = \"dummy\"\n[cloud_farm.default.extra_params]\nseed = 7\n";
    let site = Site::worker_with("noop", "", None, more);
    let daemon = site.start();
    let good = fs::read_to_string(site.config()).unwrap();
    let hang_up = |text: &str, expected: &str| {
        let before = site.log().len();
        site.configure(text);
        daemon.signal(rustix::process::Signal::HUP);
        capstan_tests::wait_for(expected, std::time::Duration::from_secs(10), || {
            site.log()[before..].contains(expected).then_some(())
        });
    };
    hang_up(&good.replace("[cloud_farm.default]", "# a comment\n[cloud_farm.default]"), "nothing changed");
    hang_up(&good.replace("seed = 7", "seed = 8"), "the drivers follow it");
    // Each reload has logged all before the next begins.
    hang_up(&good.replace("seed = 7", "seed = 8"), "nothing changed");
    assert!(!site.log().contains("restart to apply"), "{}", site.log());
    hang_up(&format!("{good}[cloud_farm.other]\nengine = \"dummy\"\n"), "restart to apply");
    assert!(site.log().contains("cloud_farm"), "{}", site.log());
    daemon.stop();
}

#[test]
fn a_fault_of_a_drivers_own_section_is_one_plain_line_at_its_place() {
    let text = format!(
        r#"{}
[known_drivers.load_balancer.haproxy]
library = "libcapstan_load_balancer_haproxy.so"
[known_drivers.load_balancer.haproxy.config]
control = "system"
spare_slots = -1
bind_address = 7
maxconn = "many"
reload_timeout_seconds = 1.5
haproxy_path = ["/usr/sbin/haproxy"]
log_fiel = "/var/log/haproxy.log"
colour = "red"

[known_drivers.mgm.minimal]
library = "libcapstan_mgm_minimal.so"

[known_drivers.mgm.second]
library = "libcapstan_mgm_minimal.so"
[known_drivers.mgm.second.config]
"#,
        drivers(&paths::build())
    );
    let files = Files::new(&text);
    let haproxy = "known_drivers.load_balancer.haproxy.config";
    let missing = "found nothing; expected a text; add url; capstan driver info";
    let expected = [
        (
            "control",
            format!(
                "{haproxy}.control: found the text \"system\"; expected \"process\" or \"systemd\"; did you mean \"systemd\"?"
            ),
        ),
        (
            "spare_slots",
            format!(
                "{haproxy}.spare_slots: found the number -1; expected a whole number from 0 to 65535; correct the number"
            ),
        ),
        (
            "bind_address",
            format!("{haproxy}.bind_address: found the number 7; expected a text; write it in double quotes"),
        ),
        (
            "maxconn",
            format!(
                "{haproxy}.maxconn: found the text \"many\"; expected a whole number from 0 to 4294967295; write a number without quotes"
            ),
        ),
        (
            "reload_timeout",
            format!(
                "{haproxy}.reload_timeout_seconds: found the number 1.5; expected a whole number from 0 to 4294967295; write a whole number"
            ),
        ),
        (
            "haproxy_path",
            format!("{haproxy}.haproxy_path: found a list; expected a text; write one text in double quotes"),
        ),
        ("log_fiel", format!("{haproxy}.log_fiel: found an unknown key; expected a key among archive_directory, ")),
        ("colour", format!("{haproxy}.colour: found an unknown key; expected a key among archive_directory, ")),
        (
            "[known_drivers.mgm.minimal]",
            format!("known_drivers.mgm.minimal.config.url: {missing} minimal says what it is for"),
        ),
        (
            "[known_drivers.mgm.second.config]",
            format!("known_drivers.mgm.second.config.url: {missing} second says what it is for"),
        ),
    ];
    let faults = files.faults(&[]);
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (part, says)) in faults.iter().zip(expected) {
        let says = format!("capstan.toml:{}: {says}", line_of(&text, part));
        assert!(if says.ends_with(", ") { fault.starts_with(&says) } else { *fault == says }, "{fault}\n{says}");
    }
    assert!(faults[6].ends_with("; did you mean \"log_file\"?") && faults[7].ends_with("; remove it"), "{faults:#?}");
    // A check of the driver says the same of all of them, in its one line.
    let ended = files.run(1, &["driver", "check", "haproxy"], &[]);
    for part in [
        "stage configuration: ",
        "config.control (not \"process\" or \"systemd\")",
        "config.maxconn (not a whole number from 0 to 4294967295)",
        "config.colour (unknown)",
    ] {
        assert!(ended.error.contains(part), "{part}: {}", ended.error);
    }
    let ended = files.run(1, &["driver", "check", "minimal"], &[]);
    assert!(ended.error.contains("found config.url (missing: a text); expected"), "{}", ended.error);
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
