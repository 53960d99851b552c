//! Messages to a worker, put together from their parts.

use serde_json::{Value, json};

/// A message that is only an action.
pub fn action(name: &str) -> Value {
    json!({ "hpcs_action": name })
}

/// An UPDATE with these load balancers.
pub fn of(load_balancers: Value) -> Value {
    json!({ "hpcs_action": "UPDATE", "loadBalancers": load_balancers })
}

/// A load balancer of an UPDATE.
pub fn load_balancer(protocol: &str, port: u16, nodes: Value) -> Value {
    json!({ "protocol": protocol, "port": port, "nodes": nodes })
}

/// A node on loopback.
pub fn node(id: &str, port: u16) -> Value {
    json!({ "id": id, "address": "127.0.0.1", "port": port })
}

/// The message with the value at a pointer replaced; null removes it.
pub fn with(mut message: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer into an object");
    let parent = message.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    if value.is_null() {
        parent.as_object_mut().expect("an object").remove(name);
    } else {
        parent[name] = value;
    }
    message
}
