//! A load balancer that the driver `haproxy` keeps, with the web servers behind it.

use std::{net::UdpSocket, path::PathBuf};

use capstan::drivers::{CallOptions, DriverHandle, Kind, Registry};
use capstan_plugin_api::load_balancer::{
    Applied, ApplyRequest, Listener, LoadBalancer, Member, MemberState, Pool, Target, Timeouts, algorithm, protocol,
};
use capstan_tests::free_port;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{haproxy::WebServers, hosted, scratch};

const DEVICE: &str = "bench";

/// A device of one HTTP load balancer.
pub struct Balancer {
    runtime: Runtime,
    registry: Registry,
    handle: DriverHandle,
    folder: TempDir,
    generation: u64,
    /// Where it listens.
    pub port: u16,
    /// Ports of the web servers.
    pub web: WebServers,
    // Takes the log lines in and reads none.
    log: UdpSocket,
}

impl Balancer {
    /// Loads the driver, starts `web_servers` web servers, and takes the first `members` of them as members. All state is
    /// in `folder`.
    pub fn start(folder: TempDir, web_servers: usize, members: usize) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let log = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let config = json!({
            "bind_address": "127.0.0.1",
            "state_directory": folder.path().join("haproxy"),
            "runtime_directory": folder.path().join("run"),
            "log_file": folder.path().join("log"),
            "log_target": log.local_addr().expect("its address").to_string(),
        });
        let entry = hosted::entry(Kind::LoadBalancer, "haproxy", config);
        let (registry, handle) = hosted::open(&runtime, &folder.path().join("state"), entry);
        let mut balancer = Self {
            runtime,
            registry,
            handle,
            folder,
            generation: 0,
            port: free_port(),
            web: WebServers::start(web_servers),
            log,
        };
        let members: Vec<(usize, u32)> = (0..members).map(|number| (number, 1)).collect();
        balancer.apply(&members);
        balancer
    }

    /// Address that log lines go to.
    pub fn log_target(&self) -> String {
        self.log.local_addr().expect("its address").to_string()
    }

    /// Makes these web servers, with their weights, the members. Blocks, as a caller that needs the answer does.
    pub fn apply(&mut self, members: &[(usize, u32)]) -> Applied {
        self.generation += 1;
        let request = self.request(members);
        let options = CallOptions { serial_key: Some(DEVICE.into()), ..CallOptions::default() };
        let applied: Applied = self
            .runtime
            .block_on(self.handle.call("apply", &request, options))
            .unwrap_or_else(|error| panic!("apply: {error}: {}", error.operator_message));
        assert!(applied.all_ok(), "{applied:?}");
        applied
    }

    fn request(&self, members: &[(usize, u32)]) -> ApplyRequest {
        let member = |&(number, weight): &(usize, u32)| Member {
            id: number.to_string(),
            address: "127.0.0.1".into(),
            port: self.web.ports[number],
            weight,
            backup: false,
            state: MemberState::Enabled,
        };
        let pool = Pool {
            id: "pool".into(),
            algorithm: algorithm::ROUND_ROBIN.into(),
            members: members.iter().map(member).collect(),
            monitor: None,
            persistence: None,
            timeouts: Timeouts::default(),
        };
        let listener = Listener {
            id: "listener".into(),
            protocol: protocol::HTTP.into(),
            port: Some(self.port),
            address: None,
            default_pool: Some("pool".into()),
            connection_limit: None,
            client_timeout_ms: None,
        };
        let balancer = LoadBalancer {
            id: "web".into(),
            generation: self.generation,
            name: String::new(),
            admin_state: Default::default(),
            listeners: vec![listener],
            pools: vec![pool],
        };
        ApplyRequest {
            device: DEVICE.into(),
            generation: self.generation,
            idempotency_key: format!("bench-{}", self.generation),
            load_balancers: vec![balancer],
            skip_refused_members: false,
        }
    }

    /// The file that the driver wrote.
    pub fn configuration(&self) -> String {
        let mut folders: Vec<PathBuf> = vec![self.folder.path().join("haproxy")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the driver's folder").map_while(Result::ok) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name == "haproxy.cfg") {
                    return std::fs::read_to_string(path).expect("the driver's file");
                }
            }
        }
        panic!("the driver wrote no haproxy.cfg");
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.generation += 1;
        let target = Target {
            device: DEVICE.into(),
            load_balancer: None,
            generation: self.generation,
            idempotency_key: "bench-end".into(),
        };
        let options = CallOptions { serial_key: Some(DEVICE.into()), ..CallOptions::default() };
        let _what_stays_is_killed: Result<Applied, _> =
            self.runtime.block_on(self.handle.call("delete", &target, options));
        self.runtime.block_on(self.registry.close(std::time::Duration::from_secs(5)));
        scratch::end_programs_of(&self.folder.path().display().to_string());
    }
}
