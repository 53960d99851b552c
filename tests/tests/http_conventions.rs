//! The conventions of every API, on the daemon's own server with routes of the suite's: what a caller relies on whichever room answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

#[allow(dead_code, reason = "the store's own suites use the rest")]
#[path = "../../host/tests/store_support/postgres.rs"]
mod postgres;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response as Answer},
};
use capstan::{
    drivers::{Registry, Settings},
    http::{
        Access, Confidential, ConnectionLimits, Daemon, ETag, Gate, JsonBody, Limits, Listeners, Listing, Metrics,
        Operations, Preconditions, Problem, Readiness, Role, Routes, Server, Wait, migrations, router,
    },
    store::{Settings as StoreSettings, Store, jobs},
};
use capstan_plugin_api::{DriverError, ErrorCode};
use capstan_tests::{
    daemon::Ended,
    http::{Request, Response},
    paths, wait_for,
};
use postgres::Database;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::watch};

/// What the suite's handlers share.
#[derive(Clone)]
struct Bench {
    store: Store,
    calls: Arc<AtomicU32>,
    gate: Arc<tokio::sync::Semaphore>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Thing {
    name: String,
    size: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    parity: Option<String>,
}

fn routes(bench: Bench) -> Routes {
    Routes::new()
        .get("/test/panic", Access::Viewer, "panics", async || -> Answer { panic!("as it should") })
        .get("/test/slow", Access::Viewer, "is slow", async || tokio::time::sleep(Duration::from_secs(60)).await)
        .get("/test/driver", Access::Viewer, "a driver's error", driver)
        .get("/test/numbers", Access::Viewer, "a list", numbers)
        .get("/test/things/{id}", Access::Viewer, "a thing", thing)
        .conditional(|routes| routes.put("/test/things/{id}", Access::Operator, "change a thing", change))
        .post("/test/things", Access::Operator, "make a thing", make)
        .post("/test/secrets", Access::Operator, "make a secret", secret)
        .post("/test/held", Access::Operator, "make a thing when it is let", held)
        .post("/test/broken", Access::Operator, "fails", broken)
        .post("/test/work", Access::Operator, "long work", work)
        .with_state(bench)
}

async fn driver() -> Result<(), Problem> {
    let error = DriverError {
        code: ErrorCode::QUOTA_EXCEEDED,
        message: "no more nodes".to_owned(),
        operator_message: "403 from nova.example.org".to_owned(),
        ..DriverError::default()
    };
    Err(Problem::of_driver("cloud.nova", &error))
}

async fn numbers(listing: Listing<Filters>) -> Result<Answer, Problem> {
    let after = listing.after::<u32>()?.unwrap_or(0);
    let odd = listing.filters.parity.as_deref() == Some("odd");
    let rows = (after + 1..=25).filter(|number| !odd || number % 2 == 1).take(listing.rows()).collect();
    Ok(listing.page("numbers", rows, |number: &u32| *number))
}

async fn thing(Path(id): Path<String>, conditions: Preconditions) -> Answer {
    conditions.answer(&ETag::of_version(3), &json!({ "id": id }))
}

async fn change(conditions: Preconditions, JsonBody(thing): JsonBody<Thing>) -> Result<Json<Value>, Problem> {
    conditions.check(Some(&ETag::of_version(3)))?;
    Ok(Json(json!({ "name": thing.name })))
}

async fn make(State(bench): State<Bench>, JsonBody(thing): JsonBody<Thing>) -> Answer {
    let number = bench.calls.fetch_add(1, Ordering::SeqCst) + 1;
    let location = format!("/test/things/{number}");
    (StatusCode::CREATED, [("location", location)], Json(json!({ "number": number, "name": thing.name })))
        .into_response()
}

async fn secret(State(bench): State<Bench>) -> Answer {
    bench.calls.fetch_add(1, Ordering::SeqCst);
    let mut answer = (StatusCode::CREATED, [("location", "/test/secrets/1")], "canary-of-a-secret").into_response();
    answer.extensions_mut().insert(Confidential);
    answer
}

async fn held(State(bench): State<Bench>) -> Json<Value> {
    let number = bench.calls.fetch_add(1, Ordering::SeqCst) + 1;
    bench.gate.acquire().await.unwrap().forget();
    Json(json!({ "number": number }))
}

async fn broken(State(bench): State<Bench>) -> Problem {
    bench.calls.fetch_add(1, Ordering::SeqCst);
    Problem::unavailable("not now")
}

async fn work(State(bench): State<Bench>, wait: Wait) -> Result<Answer, Problem> {
    let id = bench
        .store
        .write(|transaction| {
            let accepted = jobs::accept(transaction, &jobs::NewJob::new("test.work", r#"{"size": 1}"#))?;
            Ok::<_, Problem>(accepted.id().to_owned())
        })
        .await?;
    Operations::new(bench.store).accepted(&id, wait).await
}

/// Where a server keeps its store.
struct Place {
    folder: TempDir,
    database: Option<Database>,
}

impl Place {
    fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: None }
    }

    fn postgres() -> Self {
        Self { database: Some(Database::new()), ..Self::sqlite() }
    }

    fn settings(&self) -> StoreSettings {
        match &self.database {
            Some(database) => StoreSettings::postgres(database.url()),
            None => StoreSettings::sqlite(self.folder.path().join("store.db")),
        }
    }
}

macro_rules! on_both_backends {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[test]
            fn $name() {
                super::$name(&super::Place::sqlite());
            })*
        }

        mod on_postgres {
            $(#[test]
            fn $name() {
                super::$name(&super::Place::postgres());
            })*
        }
    };
}

