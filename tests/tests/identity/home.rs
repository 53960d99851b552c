//! A daemon with an authority whose doors all speak TLS, nodes of it, and connections that show a node's certificate.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use capstan_tests::{
    daemon::{Setup, Site},
    http::{Request, Response},
    paths,
    pool::PoolSetup,
    wait_for,
};
use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SigningKey,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;

/// Long enough for anything that is to happen.
pub const FAR: Duration = Duration::from_secs(60);

pub type Connection = StreamOwned<ClientConnection, TcpStream>;

pub struct Home {
    pub site: Site,
    ca: OnceLock<String>,
    /// Of a daemon whose authority is the suite's.
    issuer: Option<Issuer<'static, KeyPair>>,
}

impl Home {
    /// `identity` is more TOML of `[identity]`. The pool keeps no node.
    pub fn new(identity: &str) -> Self {
        Self::of(identity, "nodes = 0")
    }

    /// The same with TOML of `[pool]`.
    pub fn of(identity: &str, pool: &str) -> Self {
        let setup = PoolSetup {
            http: "client_operators = [\"operator\"]\n[http.tls]\nnames = [\"127.0.0.1\"]",
            gearman: "[gearman.embedded_tls]\nnames = [\"127.0.0.1\"]",
            more: &format!("[identity]\nurl = \"https://127.0.0.1:@HTTP@\"\n{identity}"),
            extra_params: "file = \"@ROOT@/cloud\"\ncall_log = \"@ROOT@/calls\"",
            pool: &format!(
                "diagnostics_timeout_seconds = 2
check_interval_seconds = 0.2
failed_interval_seconds = 15
poll_interval_seconds = 0.05
calls_per_second = 1000
{pool}"
            ),
            ..PoolSetup::DUMMY
        };
        let site = setup.site();
        Self { site, ca: OnceLock::new(), issuer: None }
    }

