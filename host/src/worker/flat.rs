//! The flat message of the first generation: one protocol, its nodes at the top, refused nodes are left out.

use capstan_plugin_api::load_balancer::{AdminState, LoadBalancer, Pool, Timeouts};
use serde_json::Value;

use super::{
    MessageForm,
    fields::present,
    listeners::{Listeners, algorithm_of, listener},
    members::Members,
    message::Object,
    reply::Fault,
    update::{Plan, list, object},
};

/// Whether the message is a flat one. Without the setting its shape tells; names at the top of a flat message may be in any
/// case, so `nodes` is looked for in any case too. An action that the first generation did not have is never flat: there
/// `nodes` is an extra field like any other.
pub(super) fn is_flat(message: &Object, form: MessageForm) -> bool {
    let is_later_action = |action: &str| {
        ["DISCOVER", "ARCHIVE", "STATS", "METRICS", "DIAGNOSTICS"].iter().any(|name| name.eq_ignore_ascii_case(action))
    };
    form == MessageForm::Seed
        || (!message.contains_key("loadBalancers")
            && message.keys().any(|name| name.eq_ignore_ascii_case("nodes"))
            && !message.get("hpcs_action").and_then(Value::as_str).is_some_and(is_later_action))
}

/// Reads a flat message whose names are in lower case. Its nodes have no ids, so they get their place, counted from 1, as
/// the servers of the first generation were named.
pub(super) fn read(message: &Object) -> Result<Plan, Fault> {
    let nodes = list(message, "nodes")?;
    let default = Value::from("http");
    let (protocol, port) = Listeners::default()
        .claim(present(message, "protocol").unwrap_or(&default), present(message, "port"))
        .map_err(Fault::fail)?;
    let algorithm = algorithm_of(present(message, "algorithm")).map_err(Fault::fail)?;

    let mut members = Members::new(protocol);
    let mut refused = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let node = object("nodes", place, node)?;
        let field =
            |name: &str| present(node, name).ok_or_else(|| Fault::BadRequest(format!("Missing '{name}' element.")));
        let (port, address) = (field("port")?, field("address")?);
        if let Err(cause) = members.add((place + 1).to_string(), node, address, port) {
            refused.push((place, cause));
        }
    }
    let load_balancer = LoadBalancer {
        id: protocol.mode().to_owned(),
        generation: 0,
        name: String::new(),
        admin_state: AdminState::Up,
        listeners: vec![listener(protocol, port, None)],
        pools: vec![Pool {
            id: protocol.mode().to_owned(),
            algorithm,
            members: members.into_list(),
            monitor: None,
            persistence: None,
            timeouts: Timeouts::default(),
        }],
    };
    Ok(Plan { load_balancers: vec![load_balancer], skip_refused_members: true, refused })
}
