//! Requests to all APIs of a daemon, as they are once HTTP itself has been read: address, headers, body, one after the other. Whatever
//! is asked, there is an answer of the conventions, never a fault of the daemon's own; no token is told.
#![no_main]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    mem::ManuallyDrop,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri},
};
use capstan::{
    http::{self, Gate, HoldTargets, Limits, Metrics, Peer, Readiness, Retries, Role, Tokens},
    identity, lbaas,
    orchestrator::clouds,
    pool,
};
use capstan_fuzz::world::World;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::watch};
use tower_service::Service;

/// After so many inputs all begins anew, so that what has come together stays small.
const RENEWED: usize = 2000;
/// Requests of an input, parted by a line.
const MOST: usize = 6;
const PART: &[u8] = b"\n===\n";
/// Words that stand for tokens, in headers alone.
const TOKENS: [(&str, &str); 5] = [
    ("@ADMIN@", "admin"),
    ("@OPERATOR@", "operator"),
    ("@VIEWER@", "viewer"),
    ("@DEVICE@", "device"),
    ("@TENANT@", "tenant"),
];

struct Daemon {
    runtime: Runtime,
    world: World,
    router: Router,
    _ending: watch::Sender<bool>,
    /// What stands for words of an input in addresses and bodies.
    words: BTreeMap<&'static str, String>,
    /// The same in headers.
    tokens: BTreeMap<&'static str, String>,
    inputs: usize,
}

thread_local! {
    // Not dropped at the end of the process, where its threads are gone.
    static DAEMON: RefCell<ManuallyDrop<Option<Daemon>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Daemon {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let world = runtime.block_on(World::new(json!([])));
        let (ending, ends) = watch::channel(false);
        let figures = Metrics::default();
        let gate = Gate::new(figures.figures().clone())
            .tokens(Tokens::new(world.store.clone()))
            .certificates(BTreeMap::from([("root".to_owned(), Role::Admin)]))
            .on_loopback(Some(Role::Operator));
        let services = lbaas::routes(world.store.clone(), true)
            .merge(pool::routes(world.pool.clone()))
            .merge(identity::routes(world.identity.clone(), figures.figures().clone()))
            .merge(clouds::routes(world.clouds.clone()));
        let daemon = http::Daemon {
            registry: world.registry.clone(),
            readiness: Readiness::default(),
            metrics: figures,
            gate,
            store: Some(world.store.clone()),
            hold_targets: vec![Arc::new(world.pool.clone()) as Arc<dyn HoldTargets>],
            retries: vec![Arc::new(world.pool.clone()) as Arc<dyn Retries>],
            // A wait is at most what is left above a second.
            limits: Limits { max_body: 8192, request_timeout: Duration::from_millis(1020), ..Limits::default() },
            ending: ends,
        };
        let router = http::router(daemon, services);
        let mut new = Self {
            runtime,
            world,
            router,
            _ending: ending,
            words: BTreeMap::new(),
            tokens: BTreeMap::new(),
            inputs: 0,
        };
        new.furnish();
        new
    }

    /// Tokens of all roles, nodes, and a node's token and request.
    fn furnish(&mut self) {
        let (id, name) = self.runtime.block_on(self.world.stocked());
        for (word, role) in TOKENS {
            let tenant = (role == "tenant").then_some("t-1");
            let wanted = json!({ "role": role, "tenant": tenant }).to_string();
            let request = Request::post("/auth/v1/tokens")
                .extension(Peer::Unix { user: 0 })
                .header("content-type", "application/json")
                .body(Body::from(wanted))
                .expect("a request");
            let answer = self.ask(request);
            let made: Value = serde_json::from_slice(&answer.body).expect("JSON");
            self.tokens.insert(word, made["token"].as_str().expect("a token").to_owned());
        }
        let admitted = self.world.identity.admit("n-1", "lb-1", Duration::from_secs(86_400));
        let admitted = self.runtime.block_on(admitted).expect("a token");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut asked = rcgen::CertificateParams::default();
        asked.distinguished_name = rcgen::DistinguishedName::new();
        asked.distinguished_name.push(rcgen::DnType::CommonName, "lb-1");
        let asked = asked.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
        self.words.extend([
            ("@NODE@", id),
            ("@NAME@", name),
            ("@ENROL@", admitted.expose().to_owned()),
            ("@CSR@", asked.replace('\r', "").replace('\n', "\\n")),
        ]);
    }

    fn ask(&self, request: Request<Body>) -> Answer {
        let endless = request.uri().path().ends_with("/events");
        self.runtime.block_on(async {
            let answered = self.router.clone().call(request).await;
            let (parts, body) = answered.unwrap_or_else(|never| match never {}).into_parts();
            let whole = tokio::time::timeout(Duration::from_millis(if endless { 5 } else { 5000 }), body.collect());
            let body = match whole.await {
                Ok(body) => body.expect("a body of bytes").to_bytes().to_vec(),
                Err(_) => {
                    assert!(endless, "a body that does not end");
                    Vec::new()
                }
            };
            Answer { status: parts.status, headers: parts.headers, body }
        })
    }

    /// Makes one request of an input. What its answer shows, the next ones may say.
    fn request(&mut self, text: &[u8], peer: &Peer) {
        let (head, body) = split(text, b"\n\n");
        let mut lines = head.split(|byte| *byte == b'\n');
        let (method, address) = split(lines.next().unwrap_or_default(), b" ");
        let address = fill(address, &[&self.words]);
        let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(address.as_slice())) else { return };
        let mut request = Request::new(Body::from(fill(body, &[&self.words])));
        for line in lines {
            let (name, value) = split(line, b":");
            let value = fill(value.trim_ascii(), &[&self.words, &self.tokens]);
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(&value)) {
                request.headers_mut().append(name, value);
            }
        }
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        request.extensions_mut().insert(peer.clone());
        let given = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let authorization = request.headers().clone();
        let answer = self.ask(request);
        self.check(&method, &uri, given.as_deref(), &answer);

        let shown: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        for (word, field) in [("@NEXT@", "next"), ("@ID@", "id"), ("@SERIAL@", "serial")] {
            if let Some(text) = shown[field].as_str().filter(|text| text.len() < 2000) {
                self.words.insert(word, text.to_owned());
            }
        }
        if let Some(tag) = answer.headers.get("etag").and_then(|tag| tag.to_str().ok()) {
            self.words.insert("@ETAG@", tag.to_owned());
            if method == Method::GET && answer.status == 200 {
                let mut again = Request::new(Body::empty());
                *again.uri_mut() = uri.clone();
                *again.headers_mut() = authorization.clone();
                again.headers_mut().insert("if-none-match", tag.parse().expect("it was a header"));
                again.extensions_mut().insert(peer.clone());
                let again = self.ask(again);
                let other = again.headers.get("etag").is_some_and(|other| other != tag);
                assert!(other || again.status == StatusCode::NOT_MODIFIED, "{uri}: {}", again.status);
            }
        }
        // A page that is not the last leads to the next.
        if let Some(link) = answer.headers.get("link").and_then(|link| link.to_str().ok()) {
            let next = link.strip_prefix('<').and_then(|link| link.split_once(">; rel=\"next\"")).expect("a link").0;
            let mut further = Request::new(Body::empty());
            *further.uri_mut() = next.parse().unwrap_or_else(|error| panic!("{next}: {error}"));
            *further.headers_mut() = authorization;
            further.extensions_mut().insert(peer.clone());
            let further = self.ask(further);
            assert_eq!(further.status, 200, "{next}: {}", String::from_utf8_lossy(&further.body));
        }
    }

    fn check(&self, method: &Method, uri: &Uri, given: Option<&str>, answer: &Answer) {
        let Answer { status, headers, body } = answer;
        let text = String::from_utf8_lossy(body);
        let about = || format!("{method} {uri}: {status} {headers:?} {text}");
        // Not there, refused by a driver, not available: but no fault of the daemon.
        assert!(
            status.is_success() || (300..500).contains(&status.as_u16()) || (501..505).contains(&status.as_u16()),
            "{}",
            about()
        );
        let ids: Vec<_> = headers.get_all("x-request-id").iter().collect();
        let [id] = ids.as_slice() else { panic!("{}", about()) };
        let is_plain = |id: &str| {
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        assert!(id.to_str().is_ok_and(is_plain), "{}", about());
        assert!(given.is_none_or(|given| !is_plain(given) || *id == given), "{}", about());
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if status.as_u16() >= 400 && *method != Method::HEAD {
            let told: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", about()));
            if kind == "application/problem+json" {
                assert_eq!(told["status"], status.as_u16(), "{}", about());
                assert!(["type", "title", "detail"].iter().all(|key| told[key].is_string()), "{}", about());
                assert_eq!(told["request_id"], id.to_str().unwrap_or_default(), "{}", about());
            } else {
                assert!(uri.path().starts_with("/v1/") && told.is_object(), "{}", about());
            }
        } else if kind == "application/json" && *method != Method::HEAD {
            serde_json::from_slice::<Value>(body).unwrap_or_else(|error| panic!("{error}: {}", about()));
        }
        for token in self.tokens.values() {
            let secret = &token[15..];
            assert!(!text.contains(secret) && !format!("{headers:?}").contains(secret), "{}", about());
        }
    }

    fn end(self) {
        let Self { runtime, world, router, .. } = self;
        drop(router);
        runtime.block_on(world.end());
    }
}

