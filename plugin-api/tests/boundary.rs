//! Each interface through its exported table: dispatch, parameters, pending calls, and a panic in every entry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol and hands out tables of its own")]

mod stand_in;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    CallContext, CloudDriver, ConfigSchema, DatabaseDriver, DeclarativeLoadBalancer, Driver, DriverError, ErrorCode,
    Health, Host, LogLevel, MgmDriver, Outcome, Retry, Token,
    abi::{Bytes, DriverTable, STATUS_ERROR, STATUS_OK, STATUS_PANIC, STATUS_PENDING},
    boundary,
    cloud::{self, CreateNode, Image, List, Node, NodeRequest, Page, Size},
    database::{self, Initialise, ServerRequest, ServerStatus},
    driver,
    load_balancer::{self, Applied, ApplyRequest, Observed, Target},
    mgm::{self, Added, NewDevice},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use stand_in::{Driven, Services};

/// Does in each entry what its configuration says.
struct Actor {
    config: Config,
    host: Host,
}

#[derive(Default, Deserialize, ConfigSchema)]
#[serde(default)]
struct Config {
    open: String,
    health: String,
    close: String,
    drop: String,
    word: Word,
}

/// A type whose reading panics.
#[derive(Default)]
struct Word;

impl ConfigSchema for Word {
    const SCHEMA: capstan_plugin_api::schema::Schema = capstan_plugin_api::schema::Schema::Text;
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        panic!("the author's own reading")
    }
}

struct DropsBadly;

impl Drop for DropsBadly {
    fn drop(&mut self) {
        panic!("the payload's drop")
    }
}

fn act(what: &str) -> Result<(), DriverError> {
    match what {
        "panic" => panic!("as {} asked", "configured"),
        "panic with a static text" => panic!("static"),
        "panic with a number" => std::panic::panic_any(7_u64),
        "panic with a bad payload" => std::panic::panic_any(DropsBadly),
        "fail" => Err(DriverError::new(ErrorCode::RATE_LIMITED, "slowly")
            .for_operator("429 from 10.0.0.1")
            .retry(Retry::After(Duration::from_millis(1500)))),
        _ => Ok(()),
    }
}

impl Driver for Actor {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, DriverError> {
        act(&config.open)?;
        Ok(Self { config, host })
    }

    fn health(&self) -> Result<Health, DriverError> {
        act(&self.config.health)?;
        Ok(Health { message: "well".into() })
    }

    fn close(self) {
        act(&self.config.close).unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.host.notify("dropped", &Value::Null).unwrap();
        act(&self.config.drop).unwrap();
    }
}

#[driver(name = "actor", vendor = "Tests", description = "acts", version = "1.2.3", serial_by = "none")]
impl CloudDriver for Actor {
    fn list_nodes(&self, call: &CallContext, request: &List) -> Result<Page<Node>, DriverError> {
        act(request.name.as_deref().unwrap_or_default())?;
        call.log(LogLevel::Warn, "listed");
        Ok(Page { items: Vec::new(), next: request.cursor.clone() })
    }

    fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Outcome<Node>, DriverError> {
        act(&request.name)?;
        call.progress(1, 2, "building");
        Ok(Outcome::pending(format!("token of {}", request.name), Duration::from_millis(250)))
    }

    fn destroy_node(&self, _call: &CallContext, _request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        Ok(Outcome::Done(()))
    }

    fn list_images(&self, call: &CallContext, _request: &List) -> Result<Page<Image>, DriverError> {
        // Waits until it is told to stop.
        while call.check().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(call.cancelled());
        Err(call.check().unwrap_err())
    }

    fn list_sizes(&self, call: &CallContext, _request: &List) -> Result<Page<Size>, DriverError> {
        let name = format!("{} {}", call.request_id(), call.time_left().as_secs());
        Ok(vec![Size { name, ..Size::default() }].into())
    }

    fn poll(&self, _call: &CallContext, token: &Token) -> Result<Outcome<Value>, DriverError> {
        Ok(Outcome::Done(json!({ "polled": token.token })))
    }
}

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

unsafe extern "C" fn describe() -> Bytes {
    Bytes::of(b"{}")
}

fn table() -> &'static DriverTable {
    // SAFETY: the attribute above made it.
    unsafe { &*capstan_driver_epoch_1() }
}

fn actor(config: Value) -> Driven {
    Driven::open(table(), &config).unwrap()
}

