//! A database server: made, started, stopped, each as often as one likes.

use serde_json::{Value, json};

use super::{Bench, Report, typed};

const SERVER: &str = "conformance";

pub(super) async fn check(bench: &Bench, report: &mut Report<'_>) {
    report.judge("initialise", initialised(bench).await);
    report.judge("start-stop", started(bench).await);
}

async fn state(bench: &Bench) -> Result<String, String> {
    let status: Value = typed(bench, "status", &json!({ "server": SERVER })).await?;
    status["state"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("status answered {status}, where `state` is a word"))
}

async fn initialised(bench: &Bench) -> Result<String, String> {
    let server = json!({ "server": SERVER, "server_id": 1, "generation": 1 });
    for time in ["initialise", "initialise again"] {
        typed::<Value>(bench, "initialise", &server).await.map_err(|said| format!("{time}: {said}"))?;
    }
    Ok(format!("twice, each a success; state {}", state(bench).await?))
}

async fn started(bench: &Bench) -> Result<String, String> {
    let server = json!({ "server": SERVER, "generation": 2 });
    let mut seen = Vec::new();
    for method in ["start", "start", "stop", "stop"] {
        typed::<Value>(bench, method, &server).await?;
        seen.push(state(bench).await?);
    }
    if seen[1] != "running" || seen[3] == "running" {
        return Err(format!("after start, start, stop and stop the states were {}", seen.join(", ")));
    }
    Ok(format!("each twice, each a success; states {}", seen.join(", ")))
}
