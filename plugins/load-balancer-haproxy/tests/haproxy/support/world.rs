//! A device in a directory of its own.

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use capstan_plugin_api::DriverError;
use serde_json::{Value, json};

use super::{Driver, TestHost, Web};

pub struct World {
    // In the order in which they end: the driver, its programs, its files.
    pub driver: Driver,
    pub host: Arc<TestHost>,
    pub config: Value,
    pub device: String,
    pub place: tempfile::TempDir,
    generation: std::sync::atomic::AtomicU64,
}

impl World {
    pub fn new() -> Self {
        Self::with(&json!({}))
    }

    /// With keys of the driver's configuration besides.
    pub fn with(extra: &Value) -> Self {
        let place = tempfile::Builder::new().prefix("hx").tempdir().unwrap();
        let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        let mut config = json!({
            "bind_address": "127.0.0.1",
            "runtime_directory": path("run"),
            "state_directory": path("state"),
            "log_file": path("haproxy.log"),
            "log_target": path("log.sock"),
            "config_path": path("haproxy.cfg"),
            "hard_stop_after_seconds": 5,
        });
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        let host = Arc::new(TestHost::default());
        let driver = Driver::open(&host, &config).unwrap();
        Self { driver, host, config, device: "lb-1".into(), place, generation: 0.into() }
    }

    /// Closes the driver and opens it anew; its programs go on.
    pub fn reopen(&mut self) {
        self.driver = Driver::open(&self.host, &self.config).unwrap();
    }

    pub fn request(&self, load_balancers: &Value) -> Value {
        let generation = self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        json!({
            "device": self.device,
            "generation": generation,
            "idempotency_key": format!("key-{generation}"),
            "load_balancers": load_balancers,
        })
    }

    /// Applies and returns the method; every load balancer must have taken it.
    pub fn apply(&self, load_balancers: &Value) -> String {
        let applied = self.driver.call("apply", &self.request(load_balancers)).unwrap();
        for result in applied["load_balancers"].as_array().unwrap() {
            assert!(result.get("error").is_none() && result.get("members").is_none(), "{result}");
        }
        applied["method"].as_str().unwrap().to_owned()
    }

    pub fn target(&self) -> Value {
        let generation = self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        json!({ "device": self.device, "generation": generation })
    }

    pub fn call(&self, method: &str) -> Result<Value, DriverError> {
        let target = match method {
            "observe" | "status" | "statistics" => json!({ "device": self.device }),
            _ => self.target(),
        };
        self.driver.call(method, &target)
    }

    pub fn program(&self) -> String {
        format!("haproxy-{}", self.device)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join("state").join(&self.device).join(name)
    }

    pub fn config_text(&self) -> String {
        std::fs::read_to_string(self.file("haproxy.cfg")).unwrap()
    }

    /// Process id of the worker that answers now.
    pub fn worker(&self) -> String {
        let info = self.ask("show info");
        info.lines().find_map(|line| line.strip_prefix("Pid: ")).unwrap().to_owned()
    }

    /// Asks the running HAProxy itself.
    pub fn ask(&self, question: &str) -> String {
        use std::io::{Read as _, Write as _};
        let path = self.place.path().join("run").join(&self.device).join("admin.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.write_all(format!("{question}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Starts HAProxy from the file on the disk, without the driver; the guard ends it.
    pub fn start_by_hand(&self) -> ByHand {
        let child = std::process::Command::new("/usr/sbin/haproxy")
            .args(["-db", "-f"])
            .arg(self.file("haproxy.cfg"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        ByHand(child)
    }

    /// Waits until every member is up.
    pub fn until_up(&self, members: &[&str]) {
        until("all members are up", || {
            let status = self.call("status").unwrap();
            members
                .iter()
                .all(|id| status["members"].as_array().unwrap().iter().any(|one| one["id"] == *id && one["up"] == true))
        });
    }
}

/// See [`World::start_by_hand`].
pub struct ByHand(std::process::Child);

impl Drop for ByHand {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Waits for an event, at most 15 seconds.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !happened() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn member(id: &str, web: &Web) -> Value {
    json!({ "id": id, "address": "127.0.0.1", "port": web.port() })
}

/// A load balancer of one listener, named as libra's worker names it, with quick checks.
pub fn load_balancer(id: &str, protocol: &str, port: u16, members: &[Value]) -> Value {
    json!({
        "id": id,
        "listeners": [{ "id": protocol.to_lowercase(), "protocol": protocol, "port": port }],
        "pools": [{
            "id": "pool",
            "algorithm": "ROUND_ROBIN",
            "members": members,
            "monitor": { "type": "CONNECT", "delay_s": 1, "timeout_s": 1, "rise": 1, "fall": 1 },
        }],
    })
}

pub fn http(port: u16, members: &[Value]) -> Value {
    json!([load_balancer("lb", "HTTP", port, members)])
}

pub fn tcp(port: u16, members: &[Value]) -> Value {
    json!([load_balancer("lb", "TCP", port, members)])
}