    /// Its cloud is the one that writes down what nodes are told, in the site's folder.
    pub fn with_recording_cloud(self) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for from in ["tests/drivers/recording_cloud.py", "plugin-api/python/capstan_driver.py"] {
            let to = self.site.path().join(from.rsplit('/').next().unwrap());
            fs::copy(repository.join(from), to).unwrap();
        }
        let text = fs::read_to_string(self.site.config()).unwrap();
        let (before, rest) = text.split_once("[known_drivers.cloud.dummy]").unwrap();
        let (_, after) = rest.split_once("[pool]").unwrap();
        let cloud = r#"[known_drivers.cloud.recording]
command = ["@ROOT@/recording_cloud.py"]

[cloud_farm.default]
engine = "recording"
[cloud_farm.default.extra_params]
folder = "@ROOT@"

"#;
        self.site.configure(&format!("{before}{cloud}[pool]{after}"));
        self
    }

    /// A daemon whose authority is in files of the suite's.
    pub fn with_files() -> Self {
        let mut home = Self::new("ca_cert = \"@ROOT@/authority.pem\"\nca_key = \"@ROOT@/authority.key\"");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority of the suite");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = home.site.path();
        fs::write(root.join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(root.join("authority.key"), key.serialize_pem()).unwrap();
        home.issuer = Some(Issuer::new(params, key));
        home
    }

    pub const fn http_port(&self) -> u16 {
        self.site.http_port
    }

    fn socket(&self) -> PathBuf {
        self.site.path().join("run/capstan.sock")
    }

    /// Asks over the operator's socket.
    pub fn operate(&self, request: &Request) -> Response {
        request.send_unix(&self.socket())
    }

    /// Waits until a daemon answers that was started without waiting for it.
    pub fn up(&self) {
        wait_for("the daemon to answer", FAR, || {
            (UnixStream::connect(self.socket()).is_ok() && TcpStream::connect(("127.0.0.1", self.http_port())).is_ok())
                .then_some(())
        });
    }

    /// A token for a node of this name.
    pub fn token(&self, name: &str) -> String {
        self.site.expect(0, &["identity", "token", name]).out.trim().to_owned()
    }

    /// The same, good for so many seconds.
    pub fn token_for(&self, name: &str, seconds: u64) -> String {
        let body = serde_json::json!({ "name": name, "expires_seconds": seconds });
        let answer = self.operate(&Request::new("POST", "/identity/v1/tokens").json(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// The authority's certificate, as the command prints it now.
    pub fn fetch_ca(&self) -> String {
        self.site.expect(0, &["identity", "ca", "--output", "json"]).json()["ca"].as_str().unwrap().to_owned()
    }

    /// The same, asked for once.
    pub fn ca(&self) -> String {
        self.ca.get_or_init(|| self.fetch_ca()).clone()
    }

    pub fn fingerprint(&self) -> String {
        let answer = self.site.expect(0, &["identity", "ca", "--output", "json"]).json();
        answer["fingerprint"].as_str().unwrap().to_owned()
    }

    /// What the daemon has on record for a name, the oldest first.
    pub fn certificates(&self, name: &str) -> Vec<Value> {
        let answer = self.site.expect(0, &["identity", "list", "--name", name, "--output", "json"]).json();
        answer["certificates"].as_array().unwrap().clone()
    }

    pub fn pool_nodes(&self) -> Vec<Value> {
        let answer = self.operate(&Request::new("GET", "/pool/v1/nodes?limit=100"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["nodes"].as_array().unwrap().clone()
    }

    /// What a TLS connection is made with: the authority, and a certificate with its key.
    pub fn client(&self, shown: Option<(&str, &NodeKey)>) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::try_from(key.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }

    /// POSTs over TLS, as a node does.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut connection = connect(self.http_port(), &self.client(None)).unwrap();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body.as_bytes()).unwrap();
        let (status, text) = answer(&mut connection).unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// A certificate of the suite's authority for the beginnings of these years.
    pub fn certify(&self, key: &NodeKey, from: i32, until: i32) -> String {
        let mut params = key.params.clone();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params.signed_by(&key.key, self.issuer.as_ref().unwrap()).unwrap().pem()
    }
}

/// A key that a node has made, and its request.
pub struct NodeKey {
    key: KeyPair,
    params: CertificateParams,
    pub csr: String,
}

impl NodeKey {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        Self { key, params, csr }
    }

    /// The proof of a renewal: the new request, signed with this key.
    pub fn prove(&self, next: &Self) -> String {
        let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(next.csr.as_bytes()).unwrap();
        BASE64.encode(&self.key.sign(&[b"capstan identity renew 1\n", &*der].concat()).unwrap())
    }

    pub fn self_signed(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }
}

/// A request that wants to be an authority.
pub fn csr_of_an_authority(name: &str) -> String {
    let mut params = NodeKey::new(name).params;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// What looks like a token and is none.
pub fn a_token() -> String {
    format!("cap_{}_{}", "b".repeat(10), "c".repeat(52))
}

/// A node with this name and token, whose worker goes to the daemon's job server.
pub fn node_site(home: &Home, name: &str, token: &str, identity: &str) -> Site {
    let (daemon, fingerprint) = (home.http_port(), home.fingerprint());
    told_site(
        home,
        &format!(
            r#"[worker]
function = "{name}"

[identity]
enrol_url = "https://127.0.0.1:{daemon}"
token = "{token}"
ca_fingerprint = "{fingerprint}"
{identity}
"#
        ),
    )
}

/// A node that is told this at its first start, in a file beside its own.
pub fn told_site(home: &Home, user_data: &str) -> Site {
    let site = Site::new(Setup::default());
    let (http, gearman) = (site.http_port, home.site.job_server_port);
    site.configure(&format!(
        r#"[daemon]
state_dir = "@ROOT@/state"
run_dir = "@ROOT@/run"

[http]
listen = ["127.0.0.1:{http}"]

[gearman]
servers = ["127.0.0.1:{gearman}"]
reconnect_sleep_seconds = 0.5

[drivers]
directory = "{directory}"
trust_own_files = true

[worker]
driver = "noop"

[known_drivers.load_balancer.noop]
library = "libcapstan_load_balancer_noop.so"
"#,
        directory = paths::build().display(),
    ));
    fs::create_dir(site.path().join("conf.d")).unwrap();
    fs::write(user_data_file(&site), user_data).unwrap();
    site
}

/// Where a node has what it was told at its first start.
pub fn user_data_file(site: &Site) -> PathBuf {
    site.path().join("conf.d/node.toml")
}

/// A TLS connection, its handshake done as far as the client sees.
pub fn connect(port: u16, config: &Arc<ClientConfig>) -> io::Result<Connection> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = "127.0.0.1".try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Why a server does not accept what is shown: it says so before anything is asked.
pub fn refusal(port: u16, config: &Arc<ClientConfig>) -> String {
    let outcome = connect(port, config).and_then(|mut connection| connection.read(&mut [0; 1]));
    outcome.unwrap_err().to_string()
}

/// GETs a path on an open connection.
pub fn get(connection: &mut Connection, path: &str) -> io::Result<u16> {
    connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())?;
    Ok(answer(connection)?.0)
}

fn answer(connection: &mut Connection) -> io::Result<(u16, String)> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let header = |name: &str| {
                head.lines()
                    .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)))
            };
            let length: usize = header("content-length").and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let status =
                    head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
                return Ok((status, body.to_owned()));
            }
        }
        match connection.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => text.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Whether a job server echoes on this connection.
pub fn echo(connection: &mut Connection) -> bool {
    let data = b"are you there";
    let packet = [b"\0REQ", &16_u32.to_be_bytes()[..], &13_u32.to_be_bytes(), data].concat();
    let mut answer = vec![0; packet.len()];
    let outcome = connection.write_all(&packet).and_then(|()| connection.read_exact(&mut answer));
    outcome.is_ok() && answer.ends_with(data)
}
