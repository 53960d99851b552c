//! A load balancer: one specification, applied as often as one likes.

use std::net::TcpListener;

use capstan_plugin_api::{
    DriverError, ErrorCode,
    load_balancer::{Applied, Observed},
};
use serde_json::{Value, json};

use super::{Bench, Report, is, typed};

pub(super) const DEVICE: &str = "conformance";
pub(super) const ID: &str = "conformance";

/// A port of this machine that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_or(18_080, |address| address.port())
}

fn specification(generation: u64, port: u16) -> Value {
    let member = |number: u16| json!({ "id": format!("m{number}"), "address": "127.0.0.1", "port": 9_000 + number });
    json!({
        "device": DEVICE,
        "generation": generation,
        "idempotency_key": format!("conformance-{generation}"),
        "load_balancers": [{
            "id": ID,
            "generation": generation,
            "listeners": [{ "id": "http", "protocol": "HTTP", "port": port, "default_pool": "http" }],
            "pools": [{ "id": "http", "algorithm": "ROUND_ROBIN", "members": [member(1), member(2)] }],
        }],
    })
}

fn target(generation: u64) -> Value {
    json!({ "device": DEVICE, "load_balancer": ID, "generation": generation, "idempotency_key": format!("t-{generation}") })
}

/// Applies one HTTP load balancer with two members.
pub(super) async fn apply(bench: &Bench, generation: u64) -> Result<Value, DriverError> {
    bench.call("apply", &specification(generation, free_port())).await
}

pub(super) async fn check(bench: &Bench, report: &mut Report<'_>) {
    let port = free_port();
    let before = report.count(super::super::Verdict::Failed);
    report.judge("apply", applied(bench, port).await);
    if report.count(super::super::Verdict::Failed) > before {
        // Everything below stands on it.
        return;
    }
    report.judge("apply-again", again(bench, port).await);
    report.judge("older-generation", older(bench, port).await);
    report.judge("observe", observed(bench).await);
    report.judge("suspend-enable", suspended(bench).await);
    report.judge("reports", reports(bench).await);
    report.judge("delete", deleted(bench).await);
}

async fn apply_well(bench: &Bench, specification: &Value) -> Result<Applied, String> {
    let applied: Applied = typed(bench, "apply", specification).await?;
    match applied.load_balancers.first() {
        Some(result) if result.id == ID && result.error.is_none() => Ok(applied),
        Some(result) => Err(format!("apply answered {result:?} for the load balancer {ID}")),
        None => Err("apply answered no result for the load balancer".to_owned()),
    }
}

async fn applied(bench: &Bench, port: u16) -> Result<String, String> {
    let applied = apply_well(bench, &specification(2, port)).await?;
    Ok(format!("one HTTP load balancer with two members; by {:?}", applied.method))
}

async fn again(bench: &Bench, port: u16) -> Result<String, String> {
    apply_well(bench, &specification(2, port)).await.map_err(|said| format!("the same again: {said}"))?;
    Ok("applying it again is a success".to_owned())
}

async fn older(bench: &Bench, port: u16) -> Result<String, String> {
    let answer = bench.call("apply", &specification(1, port)).await;
    is(&answer, &[ErrorCode::CONFLICT])
        .map_err(|said| format!("an older generation must be a conflict, not {said}"))?;
    Ok("an older generation is a conflict".to_owned())
}

async fn observed(bench: &Bench) -> Result<String, String> {
    let observed: Observed = typed(bench, "observe", &json!({ "device": DEVICE })).await?;
    match observed.load_balancers.iter().find(|found| found.id == ID) {
        Some(found) => Ok(format!("it is observed, state {:?}, {} members", found.state, found.members.len())),
        None => Err(format!("{ID} was applied but is not observed: {observed:?}")),
    }
}

async fn suspended(bench: &Bench) -> Result<String, String> {
    for (generation, method) in (3..).zip(["suspend", "suspend", "enable", "enable"]) {
        is(&bench.call(method, &target(generation)).await, &[]).map_err(|said| format!("{method}: {said}"))?;
    }
    Ok("each twice, each a success".to_owned())
}

async fn reports(bench: &Bench) -> Result<String, String> {
    let mut shown = Vec::new();
    for method in ["status", "statistics", "validate"] {
        if bench.manifest().has(method) {
            let params = if method == "validate" { specification(9, free_port()) } else { json!({ "device": DEVICE }) };
            is(&bench.call(method, &params).await, &[]).map_err(|said| format!("{method}: {said}"))?;
            shown.push(method);
        }
    }
    Ok(if shown.is_empty() { "it reports nothing, which it need not".to_owned() } else { shown.join(", ") })
}

async fn deleted(bench: &Bench) -> Result<String, String> {
    let all = json!({ "device": DEVICE, "generation": 8, "idempotency_key": "d" });
    is(&bench.call("delete", &all).await, &[]).map_err(|said| format!("delete: {said}"))?;
    let observed = bench.call("observe", &json!({ "device": DEVICE })).await;
    let is_there =
        observed.as_ref().is_ok_and(|seen| seen["load_balancers"].as_array().is_some_and(|all| !all.is_empty()));
    if is_there {
        return Err("it is observed after it was deleted".to_owned());
    }
    match bench.call("delete", &all).await {
        Ok(_) => Ok("gone; deleting it again is a success".to_owned()),
        Err(error) if error.code == ErrorCode::NOT_FOUND => Ok("gone; deleting it again is not_found".to_owned()),
        Err(error) => Err(format!("deleting it again must be a success or not_found, not {}: {error}", error.code)),
    }
}
