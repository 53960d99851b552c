//! What an API server answers to the drivers that register nodes, byte by byte as it comes off the line: a result of the contract or
//! an error that says what it is, in one line, and no token told. What was asked is always one request of the device API.
#![no_main]
#![allow(unsafe_code, reason = "the target exports a driver's symbol, and reads it")]

#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use capstan_device_api::{
    Client, Generation, Options,
    channel::{Attempt, Channel},
};
use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, Host, MgmDriver, Secret,
    abi::{DriverTable, STATUS_ERROR, STATUS_OK},
    driver,
    mgm::{Added, Device, DeviceRequest, Devices, ListDevices, NewDevice, UpdateDevice, Usage},
};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::{Value, json};
use stand_in::Driven;
use ureq::{
    Agent, Error,
    config::Config as AgentConfig,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
    },
};

const TOKEN: &str = "cap_aaaaaaaaaa_4b1d9a70";
const PART: &[u8] = b"\n===\n";
const METHODS: [&str; 9] = [
    "get_free_count",
    "add_node",
    "is_online",
    "get_url",
    "usage",
    "list_nodes",
    "get_node",
    "update_node",
    "delete_node",
];

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

/// What connections will answer, in their order.
static ANSWERS: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());
/// What was sent on each.
static ASKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections to nobody.
#[derive(Debug)]
struct Fed;

impl Channel for Fed {
    fn agent(&self, config: AgentConfig, _attempt: Attempt) -> Agent {
        Agent::with_parts(config, Fed, Fed)
    }
}

impl Resolver for Fed {
    fn resolve(&self, _uri: &Uri, _config: &AgentConfig, _timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

impl Connector for Fed {
    type Out = Line;

    fn connect(&self, details: &ConnectionDetails<'_>, _chained: Option<()>) -> Result<Option<Line>, Error> {
        let answer = locked(&ANSWERS).pop_front().ok_or(Error::ConnectionFailed)?;
        locked(&ASKED).push(Vec::new());
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Line { buffers, rest: answer.into() }))
    }
}

#[derive(Debug)]
struct Line {
    buffers: LazyBuffers,
    rest: VecDeque<u8>,
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), Error> {
        let sent = &self.buffers.output()[..amount];
        locked(&ASKED).last_mut().expect("there is a connection").extend_from_slice(sent);
        Ok(())
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, Error> {
        let into = self.buffers.input_append_buf();
        // In pieces, as from a network.
        let amount = into.len().min(self.rest.len()).min(97);
        for (to, from) in into.iter_mut().zip(self.rest.drain(..amount)) {
            *to = from;
        }
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

#[derive(Debug, Default, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// One server or two.
    two: bool,
    /// Which body registers a device.
    body: Generation,
}

/// The client behind the drivers, over connections to nobody.
struct Registrar(Client<Fed>);

impl Driver for Registrar {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        let urls = ["http://a/v1", "http://b/v1"].iter().take(1 + usize::from(config.two));
        let options = Options {
            user_agent: "fuzz".to_owned(),
            token: Some(Secret::new(TOKEN)),
            timeout: Duration::from_secs(30),
            generation: config.body,
        };
        Client::new(Fed, urls.map(|url| (*url).to_owned()).collect(), options).map(Self)
    }
}

#[driver(name = "registrar", vendor = "Capstan", serial_by = "none")]
impl MgmDriver for Registrar {
    fn get_free_count(&self, call: &CallContext) -> Result<u64, DriverError> {
        Ok(self.0.usage(call)?.free)
    }

    fn add_node(&self, call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        self.0.add(call, request)
    }

    fn is_online(&self, call: &CallContext) -> Result<bool, DriverError> {
        self.0.is_online(call)
    }

    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        Ok(self.0.url())
    }

    fn usage(&self, call: &CallContext) -> Result<Usage, DriverError> {
        self.0.usage(call)
    }

    fn list_nodes(&self, call: &CallContext, request: &ListDevices) -> Result<Devices, DriverError> {
        self.0.list(call, request)
    }

    fn get_node(&self, call: &CallContext, request: &DeviceRequest) -> Result<Device, DriverError> {
        self.0.get(call, request)
    }

    fn update_node(&self, call: &CallContext, request: &UpdateDevice) -> Result<(), DriverError> {
        self.0.update(call, request)
    }

    fn delete_node(&self, call: &CallContext, request: &DeviceRequest) -> Result<(), DriverError> {
        self.0.delete(call, request)
    }
}

/// Parts of an input.
fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(place) = bytes.windows(PART.len()).position(|window| window == PART) {
        parts.push(&bytes[..place]);
        bytes = &bytes[place + PART.len()..];
    }
    parts.push(bytes);
    parts
}

