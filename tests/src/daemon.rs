//! The built daemon, in a folder of its own.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    free_port, gearman, paths,
    process::{self, Process},
    wait_for,
};

/// Folder, configuration and ports of a daemon; it may be started several times.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// Port of the HTTP listener.
    pub http_port: u16,
    /// Port of the job server, embedded or not.
    pub job_server_port: u16,
    /// Name that the worker registers.
    pub function: String,
}

/// What a site is made of. Each text is TOML; `@ROOT@` in it stands for the site's folder.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Name under `known_drivers.load_balancer`, and of its library.
    pub driver: &'a str,
    /// The driver's own section.
    pub driver_config: &'a str,
    /// A job server that runs already; none means the embedded one.
    pub job_server: Option<u16>,
    /// More keys of `[drivers]`.
    pub drivers: &'a str,
    /// More keys of `[worker]`.
    pub worker: &'a str,
    /// More tables.
    pub more: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { driver: "noop", driver_config: "", job_server: None, drivers: "", worker: "", more: "" }
    }
}

/// The HAProxy driver's section with everything below the site's folder.
pub const HAPROXY: &str = r#"bind_address = "127.0.0.1"
runtime_directory = "@ROOT@/haproxy"
state_directory = "@ROOT@/haproxy-state"
log_file = "@ROOT@/haproxy.log""#;

impl Site {
    /// A worker with an embedded job server and this driver; `driver_config` is the TOML of its configuration.
    pub fn worker(driver: &str, driver_config: &str) -> Self {
        Self::new(Setup { driver, driver_config, ..Setup::default() })
    }

    /// The same with a job server that runs already, and more TOML at the end.
    pub fn worker_with(driver: &str, driver_config: &str, gearmand_port: Option<u16>, more: &str) -> Self {
        Self::new(Setup { driver, driver_config, job_server: gearmand_port, more, ..Setup::default() })
    }

    /// A worker with the HAProxy driver, which keeps to the site's folder and to loopback.
    pub fn haproxy() -> Self {
        Self::worker("haproxy", HAPROXY)
    }

    /// A site of these parts.
    pub fn new(setup: Setup<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("capstan-").tempdir().expect("a temporary folder");
        let http_port = free_port();
        let job_server_port = setup.job_server.unwrap_or_else(free_port);
        let function = "node-1".to_owned();
        let servers = match setup.job_server {
            Some(port) => format!("servers = [\"127.0.0.1:{port}\"]"),
            None => format!("servers = [\"embedded\"]\nembedded_listen = \"127.0.0.1:{job_server_port}\""),
        };
        let Setup { driver, driver_config, drivers, worker, more, .. } = setup;
        let text = format!(
            r#"[daemon]
roles = ["worker"]
state_dir = "@ROOT@/state"
run_dir = "@ROOT@/run"

[http]
listen = ["127.0.0.1:{http_port}"]

[gearman]
{servers}
reconnect_sleep_seconds = 1

[drivers]
directory = "{directory}"
trust_own_files = true
{drivers}

[worker]
driver = "{driver}"
function = "{function}"
{worker}

[known_drivers.load_balancer.{driver}]
library = "{library}"

[known_drivers.load_balancer.{driver}.config]
{driver_config}

{more}
"#,
            directory = paths::build().display(),
            library = match driver {
                "bad" => "libcapstan_bad_driver.so".to_owned(),
                _ => format!("libcapstan_load_balancer_{}.so", driver.replace('-', "_")),
            },
        );
        let site = Self { folder, http_port, job_server_port, function };
        site.configure(&text);
        site
    }

    /// Writes the configuration anew.
    pub fn configure(&self, text: &str) {
        let root = self.path().to_str().expect("a folder's name in UTF-8");
        fs::write(self.config(), text.replace("@ROOT@", root)).expect("the configuration is written");
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("capstan.toml")
    }

