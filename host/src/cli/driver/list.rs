//! `capstan driver list`.

use serde_json::Value;

use crate::cli::{
    exit::Outcome,
    output::{self, Output, seconds},
    place::Place,
};

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
            vec![
                text(&driver["name"]),
                text(&driver["kind"]),
                text(&driver["state"]),
                text(&driver["version"]),
                text(&driver["isolation"]),
                driver["generation"].to_string(),
                driver["calls"].to_string(),
                errors.to_string(),
                seconds(driver["p50"].as_f64().unwrap_or(0.0)),
            ]
        })
        .collect();
    output::table(&["NAME", "KIND", "STATE", "VERSION", "ISOLATION", "GENERATION", "CALLS", "ERRORS", "P50"], rows);
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
