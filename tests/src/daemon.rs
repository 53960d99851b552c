//! The built daemon, in a folder of its own.

use std::{
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{free_port, paths, process::Process, wait_for};

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

impl Site {
    /// A worker with an embedded job server and this driver; `driver_config` is the TOML of its configuration.
    pub fn worker(driver: &str, driver_config: &str) -> Self {
        Self::worker_with(driver, driver_config, None, "")
    }

    /// The same with a job server that runs already, and more TOML at the end.
    pub fn worker_with(driver: &str, driver_config: &str, gearmand_port: Option<u16>, more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("capstan-").tempdir().expect("a temporary folder");
        let http_port = free_port();
        let job_server_port = gearmand_port.unwrap_or_else(free_port);
        let function = "node-1".to_owned();
        let servers = match gearmand_port {
            Some(port) => format!("servers = [\"127.0.0.1:{port}\"]"),
            None => format!("servers = [\"embedded\"]\nembedded_listen = \"127.0.0.1:{job_server_port}\""),
        };
        let root = folder.path().display();
        let text = format!(
            r#"[daemon]
roles = ["worker"]
state_dir = "{root}/state"
run_dir = "{root}/run"

[http]
listen = ["127.0.0.1:{http_port}"]

[gearman]
{servers}
reconnect_sleep_seconds = 1

[drivers]
directory = "{drivers}"
trust_own_files = true
isolation = "in-process"

[worker]
driver = "{driver}"
function = "{function}"

[known_drivers.load_balancer.{driver}]
library = "libcapstan_load_balancer_{library}.so"

[known_drivers.load_balancer.{driver}.config]
{driver_config}

{more}
"#,
            drivers = paths::build().display(),
            library = driver.replace('-', "_"),
        );
        let site = Self { folder, http_port, job_server_port, function };
        fs::write(site.config(), text).expect("the configuration is written");
        site
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
            Command::new(paths::capstan())
                .arg("--config")
                .arg(self.config())
                .arg("serve")
                .env("NOTIFY_SOCKET", &socket_path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
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