    /// Everything that its daemons logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts `capstan serve` and waits until it says that it is ready.
    pub fn start(&self) -> Daemon<'_> {
        self.start_with(&["serve"])
    }

    /// Starts the daemon by this command and waits until it says that it is ready.
    pub fn start_with(&self, command: &[&str]) -> Daemon<'_> {
        let mut capstan = Command::new(paths::capstan());
        capstan.arg("--config").arg(self.config()).args(command);
        self.start_by(&mut capstan)
    }

    /// Starts `capstan serve` with variables in its environment and waits for nothing: it may end at once.
    pub fn spawn(&self, variables: &[(&str, &str)]) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("the log file is opened");
        let mut capstan = Command::new(paths::capstan());
        capstan.arg("--config").arg(self.config()).arg("serve").envs(variables.iter().copied());
        Process::spawn(capstan.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log)).expect("capstan starts")
    }

    /// Starts `capstan serve` in a folder, the configuration file named as it is seen from there, and waits until it says that it
    /// is ready.
    pub fn start_in(&self, folder: &Path, config: &Path) -> Daemon<'_> {
        let mut capstan = Command::new(paths::capstan());
        capstan.current_dir(folder).arg("--config").arg(config).arg("serve");
        self.start_by(&mut capstan)
    }

    fn start_by(&self, capstan: &mut Command) -> Daemon<'_> {
        let socket_path = self.folder.path().join("notify");
        let _from_the_start_before = fs::remove_file(&socket_path);
        let socket = UnixDatagram::bind(&socket_path).expect("the notification socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("the log file is opened");
        let mut process = Process::spawn(
            capstan.env("NOTIFY_SOCKET", &socket_path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log),
        )
        .expect("capstan starts");
        let mut buffer = [0; 4096];
        wait_for("the daemon to be ready", Duration::from_secs(30), || {
            if let Ok(Some(status)) = process.child().try_wait() {
                panic!("capstan ended with {status} instead of becoming ready; its log:\n{}", self.log());
            }
            let length = socket.recv(&mut buffer).ok()?;
            String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1").then_some(())
        });
        Daemon { site: self, process }
    }

    /// Runs a command of the binary against this site.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(paths::capstan())
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("capstan runs")
    }

    /// Runs a command of the binary against this site, and expects that it ends with this exit code.
    pub fn expect(&self, code: i32, arguments: &[&str]) -> Ended {
        let ended = Ended::of(self.run(arguments));
        assert_eq!(ended.code, Some(code), "capstan {arguments:?}: {ended:?}");
        ended
    }

    /// Calls a message out to the worker over a connection of our own and returns what became of it.
    pub fn submit(&self, payload: &[u8]) -> gearman::Outcome {
        gearman::submit(self.job_server_port, &self.function, payload)
    }

    /// As [`Site::submit`], for a message whose job must be completed; returns the reply.
    pub fn ask(&self, message: &Value) -> Value {
        match self.submit(message.to_string().as_bytes()) {
            gearman::Outcome::Complete(reply) => serde_json::from_slice(&reply).expect("the reply is JSON"),
            other => panic!("{message} got {other:?}; the log:\n{}", self.log()),
        }
    }

    /// As [`Site::ask`], for a message that must pass.
    pub fn pass(&self, message: &Value) -> Value {
        let reply = self.ask(message);
        assert_eq!(reply["hpcs_response"], "PASS", "{message} got {reply}; the log:\n{}", self.log());
        reply
    }

    /// As [`Site::ask`], for a message that must fail with this text.
    pub fn fail(&self, message: &Value, text: &str) -> Value {
        let reply = self.ask(message);
        assert_eq!(
            (reply["hpcs_response"].as_str(), reply["hpcs_error"].as_str()),
            (Some("FAIL"), Some(text)),
            "{message} got {reply}"
        );
        reply
    }

    /// The lines of the log, each an object.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Folder of HAProxy's sockets.
    pub fn haproxy_runtime(&self) -> PathBuf {
        self.path().join("haproxy").join(&self.function)
    }

    /// Folder of HAProxy's files.
    pub fn haproxy_state(&self) -> PathBuf {
        self.path().join("haproxy-state").join(&self.function)
    }

    /// What HAProxy was configured with last; nothing when there is no file.
    pub fn haproxy_config(&self) -> String {
        fs::read_to_string(self.haproxy_state().join("haproxy.cfg")).unwrap_or_default()
    }

    /// HAProxy's processes: the master and its workers.
    pub fn haproxy_processes(&self) -> Vec<u32> {
        let mut pids = process::with_command_line(&format!("{}/", self.haproxy_state().display()));
        pids.sort_unstable();
        pids
    }

    /// What HAProxy answers on its runtime socket.
    pub fn ask_haproxy(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.haproxy_runtime().join("admin.sock")).expect("HAProxy's socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        writeln!(socket, "{command}").expect("HAProxy reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("HAProxy answers");
        answer
    }

    /// Sends a message to the worker with `capstan job send` and returns its reply.
    pub fn send(&self, message: &Value) -> Value {
        let output = self.run(&["job", "send", &self.function, &message.to_string(), "--output", "json"]);
        assert!(
            output.status.success(),
            "job send failed: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        serde_json::from_slice(&output.stdout).expect("the reply is JSON")
    }
}

impl Drop for Site {
    /// What was started with `program.start` outlives the daemon by design; a suite leaves nothing behind.
    fn drop(&mut self) {
        let folder = format!("{}/", self.path().display());
        for pid in process::with_command_line(&folder) {
            process::signal_to(pid, Signal::KILL);
        }
    }
}

/// What a command gave back.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub error: String,
}

impl Ended {
    /// Of a command that has run.
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
    }

    /// Its standard output, read as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon<'a> {
    site: &'a Site,
    process: Process,
}

impl Daemon<'_> {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end, and expects that it does so well.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(20));
        assert!(status.success(), "capstan ended with {status}; its log:\n{}", self.site.log());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it has ended well.
    pub fn ended(mut self) {
        let status = self.process.wait(Duration::from_secs(20));
        assert!(status.success(), "capstan ended with {status}; its log:\n{}", self.site.log());
    }

    /// Ends it at once, as a crash would.
    pub fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait(Duration::from_secs(5));
    }
}

/// An UPDATE message with one HTTP load balancer.
pub fn update(port: u16, members: &[(&str, u16)]) -> Value {
    let nodes: Vec<Value> =
        members.iter().map(|(id, port)| json!({ "id": id, "address": "127.0.0.1", "port": port })).collect();
    json!({
        "hpcs_action": "UPDATE",
        "loadBalancers": [{ "name": "web", "protocol": "http", "port": port, "nodes": nodes }],
    })
}