on_both_backends! {
    a_key_does_its_request_once
    a_client_that_goes_away_finds_its_answer_when_it_comes_again
    a_key_that_a_crash_left_in_flight_is_free_again
    long_work_is_a_job_that_can_be_waited_for_watched_and_cancelled
    jobs_are_listed_in_pages_by_what_is_asked_for
    a_job_is_sent_again_only_when_it_has_changed
}

/// A server on a free port of loopback, with its store.
struct Site {
    runtime: Runtime,
    bench: Bench,
    port: u16,
    stop: watch::Sender<bool>,
}

struct Bounds {
    connections: ConnectionLimits,
    requests: Limits,
    anonymous: Role,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: ConnectionLimits::default(), requests: Limits::default(), anonymous: Role::Operator }
    }
}

impl Site {
    fn start(place: &Place) -> Self {
        Self::start_within(place, Bounds::default())
    }

    fn start_within(place: &Place, bounds: Bounds) -> Self {
        let runtime = Runtime::new().unwrap();
        let (stop, stopping) = watch::channel(false);
        let (bench, port) = runtime.block_on(async {
            let store = Store::open(&place.settings(), &migrations()).await.unwrap();
            let folder = place.folder.path();
            let registry = Registry::open(Settings::new(folder, folder)).await.unwrap();
            let gate = Arc::new(tokio::sync::Semaphore::new(0));
            let bench = Bench { store: store.clone(), calls: Arc::default(), gate };
            let metrics = Metrics::default();
            let daemon = Daemon {
                registry,
                readiness: Readiness::default(),
                gate: Gate::new(metrics.figures().clone()).on_loopback(Some(bounds.anonymous)),
                metrics,
                store: Some(store),
                hold_targets: Vec::new(),
                retries: Vec::new(),
                limits: bounds.requests,
                ending: stopping.clone(),
            };
            let listeners = Listeners {
                tcp: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
                limits: bounds.connections,
                ..Listeners::default()
            };
            let server = Server::bind(&listeners).await.unwrap();
            let port = server.addresses()[0].port();
            tokio::spawn(server.serve(router(daemon, routes(bench.clone())), stopping));
            (bench, port)
        });
        Self { runtime, bench, port, stop }
    }

    fn send(&self, request: &Request) -> Response {
        request.send(self.port)
    }

    fn get(&self, path: &str) -> Response {
        self.send(&Request::new("GET", path))
    }

    fn calls(&self) -> u32 {
        self.bench.calls.load(Ordering::SeqCst)
    }

    /// Ends the server and closes the store, as a daemon's end does.
    fn end(self) {
        self.stop.send_replace(true);
        self.runtime.block_on(self.bench.store.close());
    }

    /// Claims the one job that waits, as the room that does such work.
    fn claim(&self) -> jobs::Job {
        let claim = jobs::Claim {
            kinds: vec!["test.work".to_owned()],
            owner: "suite".to_owned(),
            lease: Duration::from_secs(30),
            limit: 1,
        };
        let claimed =
            self.runtime.block_on(self.bench.store.write(move |transaction| jobs::claim(transaction, &claim)));
        claimed.unwrap().pop().expect("a job waits")
    }
}

