//! `capstan driver list`.

use serde_json::Value;

use crate::cli::{
    exit::Outcome,
    output::{self, Output, seconds},
    place::Place,
};

const HEADINGS: [&str; 15] = [
    "NAME",
    "KIND",
    "STATE",
    "VERSION",
    "ISOLATION",
    "GENERATION",
    "SHA256",
    "CALLS",
    "ERRORS",
    "P50",
    "P99",
    "RUNNING",
    "WAITING",
    "RESTARTS",
    "LOST",
];

/// As many as tell two files apart; `driver info` shows all of them.
const HASH_DIGITS: usize = 12;

pub(super) async fn list(place: &Place) -> Outcome {
    let answer = place.daemon()?.get("/drivers/v1").await?;
    if place.output == Output::Json {
        output::json(&answer);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows: Vec<Vec<String>> = answer["drivers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|driver| {
            let errors: u64 =
                driver["errors"].as_object().map_or(0, |codes| codes.values().filter_map(Value::as_u64).sum());
            let time = |key: &str| seconds(driver[key].as_f64().unwrap_or(0.0));
            vec![
                text(&driver["name"]),
                text(&driver["kind"]),
                text(&driver["state"]),
                text(&driver["version"]),
                text(&driver["isolation"]),
                driver["generation"].to_string(),
                driver["sha256"].as_str().and_then(|hash| hash.get(..HASH_DIGITS)).unwrap_or("-").to_owned(),
                driver["calls"].to_string(),
                errors.to_string(),
                time("p50"),
                time("p99"),
                driver["in_flight"].to_string(),
                driver["queue"].to_string(),
                driver["restarts"].to_string(),
                driver["lost_threads"].to_string(),
            ]
        })
        .collect();
    output::table(&HEADINGS, rows);
    for driver in answer["drivers"].as_array().into_iter().flatten() {
        if let Some(error) = driver["last_error"].as_str() {
            output::note(&format!("{}: {error}", text(&driver["name"])));
        }
        if let Some(error) =
            driver["last_reload_error"].as_str().filter(|error| Some(*error) != driver["last_error"].as_str())
        {
            output::note(&format!("{}: the last reload was refused: {error}", text(&driver["name"])));
        }
    }
    Ok(())
}
