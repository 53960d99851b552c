//! `capstan explain`: everything about one object: what is wanted, what is seen just now, what is at work, what happens next.

use serde_json::Value;

use super::{
    exit::Outcome,
    output::{self, Output},
    place::{Place, runtime},
    wait,
};

/// Asks and prints.
pub fn run(place: &Place, id: &str) -> Outcome {
    let path = format!("/pool/v1/explain/{}", output::segment(id));
    let told = runtime()?.block_on(async { place.daemon()?.get(&path).await })?;
    match place.output {
        Output::Json => output::json(&told),
        Output::Table => tell(&told, ""),
    }
    Ok(())
}

fn tell(told: &Value, indent: &str) {
    let line = |heading: &str, text: &str| output::line(&format!("{indent}{heading:<10} {text}"));
    line(&output::text(&told["object"]), &output::text(&told["name"]));
    line("desired", &fields(&told["desired"]));
    for seen in told["observed"].as_array().into_iter().flatten() {
        let what = match (seen["error"].as_str(), &seen["what"]) {
            (Some(error), _) => format!("could not be asked: {error}"),
            (None, Value::Null) => "does not have it".to_owned(),
            (None, what) => fields(what),
        };
        line("observed", &format!("by {}: {what}", output::text(&seen["by"])));
    }
    if let job @ Value::Object(_) = &told["job"] {
        let (id, kind) = (output::text(&job["id"]), output::text(&job["kind"]));
        line("job", &format!("{id} {kind}, {}, attempt {}", wait::state(job), job["attempt"]));
    }
    if let Some(error) = told["last_error"].as_str() {
        line("error", error);
    }
    if let hold @ Value::Object(_) = &told["hold"] {
        let (scope, by) = (output::text(&hold["scope"]), output::text(&hold["by"]));
        line(
            "held",
            &format!("{scope}, by {by} since {}: {}", output::text(&hold["at"]), output::text(&hold["reason"])),
        );
    }
    let at = told["next"]["at"].as_str().map(|at| format!(", at {at}")).unwrap_or_default();
    line("next", &format!("{}{at}", output::text(&told["next"]["what"])));
    for event in told["events"].as_array().into_iter().flatten() {
        line(
            "event",
            &format!("{} {} {}", output::text(&event["at"]), output::text(&event["kind"]), fields(&event["detail"])),
        );
    }
    if let about @ Value::Object(_) = &told["about"] {
        output::line(&format!("{indent}about"));
        tell(about, &format!("{indent}  "));
    }
}

/// An object on one line, without what it does not say.
fn fields(value: &Value) -> String {
    let Value::Object(fields) = value else { return output::text(value) };
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let said = fields.iter().filter(|(_, value)| is_said(value));
    let said: Vec<_> = said.map(|(name, value)| format!("{name}={}", output::text(value))).collect();
    if said.is_empty() { "-".to_owned() } else { said.join(" ") }
}
