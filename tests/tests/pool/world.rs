//! A daemon that keeps a stock in a dummy cloud, and ways to look at all three sides: the daemon, the API server, the cloud.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use capstan_tests::{
    daemon::{Daemon, Setup, Site},
    gearman,
    http::{self, Response},
    paths,
    pool::PoolSetup,
    wait_for,
};
use serde_json::{Value, json};

use crate::postgres::Database;

/// Long enough for anything that is to happen.
pub const FAR: Duration = Duration::from_secs(30);

pub struct World {
    pub site: Site,
    /// Of the store, if it is PostgreSQL.
    database: Option<Database>,
    /// Folder of the cloud's files.
    cloud_root: PathBuf,
}

/// What a world is made of: TOML of `[pool]`, TOML of the cloud's `extra_params`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    pub pool: &'a str,
    pub cloud: &'a str,
}

/// Where the daemon keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl World {
    pub fn new(parts: Parts<'_>) -> Self {
        Self::on(Backend::Sqlite, parts)
    }

    pub fn on(backend: Backend, parts: Parts<'_>) -> Self {
        let database = (backend == Backend::Postgres).then(Database::new);
        let url = database.as_ref().map_or_else(|| "sqlite:capstan.db".to_owned(), Database::url);
        let site = Site::new(Setup::default());
        Self::configure(&site, &site, &url, parts);
        let cloud_root = site.path().to_owned();
        Self { site, database, cloud_root }
    }

    /// Another daemon on the same store and the same cloud.
    pub fn second(&self, parts: Parts<'_>) -> Self {
        let database = self.database.as_ref().expect("a store that two daemons share");
        let site = Site::new(Setup::default());
        Self::configure(&site, &self.site, &database.url(), parts);
        Self { site, database: None, cloud_root: self.cloud_root.clone() }
    }

    /// Writes a site's configuration; the cloud's files are in the folder of `cloud_site`.
    fn configure(site: &Site, cloud_site: &Site, url: &str, parts: Parts<'_>) {
        let cloud_root = cloud_site.path().display();
        let Parts { pool, cloud } = parts;
        let setup = PoolSetup {
            more: &format!("[store]\nurl = \"{url}\"\nlease_seconds = 1"),
            extra_params: &format!(
                r#"file = "{cloud_root}/cloud"
call_log = "{cloud_root}/calls"
control = "{cloud_root}/faults"
client_tokens = false
{cloud}"#
            ),
            pool: &format!(
                "diagnostics = false
check_interval_seconds = 0.1
failed_interval_seconds = 0.2
reconcile_interval_seconds = 0.2
poll_interval_seconds = 0.05
search_seconds = 1
reservation_seconds = 2
orphan_age_seconds = 0.5
calls_per_second = 1000
{pool}"
            ),
            ..PoolSetup::DUMMY
        };
        setup.configure(site);
    }

    /// Runs statements on the store past the daemon; it has to be PostgreSQL.
    pub fn sql(&self, sql: &str) -> String {
        self.database.as_ref().expect("a store that others may write").sql(sql)
    }

    /// The same with one part of its configuration written otherwise.
    pub fn changed(self, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.site.config()).expect("the configuration is read");
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(self.site.config(), text.replace(from, to)).expect("the configuration is written");
        self
    }

    pub fn start(&self) -> Daemon<'_> {
        self.site.start()
    }

    /// The API server's devices.
    pub fn devices(&self) -> Vec<Value> {
        let token = fs::read_to_string(self.site.path().join("run/device.token")).unwrap_or_default();
        let headers = format!("Authorization: Bearer {}\r\n", token.trim());
        let answer = http::get(self.site.http_port, "/v1/devices?limit=10000", &headers).expect("the daemon answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["devices"].as_array().cloned().unwrap_or_default()
    }

    /// What the cloud holds, seen past the daemon.
    pub fn cloud(&self) -> Vec<Value> {
        let answer = self.call_cloud("list_nodes", &json!({}));
        answer["items"]
            .as_array()
            .or_else(|| answer["answer"]["items"].as_array())
            .cloned()
            .unwrap_or_else(|| panic!("{answer}"))
    }

    /// A call to the cloud past the daemon.
    pub fn call_cloud(&self, method: &str, request: &Value) -> Value {
        let config = json!({ "extra_params": { "file": self.path("cloud") } }).to_string();
        let library = paths::build().join("libcapstan_cloud_dummy.so");
        let library = library.to_str().expect("a path in UTF-8");
        let (call, request) = (["driver", "call", library, method], request.to_string());
        let options = ["--driver-config", &config, "--trust-own-files", "--output", "json"];
        self.site.expect(0, &[&call[..], &[&request], &options].concat()).json()
    }

    /// Removes a node from the cloud past the daemon.
    pub fn vanish(&self, node: &Value) {
        self.call_cloud("destroy_node", &json!({ "id": node["node"] }));
    }

    /// Lets so many whole runs of these schedules pass.
    pub fn rounds(&self, count: usize, schedules: &[&str]) {
        let began = |name: &str| {
            let status = self.get("/pool/v1/status");
            let all = status["schedules"].as_array().cloned().unwrap_or_default();
            all.iter()
                .find(|schedule| schedule["schedule"] == name)
                .and_then(|schedule| http::time(&schedule["began_at"]))
        };
        for _ in 0..count {
            for name in schedules {
                let before = began(name);
                wait_for(&format!("another run of {name}"), FAR, || (began(name) > before).then_some(()));
            }
        }
    }

    /// The pool's nodes, save those that are deleted.
    pub fn nodes(&self) -> Vec<Value> {
        self.get("/pool/v1/nodes?limit=1000")["nodes"].as_array().cloned().unwrap_or_default()
    }

    pub fn in_state(&self, state: &str) -> Vec<Value> {
        self.nodes().into_iter().filter(|node| node["state"] == state).collect()
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = http::get(self.site.http_port, path, "").expect("the daemon answers");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        http::send(self.site.http_port, "POST", path, body).expect("the daemon answers")
    }

    /// Waits until so many nodes are in stock.
    pub fn stocked(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} nodes in stock; the log:\n{}", tail(&self.site)), FAR, || {
            let ready = self.in_state("ready");
            (ready.len() == count).then_some(ready)
        })
    }

    /// Faults of the cloud from now on.
    pub fn faults(&self, faults: &Value) {
        let path = self.path("faults");
        fs::write(path.with_extension("new"), faults.to_string()).expect("the faults are written");
        fs::rename(path.with_extension("new"), path).expect("the faults are put in place");
    }

    /// The cloud's calls of a method, in the order in which they ended.
    pub fn calls(&self, method: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|call| call["method"] == method).collect()
    }

    /// Sends a node operation and returns the reply.
    pub fn operate(&self, message: &Value) -> Value {
        match gearman::submit(self.site.job_server_port, "libra_pool_mgm", message.to_string().as_bytes()) {
            gearman::Outcome::Complete(reply) => serde_json::from_slice(&reply).expect("the reply is JSON"),
            other => panic!("{message} got {other:?}; the log:\n{}", self.site.log()),
        }
    }

    /// Waits until cloud, rows and API server say the same and so many nodes are in stock; what has been deleted is gone everywhere.
    pub fn settled(&self, stock: usize) {
        let mut last = String::new();
        let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // A stock rests after builds that failed.
            wait_for("the pool to settle", 2 * FAR, || {
                last = self.unsettled(stock);
                last.is_empty().then_some(())
            });
        }));
        assert!(settled.is_ok(), "the pool does not settle: {last}; {}", self.evidence());
    }

    /// What a failure is explained by: the cloud's file, its calls, the end of the daemon's log.
    pub fn evidence(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        format!("the cloud's file:\n{}\nits calls:\n{}\nthe log:\n{}", read("cloud"), read("calls"), tail(&self.site))
    }

    fn unsettled(&self, stock: usize) -> String {
        let nodes = self.nodes();
        let busy: Vec<_> = nodes
            .iter()
            .filter(|node| !["ready", "taken"].contains(&node["state"].as_str().unwrap_or_default()))
            .map(|node| format!("{} is {} ({})", node["name"], node["state"], node["reason"]))
            .collect();
        if !busy.is_empty() {
            return busy.join(", ");
        }
        let ready = nodes.iter().filter(|node| node["state"] == "ready").count();
        if ready != stock {
            return format!("{ready} ready instead of {stock}");
        }
        let ids = |nodes: &[Value], key: &str| -> BTreeSet<String> {
            nodes.iter().filter_map(|node| node[key].as_str().map(str::to_owned)).collect()
        };
        let cloud = self.cloud();
        let cloud_ids = ids(&cloud, "id");
        if cloud_ids != ids(&nodes, "node") || cloud.len() != nodes.len() {
            return format!("the cloud has {cloud_ids:?}, the rows {:?}", ids(&nodes, "node"));
        }
        let of_stock: Vec<Value> = nodes.iter().filter(|node| node["origin"] == "stock").cloned().collect();
        let devices = self.devices();
        if ids(&devices, "name") != ids(&of_stock, "name") || devices.len() != of_stock.len() {
            return format!("the API server has {:?}, the rows {:?}", ids(&devices, "name"), ids(&of_stock, "name"));
        }
        String::new()
    }

    /// The store holds to its invariants.
    pub fn checked(&self) {
        self.site.expect(0, &["store", "check"]);
    }

    /// A file of the cloud.
    pub fn path(&self, name: &str) -> PathBuf {
        self.cloud_root.join(name)
    }
}

/// The end of a site's log.
pub fn tail(site: &Site) -> String {
    let log = site.log();
    let from = log.len().saturating_sub(60_000);
    let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(from);
    log[from..].to_owned()
}
