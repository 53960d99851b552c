//! What `apply` answered becomes the `condition` of each node and the outcome of the message.

use std::collections::{HashMap, HashSet};

use capstan_plugin_api::{
    DriverError,
    load_balancer::{Applied, ApplyRequest},
};
use serde_json::Value;

use super::{
    message::Object,
    reply::{Fault, Note, told},
};

const ENABLED: &str = "ENABLED";
const DISABLED: &str = "DISABLED";

/// The node lists of a reply: one for each load balancer, or the only one of a flat message.
pub(super) struct Nodes<'a>(Vec<&'a mut Vec<Value>>);

impl<'a> Nodes<'a> {
    /// Of libra's envelope.
    pub(super) fn of_envelope(message: &'a mut Object) -> Self {
        let entries = message.get_mut("loadBalancers").and_then(Value::as_array_mut);
        Self(entries.into_iter().flatten().filter_map(|entry| entry.get_mut("nodes")?.as_array_mut()).collect())
    }

    /// Of a flat message.
    pub(super) fn of_flat(message: &'a mut Object) -> Self {
        Self(message.get_mut("nodes").and_then(Value::as_array_mut).into_iter().collect())
    }

    /// Marks one node as refused.
    pub(super) fn disable(&mut self, list: usize, place: usize) {
        if let Some(node) = self.0.get_mut(list).and_then(|nodes| nodes.get_mut(place)) {
            mark(node, DISABLED);
        }
    }

    fn mark_all(&mut self, condition: &str) {
        self.0.iter_mut().flat_map(|nodes| nodes.iter_mut()).for_each(|node| mark(node, condition));
    }
}

fn mark(node: &mut Value, condition: &str) {
    if let Some(node) = node.as_object_mut() {
        node.insert("condition".to_owned(), Value::from(condition));
    }
}

/// Settles a message whose request went to the driver. `left_out` are the nodes that were not sent at all:
/// place and cause.
pub(super) fn settle(
    mut nodes: Nodes<'_>,
    request: &ApplyRequest,
    left_out: &[(usize, String)],
    answer: &Result<Applied, DriverError>,
) -> Result<Note, Fault> {
    let applied = match answer {
        Err(error) => return Err(nothing_changed(nodes, error)),
        Ok(applied) => applied,
    };
    if let Some(error) = applied.load_balancers.iter().find_map(|result| result.error.as_ref()) {
        return Err(nothing_changed(nodes, error));
    }
    let refused = applied.load_balancers.iter().flat_map(|one| one.members.iter().map(|member| (&one.id, member)));
    let mut first = None;
    let mut disabled: Vec<_> = left_out.iter().map(|(place, _cause)| (0, *place)).collect();
    if refused.clone().next().is_some() {
        let places = places(request, left_out);
        for (load_balancer, member) in refused {
            disabled.extend(places.get(&(load_balancer.as_str(), member.id.as_str())));
            first = first.or(Some(member));
        }
    }
    let stopped_at = first.filter(|_| !request.skip_refused_members);
    if stopped_at.is_none() {
        nodes.mark_all(ENABLED);
    }
    let count = disabled.len();
    disabled.into_iter().for_each(|(list, place)| nodes.disable(list, place));
    match stopped_at {
        None => {
            let cause = left_out.first().map(|(_place, cause)| cause.clone());
            let cause = cause.or_else(|| first.map(|member| member.error.to_string()));
            Ok(cause.map(|cause| format!("nodes left out: {count}, the first because: {cause}")))
        }
        Some(member) => Err(Fault::Fail {
            text: format!("Failure adding server {}: {}", member.id, told(&member.error)),
            operator: format!("{}: {}", member.error.code, member.error),
        }),
    }
}

/// The device stays as it was, so no node of the request takes traffic because of it.
fn nothing_changed(mut nodes: Nodes<'_>, error: &DriverError) -> Fault {
    nodes.mark_all(DISABLED);
    Fault::driver(error)
}

/// Where in the message each member stands: (list, place) by load balancer and member.
fn places<'a>(request: &'a ApplyRequest, left_out: &[(usize, String)]) -> HashMap<(&'a str, &'a str), (usize, usize)> {
    let left_out: HashSet<usize> = left_out.iter().map(|(place, _cause)| *place).collect();
    let mut places = HashMap::new();
    for (list, load_balancer) in request.load_balancers.iter().enumerate() {
        let members = load_balancer.pools.iter().flat_map(|pool| &pool.members);
        let sent = (0..).filter(|place| !left_out.contains(place));
        for (member, place) in members.zip(sent) {
            places.insert((load_balancer.id.as_str(), member.id.as_str()), (list, place));
        }
    }
    places
}