#[test]
fn methods_take_parameters_and_answer() {
    let driven = actor(json!({}));
    assert_eq!(driven.ok("list_nodes", &json!({ "cursor": "c" })), json!({ "items": [], "next": "c" }));
    assert_eq!(driven.ok("destroy_node", &json!({ "id": "n" })), Value::Null);
    let logged = driven.services.logged.lock().unwrap();
    let (call_id, level, target, message, fields) = &logged[0];
    assert_eq!((*level, target.as_str(), message.as_str(), fields.as_str()), (2, "", "listed", ""));
    assert_eq!(*call_id, 1, "a line tells the call it is about");
}

#[test]
fn the_envelope_reaches_the_driver() {
    let driven = actor(json!({}));
    let size = &driven.ok("list_sizes", &json!({}))["items"][0]["name"];
    assert_eq!(size, "r \"1\" 59", "a request id with escapes arrives whole");
    // A later host may send more, and an id is optional.
    let later =
        json!({ "deadline_ms": u64::MAX, "trace": { "span": 1 }, "params": { "cursor": "c", "colour": "red" } });
    assert_eq!(driven.invoke_raw(b"list_nodes", later.to_string().as_bytes()).0, STATUS_OK);
    for no_params in [r#"{"deadline_ms":1000}"#, r#"{"deadline_ms":1000,"params":null}"#] {
        assert_eq!(driven.invoke_raw(b"list_nodes", no_params.as_bytes()).0, STATUS_OK, "{no_params}");
    }
}

#[test]
fn what_cannot_be_read_is_an_invalid_argument() {
    let driven = actor(json!({}));
    let bodies: [&[u8]; 9] = [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"\xff\xfe",
        br#"{"deadline_ms":-1}"#,
        br#"{"deadline_ms":1000,"params":{"cursor":7}}"#,
        br#"{"deadline_ms":1000,"params":[]} trailing"#,
    ];
    for body in bodies {
        let (status, error) = driven.invoke_raw(b"list_nodes", body);
        assert_eq!((status, &error["code"]), (STATUS_ERROR, &json!("invalid_argument")), "{body:?}: {error}");
    }
    let missing = driven.invoke("destroy_node", &json!({})).1;
    assert!(missing["message"].as_str().unwrap().contains("`id`"), "{missing}");
    assert_eq!(driven.code("no_such_method", &json!({})), "not_supported");
    assert_eq!(driven.code("reboot_node", &json!({ "id": "n" })), "not_supported");
    assert_eq!(driven.invoke_raw(b"\xff", b"{}").1["code"], "invalid_argument");
    // Deep nesting ends no thread: what the type does not know is skipped, what it knows is refused.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (field, status) in [("unknown", STATUS_OK), ("tags", STATUS_ERROR)] {
        let body = format!(r#"{{"deadline_ms":1000,"params":{{"{field}":{deep}}}}}"#);
        assert_eq!(driven.invoke_raw(b"list_nodes", body.as_bytes()).0, status, "{field}");
    }
}

#[test]
fn errors_arrive_whole() {
    let driven = actor(json!({}));
    let (status, error) = driven.invoke("list_nodes", &json!({ "name": "fail" }));
    assert_eq!(status, STATUS_ERROR);
    let expected = json!({
        "code": "rate_limited",
        "message": "slowly",
        "operator_message": "429 from 10.0.0.1",
        "retry": { "after_ms": 1500 },
    });
    assert_eq!(error, expected);
}

#[test]
fn a_call_may_go_on_in_the_background() {
    let driven = actor(json!({}));
    let wanted = json!({ "name": "n", "image": "i", "size": "s" });
    let (status, pending) = driven.invoke("create_node", &wanted);
    assert_eq!((status, &pending), (STATUS_PENDING, &json!({ "token": "token of n", "poll_after_ms": 250 })));
    assert_eq!(driven.ok("poll", &json!({ "token": "token of n" })), json!({ "polled": "token of n" }));
    assert_eq!(driven.code("recover", &json!({ "token": "t" })), "not_supported");
    let told = driven.services.called.lock().unwrap();
    assert_eq!(told[0], ("progress".into(), json!({ "done": 1, "total": 2, "what": "building" })));
}

