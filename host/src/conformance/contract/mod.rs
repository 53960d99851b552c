//! What the kinds promise: one file for each.

mod cloud;
mod database;
mod load_balancer;
mod mgm;

use capstan_plugin_api::{DriverError, ErrorCode};
use serde_json::{Value, json};

use super::{
    Report, Subject,
    bench::{Bench, is_for_want_of_a_backend},
    methods::reading,
};
use crate::drivers::Kind;

/// The contract of the driver's kind.
pub(super) async fn check(subject: &Subject, bench: &Bench, report: &mut Report<'_>) {
    if !subject.is_live {
        return report.skip(
            "contract",
            "calls that change something are made with --live only, which names a configuration for it",
        );
    }
    let (method, params) = reading(bench.kind());
    if let Err(error) = bench.call(method, &params).await
        && is_for_want_of_a_backend(&error)
    {
        return report.fail(
            "contract",
            format!("{method}: {}: {error}; the configuration of --live must lead to a backend", error.code),
        );
    }
    match bench.kind() {
        Kind::Cloud => cloud::check(bench, report).await,
        Kind::Database => database::check(bench, report).await,
        Kind::LoadBalancer => load_balancer::check(bench, report).await,
        Kind::Mgm => mgm::check(bench, report).await,
    }
}

/// Something that one instance has made; none where the kind has no such thing.
pub(super) async fn leave_a_trace(bench: &Bench) -> Option<Result<String, DriverError>> {
    match bench.kind() {
        Kind::Cloud => Some(cloud::create(bench).await.map(|node| node.id)),
        Kind::LoadBalancer => Some(load_balancer::apply(bench, 1).await.map(|_| load_balancer::ID.to_owned())),
        Kind::Database | Kind::Mgm => None,
    }
}

/// Whether an instance sees what another has made.
pub(super) async fn sees(bench: &Bench, trace: &str) -> bool {
    let seen = match bench.kind() {
        Kind::Cloud => bench.call("list_nodes", &json!({})).await,
        Kind::LoadBalancer => bench.call("observe", &json!({ "device": load_balancer::DEVICE })).await,
        Kind::Database | Kind::Mgm => return false,
    };
    let key = if bench.kind() == Kind::Cloud { "items" } else { "load_balancers" };
    seen.is_ok_and(|seen| seen[key].as_array().is_some_and(|items| items.iter().any(|item| item["id"] == trace)))
}

/// Takes it away again.
pub(super) async fn remove_the_trace(bench: &Bench, trace: &str) {
    let _best_effort = match bench.kind() {
        Kind::Cloud => bench.call("destroy_node", &json!({ "id": trace })).await,
        _ => bench.call("delete", &json!({ "device": load_balancer::DEVICE, "generation": 9 })).await,
    };
}

/// A success, or a refusal of the wanted code; else what was said instead.
fn is(answer: &Result<Value, DriverError>, wanted: &[ErrorCode]) -> Result<(), String> {
    match answer {
        Err(error) if wanted.contains(&error.code) => Ok(()),
        Err(error) => Err(format!("{}: {error}", error.code)),
        Ok(_) if wanted.is_empty() => Ok(()),
        Ok(_) => Err("a success".to_owned()),
    }
}

/// A call that must succeed with a body of this type.
async fn typed<T: serde::de::DeserializeOwned>(bench: &Bench, method: &str, params: &Value) -> Result<T, String> {
    let answer = bench.call(method, params).await.map_err(|error| format!("{method}: {}: {error}", error.code))?;
    serde_json::from_value(answer.clone())
        .map_err(|error| format!("{method} answered {answer}, which is not of its type: {error}"))
}
