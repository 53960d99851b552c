//! A local cloud in the folder of a site, asked by `capstan driver call`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use capstan_tests::{
    daemon::{Daemon, Setup, Site},
    process, wait_for, web,
};
use serde_json::{Value, json};

/// As long as a node may take here.
pub const LONG: Duration = Duration::from_secs(60);

/// A web server that answers with its node's name.
pub const WEB: &str = "echo @NAME@ > index.html; exec /usr/bin/python3 -m http.server --bind @ADDRESS@ @PORT@";

/// What the web server of a node answers at this address; none when nobody does.
pub fn ask(address: &str, port: u16) -> Option<String> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    web::get_at(address, None).ok().map(|answer| answer.body.trim().to_owned())
}

/// A cloud, and what the daemon needs to host it. Its nodes end with it.
pub struct Cloud {
    pub site: Site,
}

/// An image of a shell's words; what it starts has the node's folder in its command line.
pub fn image(folder: &Path, name: &str, script: &str, more: &str) {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    let script = toml_text(script);
    fs::write(
        folder.join("image.toml"),
        format!("command = [\"/bin/sh\", \"-c\", {script}, \"@DIR@/main\"]\nstop_seconds = 1\n{more}\n"),
    )
    .unwrap();
}

fn toml_text(text: &str) -> String {
    // The escapes of JSON are TOML's as well.
    json!(text).to_string()
}

/// A range of loopback addresses for each cloud of the suites that run at one time.
pub fn ranges() -> (String, String) {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Suites that run at the same time are different processes.
    let process = 80 + (std::process::id() % 64);
    (format!("127.{process}.{number}.0/24"), format!("127.{process}.{}.0/24", 128 + number))
}

/// The cloud's keys, in TOML.
pub fn settings(root: &str, variables: &str, ports: &[u16]) -> String {
    let (addresses, floating) = ranges();
    with_addresses(root, variables, ports, &addresses, &floating)
}

fn with_addresses(root: &str, variables: &str, ports: &[u16], addresses: &str, floating: &str) -> String {
    format!(
        "directory = \"{root}/cloud\"\nimages = \"{root}/images\"\naddresses = \"{addresses}\"\n\
         floating = {{ addresses = \"{floating}\", ports = {ports:?} }}\nvariables = {{ {variables} }}\n\
         sizes = {{ small = {{ memory_mib = 1024, processes = 64 }}, tight = {{ memory_mib = 64, processes = 4 }} }}\n"
    )
}

impl Cloud {
    pub fn new() -> Self {
        Self::with("", &[8080], "")
    }

    /// With these variables of images, ports of floating addresses and further tables of the daemon's file.
    pub fn with(variables: &str, ports: &[u16], more: &str) -> Self {
        Self::of(&settings("@ROOT@", variables, ports), more)
    }

    /// One whose nodes have networks of their own.
    pub fn with_namespaces(port: u16) -> Self {
        let (loopback, floating) = ranges();
        let addresses = loopback.replacen("127.", "10.", 1);
        let config = with_addresses("@ROOT@", &format!("PORT = \"{port}\""), &[port], &addresses, &floating);
        Self::of(&format!("network_namespaces = true\n{config}"), "")
    }

    fn of(config: &str, more: &str) -> Self {
        // With all that the manual says it needs, and no more.
        let more = format!(
            "[known_drivers.cloud.local]\nlibrary = \"libcapstan_cloud_local.so\"\n\
             [known_drivers.cloud.local.sandbox]\nread = [\"@ROOT@/images\"]\nwrite = [\"@ROOT@/cloud\"]\n\
             [known_drivers.cloud.local.config]\n{config}\n{more}"
        );
        let site = Site::new(Setup { more: &more, ..Setup::default() });
        for folder in ["images", "cloud"] {
            fs::create_dir(site.path().join(folder)).unwrap();
        }
        Self { site }
    }

    pub fn images(&self) -> PathBuf {
        self.site.path().join("images")
    }

    pub fn image(&self, name: &str, script: &str, more: &str) {
        image(&self.images(), name, script, more);
    }

    /// The words of one call by a host of its own, which ends afterwards.
    pub fn words(&self, method: &str, params: &Value) -> Vec<String> {
        let (state, params) = (self.site.path().join("state"), params.to_string());
        let words = ["driver", "call", "local", method, &params, "--trust-own-files", "--deadline", "60", "--state"];
        words.into_iter().chain(state.to_str()).map(str::to_owned).collect()
    }

    pub fn try_call(&self, method: &str, params: &Value) -> Result<Value, String> {
        let words = self.words(method, params);
        let output = self.site.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub fn call(&self, method: &str, params: &Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// A call that must be refused with these words.
    pub fn refused(&self, method: &str, params: &Value, words: &str) {
        let error = self.try_call(method, params).expect_err("it is refused");
        assert!(error.contains(words), "{method} {params}: {error}");
    }

    pub fn create(&self, name: &str, image: &str) -> Value {
        self.call("create_node", &json!({ "name": name, "image": image, "size": "small", "client_token": name }))
    }

    pub fn get(&self, id: &str) -> Value {
        self.call("get_node", &json!({ "id": id }))
    }

    pub fn destroy(&self, id: &str) {
        self.call("destroy_node", &json!({ "id": id }));
    }

    /// Waits until the node is in this state.
    pub fn until(&self, id: &str, state: &str) -> Value {
        wait_for(&format!("the node to be {state}"), LONG, || {
            let node = self.get(id);
            assert!(node["state"] != "error" || state == "error", "{node:#}\n{}", self.console(id));
            (node["state"] == state).then_some(node)
        })
    }

    /// A node that runs.
    pub fn running(&self, name: &str, image: &str) -> Node {
        let id = self.create(name, image)["id"].as_str().unwrap().to_owned();
        Node::of(&self.until(&id, "running"))
    }

    pub fn nodes(&self) -> Vec<Value> {
        self.call("list_nodes", &json!({}))["items"].as_array().unwrap().clone()
    }

    pub fn console(&self, id: &str) -> String {
        self.call("console_output", &json!({ "id": id }))["output"].as_str().unwrap().to_owned()
    }

    /// The processes that have the node's folder in their command line, its supervisor among them.
    pub fn processes(&self, id: &str) -> Vec<u32> {
        let folder = self.site.path().join("cloud/nodes").join(id);
        process::with_command_line(folder.to_str().unwrap())
    }

    pub fn start(&self) -> Daemon<'_> {
        self.site.start()
    }
}

/// What a test wants to know of a node.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: String,
    pub address: String,
    pub supervisor: u32,
    pub program: u32,
    pub folder: PathBuf,
}

impl Node {
    pub fn of(node: &Value) -> Self {
        let number = |key: &str| u32::try_from(node["extra"][key].as_u64().unwrap()).unwrap();
        Self {
            id: node["id"].as_str().unwrap().to_owned(),
            address: node["private_ips"][0].as_str().unwrap().to_owned(),
            supervisor: number("supervisor_pid"),
            program: number("pid"),
            folder: node["extra"]["directory"].as_str().unwrap().into(),
        }
    }
}