#[test]
fn cancel_and_deadline_reach_a_waiting_call() {
    let driven = Arc::new(actor(json!({})));
    let waiting = {
        let driven = Arc::clone(&driven);
        std::thread::spawn(move || driven.invoke_as(77, b"list_images", br#"{"deadline_ms":60000}"#))
    };
    driven.cancel(76);
    driven.cancel(77);
    assert_eq!(waiting.join().unwrap().1["code"], "cancelled");
    let begin = Instant::now();
    assert_eq!(driven.invoke_as(78, b"list_images", br#"{"deadline_ms":20}"#).1["code"], "timeout");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_panic_in_an_entry_is_an_answer() {
    let assert_panic = |(status, error): (u32, Value), text: &str| {
        assert_eq!((status, &error["code"]), (STATUS_PANIC, &json!("internal")), "{error}");
        let told = error["operator_message"].as_str().unwrap();
        assert!(told.contains("boundary.rs:") && told.ends_with(text), "where and what: {told}");
        assert!(!error["message"].as_str().unwrap().contains("boundary.rs"), "a tenant does not read where");
    };
    for (what, text) in [
        ("panic", "as configured asked"),
        ("panic with a static text", "static"),
        ("panic with a number", "(no text)"),
        ("panic with a bad payload", "(no text)"),
    ] {
        assert_panic(Driven::open(table(), &json!({ "open": what })).err().unwrap(), text);
        let driven = actor(json!({ "health": what }));
        assert_panic(driven.invoke("list_nodes", &json!({ "name": what })), text);
        assert_panic(driven.health(), text);
        assert_eq!(driven.ok("list_nodes", &json!({})), json!({ "items": [] }), "the instance goes on");
    }
    assert_panic(Driven::open(table(), &json!({ "word": "" })).err().unwrap(), "the author's own reading");
    // Nothing unwinds out of `close`, and what the instance held is dropped all the same.
    for config in [json!({ "close": "panic" }), json!({ "drop": "panic" })] {
        let services = Arc::<Services>::default();
        drop(Driven::open_with(table(), config.to_string().as_bytes(), Arc::clone(&services)).unwrap());
        assert_eq!(services.called.lock().unwrap()[0].1["what"], "dropped", "{config}");
    }
}

#[test]
fn open_refuses_and_says_why() {
    let (status, error) = Driven::open(table(), &json!({ "open": "fail" })).err().unwrap();
    assert_eq!((status, &error["code"]), (STATUS_ERROR, &json!("rate_limited")));
    for config in [&b"{\"open\":7}"[..], b"", b"[", b"7"] {
        let (status, error) = Driven::open_with(table(), config, Arc::default()).err().unwrap();
        assert_eq!((status, &error["code"]), (STATUS_ERROR, &json!("invalid_argument")), "{config:?}");
    }
    assert_eq!(actor(json!({})).health(), (STATUS_OK, json!({ "message": "well" })));
}

#[test]
fn null_pointers_are_answers() {
    let table = table();
    // SAFETY: the entries allow null here; the replies are not read.
    let statuses = unsafe {
        let mut instance = std::ptr::null_mut();
        [
            (table.open)(std::ptr::null(), Bytes::of(b"{}"), &mut instance).status,
            (table.invoke)(std::ptr::null_mut(), 1, Bytes::of(b"list_nodes"), Bytes::of(b"{}")).status,
            (table.health)(std::ptr::null_mut()).status,
        ]
    };
    assert_eq!(statuses, [STATUS_ERROR; 3]);
    // SAFETY: as above.
    unsafe {
        (table.cancel)(std::ptr::null_mut(), 1);
        (table.close)(std::ptr::null_mut());
    }
}

#[test]
fn sixty_four_calls_at_once() {
    let driven = actor(json!({}));
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let driven = &driven;
            scope.spawn(move || {
                for _ in 0..50 {
                    let cursor = format!("of {thread}");
                    assert_eq!(driven.ok("list_nodes", &json!({ "cursor": cursor }))["next"], json!(cursor));
                    assert_eq!(driven.invoke("list_nodes", &json!({ "name": "panic" })).0, STATUS_PANIC);
                }
            });
        }
    });
}

/// The other three kinds, each with its required methods.
struct Plain;

impl Driver for Plain {
    type Config = ();

    fn open(_config: (), _host: Host) -> Result<Self, DriverError> {
        Ok(Self)
    }
}

impl MgmDriver for Plain {
    fn get_free_count(&self, _call: &CallContext) -> Result<u64, DriverError> {
        Ok(3)
    }
    fn add_node(&self, _call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        Ok(Added { accepted: true, response: Some(json!(request.name)) })
    }
    fn is_online(&self, _call: &CallContext) -> Result<bool, DriverError> {
        Ok(true)
    }
    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        Ok("http://api".into())
    }
}

