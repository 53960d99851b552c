//! UPDATE: the request becomes the device's specification.
//!
//! libra called its driver while it read the message, so a driver's refusal in the first load balancer came before a fault
//! of form in the second. Here the driver gets one call at the end; the same order comes from applying libra's rules for
//! each value where its driver call stood.

use capstan_plugin_api::load_balancer::{LoadBalancer, Monitor, Pool, Timeouts};
use serde_json::Value;

use super::{
    fields::{bounded, identifier, path, present, quoted},
    listeners::{Listeners, algorithm_of, listener},
    members::Members,
    message::{Object, kind},
    reply::Fault,
};

/// What a message asks of the device.
pub(super) struct Plan {
    /// The load balancers.
    pub(super) load_balancers: Vec<LoadBalancer>,
    /// Apply without the members that are refused.
    pub(super) skip_refused_members: bool,
    /// Nodes of the (only) list that were already refused.
    pub(super) refused: Vec<(usize, String)>,
}

/// A message that cannot be carried out, and the node (load balancer, place) at which that showed.
pub(super) struct Refusal {
    pub(super) fault: Fault,
    pub(super) node: Option<(usize, usize)>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, node: None }
    }
}

/// Reads libra's envelope.
pub(super) fn read(message: &Object) -> Result<Plan, Refusal> {
    let entries = list(message, "loadBalancers")?;
    let mut listeners = Listeners::default();
    let mut load_balancers = Vec::with_capacity(entries.len().min(16));
    for (index, entry) in entries.iter().enumerate() {
        load_balancers.push(load_balancer(index, entry, &mut listeners)?);
    }
    Ok(Plan { load_balancers, skip_refused_members: false, refused: Vec::new() })
}

/// A list that must be there.
pub(super) fn list<'a>(fields: &'a Object, name: &str) -> Result<&'a Vec<Value>, Fault> {
    match present(fields, name) {
        None => Err(Fault::missing(name)),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(Fault::fail(format!("'{name}' is a {}, a list is expected", kind(other)))),
    }
}

/// An object of a list.
pub(super) fn object<'a>(name: &str, index: usize, value: &'a Value) -> Result<&'a Object, Fault> {
    value
        .as_object()
        .ok_or_else(|| Fault::fail(format!("'{name}' entry {} is a {}, an object is expected", index + 1, kind(value))))
}

fn load_balancer(index: usize, entry: &Value, listeners: &mut Listeners) -> Result<LoadBalancer, Refusal> {
    let entry = object("loadBalancers", index, entry)?;
    let nodes = list(entry, "nodes")?;
    let name =
        present(entry, "protocol").ok_or_else(|| Fault::BadRequest("Missing required 'protocol' value.".to_owned()))?;
    let (protocol, port) = listeners.claim(name, present(entry, "port")).map_err(Fault::fail)?;
    let algorithm = algorithm_of(present(entry, "algorithm")).map_err(Fault::fail)?;
    let monitor = present(entry, "monitor").map(monitor).transpose()?;
    let (client_timeout_ms, timeouts) = timeouts(present(entry, "options"))
        .map_err(|cause| Fault::fail(format!("Failed to set timeout values: {cause}")))?;

    let mut members = Members::new(protocol);
    for (place, node) in nodes.iter().enumerate() {
        add_node(&mut members, place, node)
            .map_err(|refusal| Refusal { node: refusal.node.map(|(_, place)| (index, place)), ..refusal })?;
    }
    Ok(LoadBalancer {
        id: protocol.mode().to_owned(),
        generation: 0,
        name: present(entry, "name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        admin_state: capstan_plugin_api::load_balancer::AdminState::Up,
        listeners: vec![listener(protocol, port, client_timeout_ms)],
        pools: vec![Pool {
            id: protocol.mode().to_owned(),
            algorithm,
            members: members.into_list(),
            monitor,
            persistence: None,
            timeouts,
        }],
    })
}

fn add_node(members: &mut Members, place: usize, node: &Value) -> Result<(), Refusal> {
    let node = object("nodes", place, node)?;
    let field = |name: &str| {
        present(node, name)
            .filter(|value| name != "id" || value.as_str() != Some(""))
            .ok_or_else(|| Fault::BadRequest(format!("Missing node '{name}'")))
    };
    let (port, address, id) = (field("port")?, field("address")?, field("id")?);
    identifier(id).and_then(|id| members.add(id, node, address, port)).map_err(|cause| Refusal {
        fault: Fault::fail(format!("Failure adding server {}: {cause}", quoted(id))),
        node: Some((0, place)),
    })
}

/// Reads a monitor. Its four values must be there; a null one means the default, as it did to libra's driver.
fn monitor(value: &Value) -> Result<Monitor, Fault> {
    let monitor = value
        .as_object()
        .ok_or_else(|| Fault::fail(format!("'monitor' is a {}, an object is expected", kind(value))))?;
    for name in ["type", "delay", "timeout", "attempts"] {
        if !monitor.contains_key(name) {
            return Err(Fault::BadRequest(format!("Missing monitor value '{name}'")));
        }
    }
    accepted_monitor(monitor).map_err(Fault::fail)
}

fn accepted_monitor(monitor: &Object) -> Result<Monitor, String> {
    let given = monitor.get("type").unwrap_or(&Value::Null);
    let kind = ["CONNECT", "HTTP"]
        .into_iter()
        .find(|known| given.as_str().is_some_and(|name| name.eq_ignore_ascii_case(known)))
        .ok_or_else(|| format!("Invalid monitor type: {}", quoted(given)))?;
    let number = |name: &str| present(monitor, name).map(|value| bounded(name, value, 1)).transpose();
    let delay_s = number("delay")?.unwrap_or(30);
    let attempts = number("attempts")?.unwrap_or(2);
    let timeout_s = number("timeout")?.unwrap_or(delay_s);
    if timeout_s > delay_s {
        return Err("Timeout cannot be greater than delay".to_owned());
    }
    let path = path(present(monitor, "path"))?;
    Ok(Monitor {
        kind: kind.to_owned(),
        delay_s,
        timeout_s,
        rise: attempts,
        fall: attempts,
        // A connection has no path; one that was sent is checked and goes no further.
        path: (kind == "HTTP").then_some(path),
    })
}

/// Reads `options`: the client's time limit, and those towards the members. What is absent is the driver's default, and so is
/// a time limit of 0: libra's API side shows it as the default, while HAProxy would wait for ever.
fn timeouts(value: Option<&Value>) -> Result<(Option<u32>, Timeouts), String> {
    let options = match value {
        None => return Ok((None, Timeouts::default())),
        Some(Value::Object(options)) => options,
        Some(other) => return Err(format!("'options' is a {}, an object is expected", kind(other))),
    };
    let number = |name: &str| present(options, name).map(|value| bounded(name, value, 0)).transpose();
    let limit = |name: &str| Ok::<_, String>(number(name)?.filter(|ms| *ms > 0));
    let client_ms = limit("client_timeout")?;
    let timeouts = Timeouts {
        server_ms: limit("server_timeout")?,
        connect_ms: limit("connect_timeout")?,
        retries: number("connect_retries")?,
    };
    Ok((client_ms, timeouts))
}