fn thing_of(name: &str) -> Value {
    json!({ "name": name, "size": 1 })
}

#[test]
fn an_error_is_a_problem_with_the_requests_id() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let answer = site.send(&Request::new("GET", "/nothing").header("x-request-id", "mine-1"));
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    let body = answer.json();
    assert_eq!(
        (&body["type"], &body["request_id"], &body["status"]),
        (&json!("not_found"), &json!("mine-1"), &json!(404))
    );
    // Another's id is not taken when it could forge a line of the log.
    let answer = site.send(&Request::new("GET", "/nothing").header("x-request-id", "a b\tc"));
    assert_ne!(answer.json()["request_id"], "a b\tc");

    let answer = site.send(&Request::new("DELETE", "/test/things/1"));
    assert_eq!((answer.status, answer.json()["type"].clone()), (405, json!("method_not_allowed")));
    let mut allow: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
    allow.sort_unstable();
    assert_eq!(allow, ["GET", "HEAD", "PUT"]);

    let head = site.send(&Request::new("HEAD", "/test/things/1"));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.header("etag").is_some());
    let head = site.send(&Request::new("HEAD", "/nothing"));
    assert_eq!((head.status, head.body.as_str()), (404, ""));
}

#[test]
fn a_drivers_error_shows_its_inside_to_an_operator_alone() {
    for (anonymous, shown) in [(Role::Operator, json!("403 from nova.example.org")), (Role::Viewer, Value::Null)] {
        let place = Place::sqlite();
        let site = Site::start_within(&place, Bounds { anonymous, ..Bounds::default() });
        let answer = site.get("/test/driver");
        let body = answer.json();
        assert_eq!(answer.status, 409);
        assert_eq!((&body["code"], &body["driver"]), (&json!("quota_exceeded"), &json!("cloud.nova")));
        assert_eq!((&body["detail"], &body["operator_message"]), (&json!("no more nodes"), &shown), "{anonymous}");
    }
}

#[test]
fn a_panic_costs_its_request_alone() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let answer = site.get("/test/panic");
    let body = answer.json();
    assert_eq!((answer.status, &body["type"]), (500, &json!("internal")));
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    assert!(!answer.body.contains("as it should"), "a panic's words are the log's");
    assert_eq!(site.get("/test/things/1").status, 200);
}