impl DatabaseDriver for Plain {
    fn initialise(&self, _call: &CallContext, request: &Initialise) -> Result<Outcome<()>, DriverError> {
        Ok(Outcome::pending(request.root_password.expose(), Duration::ZERO))
    }
    fn start(&self, _call: &CallContext, _request: &ServerRequest) -> Result<Outcome<ServerStatus>, DriverError> {
        Ok(ServerStatus { state: database::server_state::RUNNING.into(), ..Default::default() }.into())
    }
    fn stop(&self, _call: &CallContext, _request: &ServerRequest) -> Result<Outcome<()>, DriverError> {
        Ok(().into())
    }
    fn status(&self, _call: &CallContext, _request: &ServerRequest) -> Result<ServerStatus, DriverError> {
        Ok(ServerStatus::default())
    }
}

impl DeclarativeLoadBalancer for Plain {
    fn apply(&self, _call: &CallContext, request: &ApplyRequest) -> Result<Outcome<Applied>, DriverError> {
        Ok(Applied { load_balancers: Vec::new(), method: request.idempotency_key.clone() }.into())
    }
    fn observe(&self, _call: &CallContext, _target: &Target) -> Result<Observed, DriverError> {
        Ok(Observed { generation: 9, ..Default::default() })
    }
    fn suspend(&self, _call: &CallContext, _target: &Target) -> Result<Outcome<Applied>, DriverError> {
        Ok(Applied::default().into())
    }
    fn enable(&self, _call: &CallContext, _target: &Target) -> Result<Outcome<Applied>, DriverError> {
        Ok(Applied::default().into())
    }
    fn delete(&self, _call: &CallContext, _target: &Target) -> Result<Outcome<Applied>, DriverError> {
        Ok(Applied::default().into())
    }
}

#[test]
fn an_api_server_answers() {
    let driven = Driven::open(&boundary::table::<mgm::Mgm<Plain>>(describe), &json!({})).unwrap();
    assert_eq!(driven.ok("get_free_count", &Value::Null), json!(3));
    assert_eq!(driven.ok("is_online", &json!({})), json!(true));
    assert_eq!(driven.ok("get_url", &json!({ "unknown": 1 })), json!("http://api"));
    let device = json!({ "name": "n", "address": "10.0.0.1", "type": "basename: b, image: i" });
    assert_eq!(driven.ok("add_node", &device), json!({ "accepted": true, "response": "n" }));
    assert_eq!(driven.code("add_node", &json!({ "name": "n" })), "invalid_argument");
    for optional in ["usage", "list_nodes", "failed_nodes"] {
        assert_eq!(driven.code(optional, &json!({})), "not_supported");
    }
}

#[test]
fn a_database_answers() {
    let driven = Driven::open(&boundary::table::<database::Database<Plain>>(describe), &json!({})).unwrap();
    let wanted = json!({ "server": "s", "server_id": 1, "root_password": "secret" });
    assert_eq!(
        driven.invoke("initialise", &wanted),
        (STATUS_PENDING, json!({ "token": "secret", "poll_after_ms": 0 }))
    );
    assert_eq!(driven.ok("start", &json!({ "server": "s" }))["state"], "running");
    assert_eq!(driven.ok("stop", &json!({ "server": "s", "generation": 2 })), Value::Null);
    assert_eq!(driven.code("promote", &json!({ "server": "s", "generation": 2 })), "not_supported");
}

#[test]
fn a_declarative_load_balancer_answers() {
    let driven = Driven::open(&boundary::table::<load_balancer::Declared<Plain>>(describe), &json!({})).unwrap();
    let request = json!({ "device": "d", "generation": 1, "idempotency_key": "key", "load_balancers": [] });
    assert_eq!(driven.ok("apply", &request)["method"], "key");
    assert_eq!(driven.ok("observe", &json!({ "device": "d" }))["generation"], 9);
    assert_eq!(driven.code("validate", &request), "not_supported");
}

#[test]
fn a_cloud_table_made_by_hand_is_the_attributes() {
    let by_hand = boundary::table::<cloud::Cloud<Actor>>(describe);
    assert_eq!((by_hand.magic, by_hand.epoch, by_hand.size), (table().magic, table().epoch, table().size));
}
