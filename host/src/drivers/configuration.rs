//! A driver's own section against the schema in its manifest.

use capstan_plugin_api::Manifest;
use jsonschema::ValidationError;
use serde_json::Value;

use super::error::{Failure, Stage, one_line};

/// All faults of a driver's section: JSON pointer into the section (empty for the section itself), and what is wrong. Values
/// are shown only where the schema cannot mean a secret.
pub fn schema_faults(manifest: &Manifest, config: &Value) -> Vec<(String, String)> {
    if manifest.config_schema.is_null() {
        return Vec::new();
    }
    match jsonschema::validator_for(&manifest.config_schema) {
        Ok(validator) => validator.iter_errors(config).map(|error| fault(&manifest.config_schema, &error)).collect(),
        Err(error) => vec![(String::new(), format!("the driver's schema itself is faulty: {}", error.masked()))],
    }
}

fn fault(schema: &Value, error: &ValidationError<'_>) -> (String, String) {
    let shown = !error.instance().is_object() && !error.instance().is_array() && !is_secret(schema, error);
    let text = if shown { error.to_string() } else { error.masked().to_string() };
    (error.instance_path().to_string(), one_line(&text))
}

/// A node on the way to the keyword that failed is marked as a secret.
fn is_secret(schema: &Value, error: &ValidationError<'_>) -> bool {
    let path = error.schema_path().to_string();
    let marked = |node: &Value| {
        let is_true = |key| node.get(key).and_then(Value::as_bool).unwrap_or(false);
        is_true("writeOnly")
            || is_true("x-capstan-secret")
            || node.get("format").and_then(Value::as_str) == Some("password")
    };
    path.match_indices('/')
        .map(|(end, _)| end)
        .chain([path.len()])
        .filter_map(|end| schema.pointer(path.get(..end)?))
        .any(marked)
        // A path through a reference cannot be followed here.
        || path.contains("$ref")
}

/// Stage configuration.
pub(super) fn check(manifest: &Manifest, config: &Value) -> Result<(), Failure> {
    let faults = schema_faults(manifest, config);
    if faults.is_empty() {
        return Ok(());
    }
    let place = |pointer: &str| if pointer.is_empty() { "config".to_owned() } else { format!("config{pointer}") };
    let list: Vec<String> = faults.iter().map(|(pointer, text)| format!("{}: {text}", place(pointer))).collect();
    Err(Failure::new(
        Stage::Configuration,
        list.join(", "),
        format!("what the schema of {} {} asks for", manifest.name, manifest.version),
        "correct these keys; `capstan driver info` shows the schema",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(schema: Value) -> Manifest {
        serde_json::from_value(json!({ "name": "a", "version": "1", "kind": "cloud", "interface": "cloud/1",
            "target": "x", "epoch": 1, "config_schema": schema }))
        .unwrap()
    }

    #[test]
    fn all_faults_are_listed_and_no_secret_is_shown() {
        let manifest = manifest(json!({ "type": "object", "additionalProperties": false, "required": ["region"],
            "properties": {
                "port": { "type": "integer", "maximum": 65535 },
                "region": { "type": "string" },
                "password": { "description": "x", "allOf": [{ "type": "string", "writeOnly": true }] },
                "keys": { "type": "array", "items": { "type": "string", "x-capstan-secret": true } } } }));
        let faults = schema_faults(
            &manifest,
            &json!({ "port": 70000, "password": 90210, "keys": ["a", 31337], "colour": "red" }),
        );
        let mut pointers: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["", "", "/keys/1", "/password", "/port"], "{faults:?}");
        let text = format!("{faults:?}");
        assert!(text.contains("70000") && text.contains("colour") && text.contains("region"), "{text}");
        assert!(!text.contains("90210") && !text.contains("31337"), "{text}");
        assert!(check(&manifest, &json!({ "region": "here", "password": "secret" })).is_ok());
    }

    #[test]
    fn a_faulty_schema_is_a_fault_and_none_admits_anything() {
        assert_eq!(schema_faults(&manifest(json!({ "type": "melon" })), &json!({})).len(), 1);
        assert!(schema_faults(&manifest(Value::Null), &json!({ "a": [1] })).is_empty());
    }
}