#[test]
fn bodies_are_bounded_of_one_type_and_strictly_read() {
    let place = Place::sqlite();
    let requests = Limits { max_body: 2000, body_timeout: Duration::from_millis(300), ..Limits::default() };
    let site = Site::start_within(&place, Bounds { requests, ..Bounds::default() });
    let post = |kind: &str, body: &str| site.send(&Request::new("POST", "/test/things").body(kind, body.as_bytes()));
    let json = "application/json";
    let long = format!(r#"{{"name": "{}", "size": 1}}"#, "x".repeat(3000));
    for (kind, body, status, word, says) in [
        (json, &*long, 413, "too_large", "at most 2000 bytes"),
        ("text/plain", r#"{"name": "a", "size": 1}"#, 415, "unsupported_media_type", "application/json"),
        (json, "{\"name\":\n  }", 400, "bad_request", "line 2, column 3"),
        (json, r#"{"nmae": "a", "size": 1}"#, 400, "invalid_body", "did you mean \"name\"?"),
        (json, r#"{"name": "a", "size": -1}"#, 400, "invalid_body", "size"),
        (json, r#"{"name": "a"}"#, 400, "invalid_body", "missing field `size`"),
        (json, "", 400, "invalid_body", "no body"),
        (json, r#"["a", 1]"#, 400, "invalid_body", "expected an object"),
        (json, "null", 400, "invalid_body", "expected an object"),
        (json, "\u{1}", 400, "bad_request", "no JSON"),
    ] {
        let answer = post(kind, body);
        let problem = answer.json();
        assert_eq!((answer.status, &problem["type"]), (status, &json!(word)), "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
    }
    for (body, field) in [
        (r#"{"nmae": "a", "size": 1}"#, json!("nmae")),
        (r#"{"name": "a"}"#, json!("size")),
        ("{\"name\": \"a\", ", Value::Null),
    ] {
        assert_eq!(post(json, body).json()["field"], field, "{body}");
    }
    assert_eq!(site.calls(), 0);
    assert_eq!(post("application/vnd.x+json; charset=utf-8", r#"{"name": "a", "size": 1}"#).status, 201);

    // A body of which nothing comes.
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    let head =
        "POST /test/things HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = [0; 12];
    stream.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"HTTP/1.1 408");
}

#[test]
fn a_list_is_read_to_its_end_page_by_page() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let (mut path, mut seen) = ("/test/numbers?limit=4&parity=odd".to_owned(), Vec::new());
    loop {
        let answer = site.get(&path);
        let body = answer.json();
        seen.extend(body["numbers"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()));
        let Some(link) = answer.header("link") else {
            assert!(body["next"].is_null());
            break;
        };
        let target = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).unwrap();
        assert!(target.ends_with(body["next"].as_str().unwrap()), "{link}");
        path = target.to_owned();
    }
    assert_eq!(seen, (1..=25).step_by(2).collect::<Vec<u64>>());
    for (query, parameter, says) in [
        ("limit=0", "limit", "1 to 1000"),
        ("limit=x", "limit", "1 to 1000"),
        ("cursor=%21", "cursor", "cursor"),
        ("cursor=bm9uc2Vuc2U", "cursor", "cursor"),
        ("party=odd", "party", "did you mean \"parity\"?"),
        ("nonsense=1", "nonsense", "expected one of parity, limit, cursor"),
    ] {
        let answer = site.get(&format!("/test/numbers?{query}"));
        assert_eq!((answer.status, answer.json()["parameter"].clone()), (400, json!(parameter)), "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{query}: {}", answer.body);
    }
}

#[test]
fn what_changed_meanwhile_is_not_overwritten() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let read = site.get("/test/things/1");
    let tag = read.header("etag").unwrap();
    let again = site.send(&Request::new("GET", "/test/things/1").header("if-none-match", tag));
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)));
    let put = Request::new("PUT", "/test/things/1").json(&thing_of("a"));
    assert_eq!(site.send(&put.clone().header("if-match", tag)).status, 200);
    let stale = site.send(&put.header("if-match", "\"2\""));
    assert_eq!((stale.status, stale.json()["type"].clone()), (412, json!("precondition_failed")));

    // Where there is nothing to hold a condition against, nothing is done either; also not under a key.
    for tag in [tag, "*"] {
        let make = Request::new("POST", "/test/things").json(&thing_of("a")).header("if-match", tag);
        let refused = site.send(&make.header("idempotency-key", "conditional"));
        assert_eq!((refused.status, refused.json()["type"].clone()), (412, json!("precondition_failed")));
        assert!(refused.json()["detail"].as_str().unwrap().contains("has no ETag"), "{}", refused.body);
    }
    assert_eq!(site.calls(), 0);
}

fn a_key_does_its_request_once(place: &Place) {
    let site = Site::start(place);
    let keyed =
        |name: &str| Request::new("POST", "/test/things").header("idempotency-key", "k-1").json(&thing_of(name));
    let first = site.send(&keyed("a"));
    let second = site.send(&keyed("a"));
    assert_eq!((first.status, &first.body), (201, &second.body));
    assert_eq!((second.status, second.header("location")), (201, first.header("location")));
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(site.calls(), 1);
    let other = site.send(&keyed("b"));
    assert_eq!((other.status, other.json()["type"].clone()), (422, json!("unprocessable")));
    assert_eq!(site.send(&Request::new("POST", "/test/secrets").header("idempotency-key", "k-1")).status, 422);
    assert_eq!(
        site.send(&Request::new("POST", "/test/things").header("idempotency-key", "a b").json(&thing_of("a"))).status,
        400
    );
    // A faulty request is answered the same again; one that could succeed later is done again.
    let faulty = Request::new("POST", "/test/things").header("idempotency-key", "k-2").json(&json!({}));
    assert_eq!((site.send(&faulty).status, site.send(&faulty).header("idempotency-replayed")), (400, Some("true")));
    let broken = Request::new("POST", "/test/broken").header("idempotency-key", "k-3");
    assert_eq!((site.send(&broken).status, site.send(&broken).status, site.calls()), (503, 503, 3));
    site.end();

    // After a restart the answer is still there.
    let site = Site::start(place);
    let third = site.send(&keyed("a"));
    assert_eq!((third.status, &third.body, site.calls()), (201, &first.body, 0));
}

#[test]
fn an_answer_with_a_secret_is_not_kept() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let request = Request::new("POST", "/test/secrets").header("idempotency-key", "s-1");
    assert_eq!(site.send(&request).body, "canary-of-a-secret");
    let again = site.send(&request);
    assert_eq!((again.status, again.json()["location"].clone()), (409, json!("/test/secrets/1")));
    assert_eq!(site.calls(), 1);
    site.end();
    for file in std::fs::read_dir(place.folder.path()).unwrap().flatten().filter(|file| file.path().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(!bytes.windows(18).any(|part| part == b"canary-of-a-secret"), "{:?}", file.path());
    }
}

fn a_client_that_goes_away_finds_its_answer_when_it_comes_again(place: &Place) {
    let site = Site::start(place);
    let request = Request::new("POST", "/test/held").header("idempotency-key", "h-1");
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    stream.write_all(b"POST /test/held HTTP/1.1\r\nhost: localhost\r\nidempotency-key: h-1\r\n\r\n").unwrap();
    wait_for("the handler to begin", Duration::from_secs(10), || (site.calls() == 1).then_some(()));
    let meanwhile = site.send(&request);
    assert_eq!((meanwhile.status, meanwhile.json()["retry_after"].clone()), (409, json!(1)));
    drop(stream);
    site.bench.gate.add_permits(1);
    let answer = wait_for("the first answer", Duration::from_secs(10), || {
        Some(site.send(&request)).filter(|answer| answer.status == 200)
    });
    assert_eq!((answer.json()["number"].clone(), site.calls()), (json!(1), 1));
}

fn a_key_that_a_crash_left_in_flight_is_free_again(place: &Place) {
    let request = Request::new("POST", "/test/things").header("idempotency-key", "c-1").json(&thing_of("a"));
    let site = Site::start(place);
    assert_eq!(site.send(&request).status, 201);
    // As a daemon leaves it that ends between the effect and the answer.
    let crashed = |until: &'static str| {
        let crashed = site.bench.store.write(move |transaction| {
            let sql = format!("UPDATE idempotency SET status = NULL, process = 'another', in_flight_until = {until}");
            transaction.execute(&sql, &[])
        });
        assert_eq!(site.runtime.block_on(crashed).unwrap(), 1);
    };
    crashed("99999999999999");
    if place.database.is_some() {
        // Another daemon may be at it still; it counts as over when its time is.
        assert_eq!((site.send(&request).status, site.calls()), (409, 1));
        crashed("1");
    }
    assert_eq!((site.send(&request).status, site.calls()), (201, 2));
}

fn long_work_is_a_job_that_can_be_waited_for_watched_and_cancelled(place: &Place) {
    let site = Site::start(place);
    let accepted = site.send(&Request::new("POST", "/test/work"));
    let job = accepted.json();
    let path = format!("/jobs/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!((accepted.status, accepted.header("location"), &job["state"]), (202, Some(&*path), &json!("queued")));
    assert_eq!((&job["spec"], &job["kind"]), (&json!({ "size": 1 }), &json!("test.work")));

    // A reader of the stream sees each change, the last one when it has ended.
    let (port, events) = (site.port, format!("{path}/events"));
    let reader = thread::spawn(move || Request::new("GET", &events).send(port));
    let lease = site.claim().lease();
    assert_eq!(site.get(&path).json()["state"], "running");
    let begun = Instant::now();
    let waiter = {
        let path = format!("{path}?wait=30");
        thread::spawn(move || Request::new("GET", &path).send(port))
    };
    let finish = site.bench.store.write(move |transaction| jobs::complete(transaction, &lease, Some(r#"{"made": 7}"#)));
    site.runtime.block_on(finish).unwrap();
    let done = waiter.join().unwrap();
    assert_eq!((done.status, done.json()["result"]["made"].clone()), (200, json!(7)));
    assert!(begun.elapsed() < Duration::from_secs(20), "who waits is answered at the end of the work");
    let stream = reader.join().unwrap();
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let states: Vec<Value> = stream
        .body
        .lines()
        .filter_map(|line| {
            line.split_once("data: ").map(|(_, json)| serde_json::from_str::<Value>(json).unwrap()["state"].clone())
        })
        .collect();
    assert_eq!(states.last(), Some(&json!("done")), "{}", stream.body);

    let gone = site.send(&Request::new("POST", &format!("{path}/cancel")));
    assert_eq!((gone.status, gone.json()["type"].clone()), (409, json!("conflict")));
    assert_eq!(site.send(&Request::new("POST", &format!("{path}/retry"))).status, 409);

    // A wait beyond the longest is refused before anything is done.
    let queued = || site.get("/jobs/v1/jobs?kind=test.work").json()["jobs"].as_array().unwrap().len();
    let before = queued();
    let refused = site.send(&Request::new("POST", "/test/work?wait=500"));
    assert_eq!((refused.status, refused.json()["parameter"].clone(), queued()), (400, json!("wait"), before));
    assert_eq!(site.get(&format!("{path}?wait=121")).status, 400);

    // A short wait ends with 202; one that waits is cancelled at once, and queued again on request.
    let accepted = site.send(&Request::new("POST", "/test/work").header("prefer", "wait=1"));
    assert_eq!((accepted.status, accepted.header("preference-applied")), (202, Some("wait=1")));
    let path = accepted.header("location").unwrap().to_owned();
    let cancel =
        |reason: &str| site.send(&Request::new("POST", &format!("{path}/cancel")).json(&json!({ "reason": reason })));
    assert_eq!((cancel("two\nlines").status, cancel("").json()["field"].clone()), (400, json!("reason")));
    let cancelled = cancel("not wanted").json();
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["error"].as_str().unwrap().contains("not wanted"), "{cancelled}");
    let retried = site.send(&Request::new("POST", &format!("{path}/retry")));
    assert_eq!((retried.status, retried.json()["state"].clone()), (202, json!("queued")));

    let all = site.get("/jobs/v1/jobs?kind=test.work").json();
    assert_eq!(all["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(site.get("/jobs/v1/jobs?state=done").json()["jobs"].as_array().unwrap().len(), 1);
    for (query, parameter) in [("state=over", "state"), ("order=random", "order")] {
        let refused = site.get(&format!("/jobs/v1/jobs?{query}"));
        assert_eq!((refused.status, refused.json()["parameter"].clone()), (400, json!(parameter)));
    }
    assert_eq!(site.get("/jobs/v1/jobs/none").status, 404);
    assert_eq!(site.get("/jobs/v1/jobs/none/events").status, 404);
}

fn jobs_are_listed_in_pages_by_what_is_asked_for(place: &Place) {
    let site = Site::start(place);
    let accept = site.bench.store.write(|transaction| {
        for number in 0..25_u32 {
            let object = Some(format!("node/{}", number % 2));
            let kind = if number < 20 { "test.work" } else { "test.play" };
            jobs::accept(transaction, &jobs::NewJob { object, ..jobs::NewJob::new(kind, "{}") })?;
        }
        Ok::<_, Problem>(())
    });
    site.runtime.block_on(accept).unwrap();
    let all = |query: &str| {
        let (mut ids, mut path) = (Vec::new(), format!("/jobs/v1/jobs?limit=4&{query}"));
        loop {
            let page = site.get(&path).json();
            let jobs = page["jobs"].as_array().unwrap();
            assert!(jobs.len() <= 4, "{page}");
            ids.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
            let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
            assert_eq!(distinct.len(), ids.len(), "{ids:?}");
            let Some(next) = page["next"].as_str() else { return ids };
            path = format!("/jobs/v1/jobs?limit=4&{query}&cursor={next}");
            // What comes while somebody pages neither repeats nor hides others.
            if ids.len() == 4 {
                site.send(&Request::new("POST", "/test/work"));
            }
        }
    };
    assert_eq!(all("kind=test.play").len(), 5);
    assert_eq!(all("object=node/1").len(), 12);
    assert_eq!(all("object=node/1&kind=test.work").len(), 10);
    assert_eq!(all("state=done").len(), 0);
    let (mut rising, falling) = (all("kind=test.play"), all("kind=test.play&order=desc"));
    rising.reverse();
    assert_eq!(falling, rising);
    assert_eq!(site.get("/jobs/v1/jobs?order=random").status, 400);
    let newest = site.send(&Request::new("POST", "/test/work")).json()["id"].as_str().unwrap().to_owned();
    let listed = Ended::of(command(site.port, &["list", "--limit", "1", "--output", "json"]).output().unwrap());
    assert_eq!(listed.json()["jobs"][0]["id"], newest, "what was queued last is not in the list");
    let begun = site.claim();
    assert_eq!(all("state=running"), [begun.id]);
    assert!(all("state=queued&kind=test.work").len() >= 19);
}

fn a_job_is_sent_again_only_when_it_has_changed(place: &Place) {
    let site = Site::start(place);
    let path = site.send(&Request::new("POST", "/test/work")).header("location").unwrap().to_owned();
    let read = site.get(&path);
    let tag = read.header("etag").unwrap();
    let again = || site.send(&Request::new("GET", &path).header("if-none-match", tag));
    assert_eq!((again().status, again().body.as_str(), again().header("etag")), (304, "", Some(tag)));
    let cancel = |tag: &str| site.send(&Request::new("POST", &format!("{path}/cancel")).header("if-match", tag));
    let retry = |tag: &str| site.send(&Request::new("POST", &format!("{path}/retry")).header("if-match", tag));
    assert_eq!((cancel("\"made-up\"").status, retry("\"made-up\"").status), (412, 412));
    assert_eq!(again().status, 304, "a refused change changed something");
    site.claim();
    let changed = again();
    assert_eq!((changed.status, changed.json()["state"].clone()), (200, json!("running")));
    assert_ne!(changed.header("etag"), Some(tag));
    assert_eq!(cancel(tag).status, 412);
    assert_eq!(cancel(changed.header("etag").unwrap()).status, 202);
}

#[test]
fn slow_clients_and_too_many_of_them_keep_nobody_out() {
    let place = Place::sqlite();
    let connections = ConnectionLimits { max_connections: 3, header_timeout: Duration::from_millis(400) };
    let requests = Limits { request_timeout: Duration::from_millis(500), ..Limits::default() };
    let site = Site::start_within(&place, Bounds { connections, requests, ..Bounds::default() });
    let slow = site.get("/test/slow");
    assert_eq!((slow.status, slow.json()["type"].clone()), (504, json!("timeout")));

    // Three connections that begin a head and do not end it.
    let mut held: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", site.port)).unwrap()).collect();
    for stream in &mut held {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: loc").unwrap();
    }
    let refused = wait_for("all places to be taken", Duration::from_secs(5), || {
        let mut text = String::new();
        TcpStream::connect(("127.0.0.1", site.port)).unwrap().read_to_string(&mut text).ok()?;
        Some(text).filter(|text| text.contains("503"))
    });
    let (_, body) = refused.split_once("\r\n\r\n").unwrap();
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["status"], 503);
    // They are closed when their time is over, and there is room again.
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
    wait_for("a free place", Duration::from_secs(5), || (site.get("/test/things/1").status == 200).then_some(()));
}

#[test]
fn no_web_page_reaches_the_daemon_through_a_browser_on_this_machine() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let post = Request::new("POST", "/test/things").json(&thing_of("a"));
    assert_eq!(site.send(&post.clone().header("origin", "http://evil.example")).status, 403);
    // A name that its owner has pointed at loopback.
    assert_eq!(site.send(&Request::new("GET", "/test/things/1").header("host", "evil.example:8770")).status, 403);
    assert_eq!(site.send(&Request::new("GET", "/test/things/1").header("host", "127.0.0.1:8770")).status, 200);
    assert_eq!(site.calls(), 0);
}

#[test]
fn an_end_lets_requests_finish() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let port = site.port;
    let asked = thread::spawn(move || Request::new("POST", "/test/held").send(port));
    wait_for("the handler to begin", Duration::from_secs(10), || (site.calls() == 1).then_some(()));
    site.stop.send_replace(true);
    wait_for("the listener to close", Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).err());
    site.bench.gate.add_permits(1);
    assert_eq!(asked.join().unwrap().status, 200);
}

#[test]
fn who_waits_is_answered_at_the_end_of_the_daemon() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let port = site.port;
    let path = site.send(&Request::new("POST", "/test/work")).header("location").unwrap().to_owned();
    let mut waiting = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("GET {path}?wait=60 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    waiting.write_all(head.as_bytes()).unwrap();
    let watching = thread::spawn(move || Request::new("GET", &format!("{path}/events")).send(port));
    wait_for("the stream's head, which is counted", Duration::from_secs(10), || {
        site.get("/metrics").body.lines().any(|line| line.contains("/events")).then_some(())
    });
    let begun = Instant::now();
    site.stop.send_replace(true);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("queued"), "{answer}");
    assert_eq!(watching.join().unwrap().status, 200);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// Runs a command of the binary against the suite's server.
fn command(port: u16, arguments: &[&str]) -> Command {
    let mut capstan = Command::new(paths::capstan());
    capstan.args(["--url", &format!("http://127.0.0.1:{port}"), "job"]).args(arguments);
    capstan.env_remove("CAPSTAN_TOKEN").stdin(Stdio::null());
    capstan
}

#[test]
fn the_commands_list_follow_cancel_and_retry_jobs() {
    let place = Place::sqlite();
    let site = Site::start(&place);
    let port = site.port;
    let new = || site.send(&Request::new("POST", "/test/work")).json()["id"].as_str().unwrap().to_owned();
    let run = |arguments: &[&str]| Ended::of(command(port, arguments).output().unwrap());

    // On a terminal the progress is seen.
    let id = new();
    let line = format!("{} --url http://127.0.0.1:{port} job show {id} --wait", paths::capstan().display());
    let watched = thread::spawn(move || {
        Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap()
    });
    let lease = site.claim().lease();
    let report = lease.clone();
    let progress = jobs::Progress { percent: Some(40), text: Some("laying bricks".to_owned()) };
    let said = site.bench.store.write(move |transaction| jobs::report(transaction, &report, &progress));
    site.runtime.block_on(said).unwrap();
    wait_for("the stream to be read", Duration::from_secs(10), || {
        let figures = site.get("/metrics").body;
        figures.lines().any(|line| line.contains("/events")).then_some(())
    });
    let done = site.bench.store.write(move |transaction| jobs::complete(transaction, &lease, Some("{}")));
    site.runtime.block_on(done).unwrap();
    let seen = watched.join().unwrap();
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.status.success(), "{text}");
    assert!(text.contains("test.work: running 40 % laying bricks"), "{text:?}");
    assert!(text.contains(&format!("job {id}: done")), "{text:?}");

    // What fails is the command's failure.
    let id = new();
    let watched =
        command(port, &["show", &id, "--wait"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lease = site.claim().lease();
    let failed = site
        .bench
        .store
        .write(move |transaction| jobs::fail(transaction, &lease, "out of bricks", jobs::Retry::Never).map(drop));
    site.runtime.block_on(failed).unwrap();
    let ended = Ended::of(watched.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error.contains("out of bricks"), "{ended:?}");

    assert!(run(&["list", "--state", "failed"]).out.contains("out of bricks"));
    assert_eq!(run(&["list", "--output", "json"]).json()["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(run(&["retry", &id, "--output", "json"]).json()["state"], "queued");
    let cancelled = run(&["cancel", &id, "--reason", "enough", "--wait"]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");

    // One that is tried until it is done is not shown against a bound.
    let endless = jobs::NewJob { max_attempts: u32::MAX, ..jobs::NewJob::new("test.endless", "") };
    let accepted = site.bench.store.write(move |transaction| jobs::accept(transaction, &endless).map(drop));
    site.runtime.block_on(accepted).unwrap();
    let told = run(&["list", "--kind", "test.endless", "--output", "json"]).json();
    assert_eq!(told["jobs"][0]["max_attempts"], Value::Null, "{told}");
    let row = run(&["list", "--kind", "test.endless"]).out;
    assert_eq!(row.lines().nth(1).unwrap().split_whitespace().nth(4), Some("0"), "{row}");

    // A job that is done before it can be cancelled.
    let id = new();
    let lease = site.claim().lease();
    let watched =
        command(port, &["cancel", &id, "--wait"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the job to be asked to stop", Duration::from_secs(10), || {
        let job = run(&["show", &id, "--output", "json"]).json();
        (job["cancel_requested"] == true).then_some(())
    });
    let listed = run(&["list", "--state", "running"]).out;
    assert!(listed.contains("running, cancel asked for"), "{listed}");
    let done = site.bench.store.write(move |transaction| jobs::complete(transaction, &lease, Some("{}")));
    site.runtime.block_on(done).unwrap();
    let late = Ended::of(watched.wait_with_output().unwrap());
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.error.contains("is done: it ended before it could be cancelled"), "{late:?}");
    let again = run(&["cancel", &id]);
    assert!(again.code == Some(1) && again.error.contains("nothing to cancel"), "{again:?}");
    assert_eq!((run(&["show", "no/id"]).code, run(&["show", "none"]).code), (Some(64), Some(1)));
}