/// What comes off the line: as it stands, or in the frame that a server gives to JSON.
fn answer(part: &[u8]) -> Vec<u8> {
    if part.starts_with(b"HTTP") {
        return part.to_vec();
    }
    let (status, body) = match part.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok()) {
        Some(status @ 100..) => (status, &part[3..]),
        _ => (200, part),
    };
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A request of the device API and nothing else.
fn is_asked_well(request: &[u8]) {
    let about = || request.escape_ascii().to_string();
    let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("{}", about()));
    let head = std::str::from_utf8(&request[..end]).unwrap_or_else(|_| panic!("{}", about()));
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, path, "HTTP/1.1"] = words.as_slice() else { panic!("{}", about()) };
    assert!(["GET", "POST", "PUT", "DELETE"].contains(method) && path.starts_with("/v1/devices"), "{}", about());
    let mut segments = path.split('?').next().unwrap_or_default().split('/');
    assert!(segments.all(|segment| ![".", ".."].contains(&segment)) && !path.contains('#'), "{}", about());
    let bearer = format!("authorization: Bearer {TOKEN}");
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.iter().filter(|line| line.eq_ignore_ascii_case(&bearer)).count(), 1, "{}", about());
    assert!(lines.len() < 12, "{}", about());
    let body = &request[end + 4..];
    assert!(body.is_empty() || serde_json::from_slice::<Value>(body).is_ok_and(|body| body.is_object()), "{}", about());
}

fuzz_target!(|bytes: &[u8]| {
    let parts = parts(bytes);
    let (calls, answers) = parts.split_first().expect("there is always one");
    *locked(&ANSWERS) = answers.iter().map(|part| answer(part)).collect();
    locked(&ASKED).clear();
    let calls = String::from_utf8_lossy(calls);
    let mut lines = calls.lines();
    let first = lines.next().unwrap_or_default();
    let body = if first.contains('s') { "seed" } else { "final" };
    let config = json!({ "two": first.contains('2'), "body": body }).to_string();
    // SAFETY: the driver's attribute made it.
    let table = unsafe { &*capstan_driver_epoch_1() };
    let driven = Driven::open_with(table, config.as_bytes(), Default::default()).expect("it opens");
    // Each further line is a call: a letter for the method, then an id, or what else it asks about.
    for line in lines.take(6) {
        let mut rest = line.chars();
        let method =
            METHODS[usize::try_from(u32::from(rest.next().unwrap_or('a'))).unwrap_or_default() % METHODS.len()];
        let text = rest.as_str();
        let params = match method {
            "add_node" => json!({ "name": text, "address": "10.0.0.1", "az": 1, "kind": "basename: b, image: i" }),
            "list_nodes" if text.is_empty() => json!({}),
            "list_nodes" => json!({ "marker": text, "limit": text.len() }),
            "get_node" | "delete_node" => json!({ "id": text }),
            "update_node" => json!({ "id": text.split(' ').next(), "status": "ONLINE", "description": text }),
            _ => json!(null),
        };
        let (status, told) = driven.invoke(method, &params);
        let about = || format!("{method} {params}: {told}");
        match status {
            STATUS_OK if method == "list_nodes" => {
                let devices = serde_json::from_value::<Devices>(told.clone()).unwrap_or_else(|_| panic!("{}", about()));
                assert!(devices.devices.iter().all(|device| !device.id.is_empty()), "{}", about());
            }
            STATUS_OK if method == "get_free_count" => assert!(told.is_u64(), "{}", about()),
            STATUS_OK => {}
            STATUS_ERROR => {
                let error =
                    serde_json::from_value::<DriverError>(told.clone()).unwrap_or_else(|_| panic!("{}", about()));
                assert!(!error.code.as_str().is_empty() && !error.message.is_empty(), "{}", about());
                assert_ne!(error.code.as_str(), "internal", "{}", about());
                let all = format!("{}{}", error.message, error.operator_message);
                assert!(!all.contains(char::is_control), "{}", about());
                assert!(bytes.windows(4).any(|window| window == b"4b1d") || !all.contains(TOKEN), "{}", about());
            }
            other => panic!("status {other}: {}", about()),
        }
        if method == "add_node" {
            // A server takes a device as often as it is told, so one call tells it at most once to each server.
            let told = locked(&ASKED).iter().filter(|request| request.starts_with(b"POST")).count();
            assert!(told <= 2 * 6, "{told}");
        }
    }
    for (_, _, _, message, _) in &*locked(&driven.services.logged) {
        assert!(!message.contains(TOKEN), "{message}");
    }
    locked(&ASKED).iter().for_each(|request| is_asked_well(request));
});
