//! A host of a few lines: opens a driver through its exported table and answers the services a driver asks for.
#![allow(unsafe_code, dead_code, reason = "a test is a host, and not every suite uses all of it")]
#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "part of a test")]

use std::{
    collections::{BTreeMap, HashSet},
    ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use capstan_plugin_api::{
    DriverError,
    abi::{self, Bytes, DriverTable, HostContext, HostTable, Instance, Reply},
};
use serde_json::{Value, json};

/// What the drivers of a test told it, and what it keeps for them.
#[derive(Default)]
pub struct Services {
    pub state: Mutex<BTreeMap<String, (Value, u64)>>,
    /// Service and parameters of each call that is not about state.
    pub called: Mutex<Vec<(String, Value)>>,
    /// Call id, level, target, message, fields.
    pub logged: Mutex<Vec<(u64, u32, String, String, String)>>,
    pub cancelled: Mutex<HashSet<u64>>,
    /// Services that were asked for, answered or not.
    pub asked: AtomicU64,
}

impl Services {
    fn answer(&self, service: &str, body: &[u8]) -> Result<Value, DriverError> {
        let params: Value = serde_json::from_slice(body).map_err(|e| DriverError::invalid_argument(e.to_string()))?;
        let key = params["key"].as_str().unwrap_or_default().to_owned();
        let mut state = self.state.lock().unwrap();
        match service {
            "state.get" => Ok(state
                .get(&key)
                .map_or(Value::Null, |(value, version)| json!({ "value": value, "version": version }))),
            "state.put" => {
                let version = state.get(&key).map_or(0, |(_, version)| *version);
                if params["expected"].as_u64().is_some_and(|expected| expected != version) {
                    return Err(DriverError::conflict(format!("{key} has version {version}")));
                }
                state.insert(key, (params["value"].clone(), version + 1));
                Ok(json!(version + 1))
            }
            "state.delete" => {
                state.remove(&key);
                Ok(Value::Null)
            }
            "metric" | "progress" | "notify" => {
                self.called.lock().unwrap().push((service.to_owned(), params));
                Ok(Value::Null)
            }
            other => Err(DriverError::not_supported(format!("the service {other}"))),
        }
    }
}

unsafe fn services<'a>(context: *mut HostContext) -> &'a Services {
    // SAFETY: `Driven` keeps the services for as long as the driver has the table.
    unsafe { &*context.cast::<Services>() }
}

unsafe extern "C" fn call(context: *mut HostContext, _call_id: u64, method: Bytes, body: Bytes) -> Reply {
    // SAFETY: lent for this call.
    let (services, method, body) = unsafe { (services(context), method.as_slice(), body.as_slice()) };
    services.asked.fetch_add(1, Ordering::Release);
    match services.answer(std::str::from_utf8(method).unwrap(), body) {
        Ok(value) => Reply::new(abi::STATUS_OK, serde_json::to_vec(&value).unwrap()),
        Err(error) => Reply::error(&error),
    }
}

unsafe extern "C" fn log(
    context: *mut HostContext,
    call_id: u64,
    level: u32,
    target: Bytes,
    message: Bytes,
    fields: Bytes,
) {
    // SAFETY: lent for this call.
    let (services, texts) =
        unsafe { (services(context), [target, message, fields].map(|text| text.as_slice().to_vec())) };
    let [target, message, fields] = texts.map(|text| String::from_utf8(text).unwrap());
    services.logged.lock().unwrap().push((call_id, level, target, message, fields));
}

unsafe extern "C" fn cancelled(context: *mut HostContext, call_id: u64) -> u32 {
    // SAFETY: as in `call`.
    unsafe { services(context) }.cancelled.lock().unwrap().contains(&call_id).into()
}

/// A driver that was opened. Calls may come from many threads; dropping it closes it.
pub struct Driven {
    table: DriverTable,
    instance: *mut Instance,
    pub services: Arc<Services>,
    host: Box<HostTable>,
    next_call: AtomicU64,
}

// SAFETY: the table's contract allows every function from any thread.
unsafe impl Send for Driven {}
// SAFETY: as above.
unsafe impl Sync for Driven {}

pub type Answer = (u32, Value);

fn read(reply: Reply) -> Answer {
    assert_eq!(reply.reserved, 0);
    // SAFETY: just made by the driver.
    let body = unsafe { reply.body.take() };
    (reply.status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

impl Driven {
    pub fn open(table: &DriverTable, config: &Value) -> Result<Self, Answer> {
        Self::open_with(table, config.to_string().as_bytes(), Arc::default())
    }

    pub fn open_with(table: &DriverTable, config: &[u8], services: Arc<Services>) -> Result<Self, Answer> {
        let host = Box::new(HostTable {
            magic: abi::MAGIC,
            epoch: abi::EPOCH,
            size: size_of::<HostTable>() as u32,
            context: Arc::as_ptr(&services).cast_mut().cast(),
            call,
            log,
            cancelled,
        });
        let mut instance = ptr::null_mut();
        // SAFETY: the table outlives the call, and `Driven` keeps it until `close`.
        let answer = read(unsafe { (table.open)(&*host, Bytes::of(config), &mut instance) });
        if answer.0 != abi::STATUS_OK {
            assert!(instance.is_null(), "a failed open leaves the instance alone");
            return Err(answer);
        }
        assert!(!instance.is_null());
        Ok(Self { table: *table, instance, services, host, next_call: AtomicU64::new(1) })
    }

    pub fn invoke(&self, method: &str, params: &Value) -> Answer {
        let request = json!({ "deadline_ms": 60_000, "request_id": "r \"1\"", "params": params });
        self.invoke_raw(method.as_bytes(), request.to_string().as_bytes())
    }

    /// The result of a call that must succeed.
    pub fn ok(&self, method: &str, params: &Value) -> Value {
        let (status, body) = self.invoke(method, params);
        assert_eq!(status, abi::STATUS_OK, "{method} {params}: {body}");
        body
    }

    /// The error code of a call that must fail.
    pub fn code(&self, method: &str, params: &Value) -> String {
        let (status, body) = self.invoke(method, params);
        assert_eq!(status, abi::STATUS_ERROR, "{method} {params}: {body}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        body["code"].as_str().unwrap().to_owned()
    }

    pub fn invoke_raw(&self, method: &[u8], body: &[u8]) -> Answer {
        self.invoke_as(self.next_call.fetch_add(1, Ordering::Relaxed), method, body)
    }

    pub fn invoke_as(&self, call_id: u64, method: &[u8], body: &[u8]) -> Answer {
        // SAFETY: the instance is open, the arguments live through the call.
        read(unsafe { (self.table.invoke)(self.instance, call_id, Bytes::of(method), Bytes::of(body)) })
    }

    /// As a host does it: first its own mark, then the driver.
    pub fn cancel(&self, call_id: u64) {
        self.services.cancelled.lock().unwrap().insert(call_id);
        // SAFETY: the instance is open.
        unsafe { (self.table.cancel)(self.instance, call_id) }
    }

    pub fn health(&self) -> Answer {
        // SAFETY: the instance is open.
        read(unsafe { (self.table.health)(self.instance) })
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // SAFETY: no call is out, as they borrow `self`.
        unsafe { (self.table.close)(self.instance) }
    }
}