/// Before and after the first such bytes.
fn split<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.windows(at.len()).position(|window| window == at) {
        Some(place) => (&bytes[..place], &bytes[place + at.len()..]),
        None => (bytes, b""),
    }
}

fn fill(text: &[u8], words: &[&BTreeMap<&'static str, String>]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let found = words.iter().flat_map(|words| words.iter()).find(|(word, _)| rest.starts_with(word.as_bytes()));
        match found {
            Some((word, value)) => {
                filled.extend_from_slice(value.as_bytes());
                rest = &rest[word.len()..];
            }
            None => {
                filled.push(*first);
                rest = others;
            }
        }
    }
    filled
}

/// Where an input comes from. Failed attempts are counted by address, so each input has one of its own.
fn peer(kind: u8, number: usize) -> Peer {
    let number = u32::try_from(number).unwrap_or_default();
    let tcp = |on_loopback, certificate| Peer::Tcp {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)), 1024),
        on_loopback,
        certificate,
    };
    match kind % 5 {
        0 => Peer::Unix { user: 0 },
        1 => Peer::Unix { user: 1000 + number },
        2 => tcp(true, None),
        3 => tcp(false, None),
        _ => tcp(false, Some("root".to_owned())),
    }
}

fuzz_target!(|bytes: &[u8]| {
    DAEMON.with_borrow_mut(|kept| {
        let kept = &mut **kept;
        if kept.as_ref().is_some_and(|daemon| daemon.inputs >= RENEWED) {
            kept.take().expect("it is there").end();
        }
        let daemon = kept.get_or_insert_with(Daemon::new);
        daemon.inputs += 1;
        let Some((kind, mut rest)) = bytes.split_first() else { return };
        let peer = peer(*kind, daemon.inputs);
        for _ in 0..MOST {
            let (text, others) = split(rest, PART);
            daemon.request(text, &peer);
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
    });
});
