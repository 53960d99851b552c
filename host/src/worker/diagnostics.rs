//! DIAGNOSTICS: what this node can reach.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};

use super::{Settings, message::Object, reply::set};
use crate::config::Endpoint;

/// Connects to every job server and target at the same time and writes `gearman` and `network`. `network` is PASS when at
/// least one target answers: targets are alternatives, and one that is down says nothing about this node.
pub(super) async fn run(settings: &Settings, reply: &mut Object) {
    let servers = &settings.job_servers;
    let targets = if settings.diagnostics_targets.is_empty() { servers } else { &settings.diagnostics_targets };
    let endpoints: HashSet<&Endpoint> = servers.iter().chain(targets).collect();
    let mut attempts = JoinSet::new();
    for endpoint in endpoints {
        attempts.spawn(reach(endpoint.clone(), settings.diagnostics_timeout));
    }
    let mut answers = HashMap::new();
    while let Some(attempt) = attempts.join_next().await {
        answers.extend(attempt.ok());
    }
    let answers_at = |endpoint: &Endpoint| answers.get(endpoint).copied().unwrap_or(false);
    let entries = servers.iter().map(|server| json!({ "host": server.host(), "status": word(answers_at(server)) }));
    let entries: Vec<Value> = entries.collect();
    let network = word(targets.iter().any(answers_at));
    set(reply, "gearman", entries);
    set(reply, "network", network);
}

async fn reach(endpoint: Endpoint, limit: Duration) -> (Endpoint, bool) {
    let attempt = TcpStream::connect((endpoint.host(), endpoint.port()));
    let answered = tokio::time::timeout(limit, attempt).await.is_ok_and(|connected| connected.is_ok());
    (endpoint, answered)
}

fn word(good: bool) -> &'static str {
    if good { "PASS" } else { "FAIL" }
}
