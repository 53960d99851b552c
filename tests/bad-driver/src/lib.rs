//! One load balancer driver for all kinds of misbehaviour.
//!
//! The configuration chooses what each entry does: `{ "open": B, "health": B, "cancel": B, "close": B, "invoke": B }`, where
//! `invoke` may also be an object from method to B; `params.misbehave` of a request goes before it. What a B can be stands in
//! `behaviour.rs`. The table is made by hand, because the attribute's would catch half of this.
//!
//! What happens before there is a configuration is chosen in the file: the bytes after `CAPSTAN-BAD-ENTRY=` say what
//! `capstan_driver_epoch_1` does, and `describe` answers a copy of the manifest, so that patching the section makes it lie.
#![allow(unsafe_code, clippy::missing_safety_doc, reason = "misbehaving is what it is for")]

mod behaviour;
mod entry;
mod process;

use capstan_plugin_api::{
    DriverError,
    abi::{self, Bytes, HostTable, Reply},
};
use serde_json::{Value, json};

/// An open instance: where the host is, and what to do.
struct Bad {
    host: HostTable,
    config: Value,
    calls: std::sync::atomic::AtomicU64,
}

impl Bad {
    /// The behaviour of an entry that the configuration names.
    fn chosen(&self, entry: &str) -> String {
        self.config[entry].as_str().unwrap_or("good").to_owned()
    }

    fn chosen_for(&self, method: &str, request: &Value) -> String {
        let configured = &self.config["invoke"];
        let configured = if configured.is_object() { &configured[method] } else { configured };
        let asked = request["params"]["misbehave"].as_str();
        asked.or(configured.as_str()).unwrap_or("good").to_owned()
    }
}

unsafe extern "C" fn open(host: *const HostTable, config: Bytes, instance: *mut *mut abi::Instance) -> Reply {
    // SAFETY: the host lends both for the call.
    let (host, config) = unsafe { (*host, config.as_slice()) };
    let config = serde_json::from_slice(config).unwrap_or(Value::Null);
    let bad = Box::new(Bad { host, config, calls: 0.into() });
    let chosen = bad.chosen("open");
    let reply = behaviour::run(&bad, 0, &chosen, || json!(null));
    if reply.status == abi::STATUS_OK && chosen != "null_instance" {
        // SAFETY: the host lends the place for the call.
        unsafe { *instance = Box::into_raw(bad).cast() };
    }
    reply
}

unsafe fn bad<'a>(instance: *mut abi::Instance) -> &'a Bad {
    // SAFETY: the host passes what `open` gave.
    unsafe { &*instance.cast::<Bad>() }
}

unsafe extern "C" fn invoke(instance: *mut abi::Instance, call_id: u64, method: Bytes, body: Bytes) -> Reply {
    // SAFETY: the host lends both for the call.
    let (bad, method, body) = unsafe { (bad(instance), method.as_slice(), body.as_slice()) };
    let method = String::from_utf8_lossy(method);
    let request = serde_json::from_slice(body).unwrap_or(Value::Null);
    behaviour::run(bad, call_id, &bad.chosen_for(&method, &request), || good(&method, &request["params"]))
}

/// What a driver that balances nothing answers.
fn good(method: &str, params: &Value) -> Value {
    let ids = params["load_balancers"].as_array().into_iter().flatten().map(|one| json!({ "id": one["id"] }));
    match method {
        "observe" => json!({ "generation": 0, "load_balancers": [] }),
        "status" => json!({ "members": [] }),
        "validate" => json!({ "load_balancers": ids.collect::<Vec<_>>() }),
        _ => json!({ "load_balancers": ids.collect::<Vec<_>>(), "method": "none" }),
    }
}

unsafe extern "C" fn cancel(instance: *mut abi::Instance, call_id: u64) {
    // SAFETY: as in `bad`.
    let bad = unsafe { bad(instance) };
    let reply = behaviour::run(bad, call_id, &bad.chosen("cancel"), || json!(null));
    // SAFETY: made just now.
    drop(unsafe { reply.body.take() });
}

unsafe extern "C" fn health(instance: *mut abi::Instance) -> Reply {
    // SAFETY: as in `bad`.
    let bad = unsafe { bad(instance) };
    behaviour::run(bad, 0, &bad.chosen("health"), || json!({ "message": "" }))
}

unsafe extern "C" fn close(instance: *mut abi::Instance) {
    // SAFETY: the host passes what `open` gave, once.
    let bad = unsafe { Box::from_raw(instance.cast::<Bad>()) };
    let reply = behaviour::run(&bad, 0, &bad.chosen("close"), || json!(null));
    // SAFETY: made just now.
    drop(unsafe { reply.body.take() });
}

fn error(code: &str, message: &str) -> Reply {
    let error = json!({ "code": code, "message": message });
    let error: DriverError = serde_json::from_value(error).unwrap_or_else(|_| DriverError::internal(message));
    Reply::error(&error)
}
