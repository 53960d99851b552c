//! The daemon's jobs.

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::{
    client::Ask,
    exit::{Failure, Outcome},
    output::{self, Output},
    place::Place,
    wait::{self, WaitOptions},
};

/// Which jobs are listed.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only those in this state
    #[arg(long, value_parser = ["queued", "running", "done", "failed", "cancelled"])]
    state: Option<String>,
    /// Only those of this kind
    #[arg(long, value_name = "KIND", value_parser = word)]
    kind: Option<String>,
    /// Only those about this object
    #[arg(long, value_name = "OBJECT", value_parser = word)]
    object: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// What stands in an address as it is.
fn word(text: &str) -> Result<String, String> {
    match text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~/:".contains(&byte)) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err("expected letters, digits and -_.~/: alone".to_owned()),
    }
}

/// Ids are ULIDs, or what a client chose.
fn path(id: &str) -> Result<String, Failure> {
    let plain = word(id).ok().filter(|id| !id.contains('/'));
    plain.map(|id| format!("/jobs/v1/jobs/{id}")).ok_or_else(|| {
        Failure::Usage(format!("found {id:?}; expected the id of a job, as `capstan job list` shows it"))
    })
}

pub(super) async fn list(place: &Place, filter: &Filter) -> Outcome {
    let mut query = format!("/jobs/v1/jobs?order=desc&limit={}", filter.limit);
    for (name, value) in [("state", &filter.state), ("kind", &filter.kind), ("object", &filter.object)] {
        query.extend(value.iter().map(|value| format!("&{name}={value}")));
    }
    let answer = place.daemon()?.get(&query).await?;
    if place.output == Output::Json {
        output::json(&answer);
        return Ok(());
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let jobs = answer["jobs"].as_array().into_iter().flatten();
    let rows = jobs.map(|job| {
        let attempts = match job["max_attempts"].as_u64() {
            Some(most) => format!("{}/{most}", job["attempt"]),
            None => job["attempt"].to_string(),
        };
        let said = if job["error"].is_null() { &job["progress"]["text"] } else { &job["error"] };
        vec![
            text(&job["id"]),
            text(&job["kind"]),
            text(&job["object"]),
            wait::state(job),
            attempts,
            text(&job["created"]),
            text(said),
        ]
    });
    output::table(&["ID", "KIND", "OBJECT", "STATE", "ATTEMPT", "CREATED", "SAID"], rows);
    if answer["next"].is_string() {
        output::note("there are older ones; --limit, --state, --kind and --object choose");
    }
    Ok(())
}

pub(super) async fn show(place: &Place, id: &str, options: WaitOptions) -> Outcome {
    let daemon = place.daemon()?;
    let job = daemon.get(&path(id)?).await?;
    match place.output {
        Output::Table if !options.wait => {
            output::json(&job);
            Ok(())
        }
        _ => wait::operation(place, &daemon, job, options, "done").await.map(drop),
    }
}

pub(super) async fn cancel(place: &Place, id: &str, reason: Option<&str>, options: WaitOptions) -> Outcome {
    let daemon = place.daemon()?;
    let body = json!({ "reason": reason });
    let job = daemon.ask(Ask::change(Method::POST, &format!("{}/cancel", path(id)?)).json(&body)).await?;
    wait::operation(place, &daemon, job, options, "cancelled").await.map(drop)
}

pub(super) async fn retry(place: &Place, id: &str, options: WaitOptions) -> Outcome {
    let daemon = place.daemon()?;
    let job = daemon.post(&format!("{}/retry", path(id)?)).await?;
    wait::operation(place, &daemon, job, options, "done").await.map(drop)
}
