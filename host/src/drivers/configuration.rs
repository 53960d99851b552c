//! A driver's own section against the schema in its manifest.

use capstan_plugin_api::Manifest;
use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value;

use super::error::{Failure, Stage, one_line};

/// What is wrong with one place of a driver's section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFinding {
    /// JSON pointer into the section; empty for the section itself. A key that is missing or unknown is pointed at.
    pub pointer: String,
    /// The whole in the validator's words. A value is shown only where the schema cannot mean a secret.
    pub text: String,
    /// What was expected there.
    pub expected: String,
    /// The keys that could stand there, where an unknown one does; else empty.
    pub known_keys: Vec<String>,
}

/// All faults of a driver's section.
pub fn schema_faults(manifest: &Manifest, config: &Value) -> Vec<SchemaFinding> {
    let schema = &manifest.config_schema;
    if schema.is_null() {
        return Vec::new();
    }
    match jsonschema::validator_for(schema) {
        Ok(validator) => validator.iter_errors(config).flat_map(|error| findings(schema, &error)).collect(),
        Err(error) => {
            let text = format!("the driver's schema itself is faulty: {}", error.masked());
            vec![SchemaFinding { pointer: String::new(), expected: text.clone(), text, known_keys: Vec::new() }]
        }
    }
}

fn findings(schema: &Value, error: &ValidationError<'_>) -> Vec<SchemaFinding> {
    let shown = !error.instance().is_object() && !error.instance().is_array() && !is_secret(schema, error);
    let text = one_line(&if shown { error.to_string() } else { error.masked().to_string() });
    let place = error.instance_path().to_string();
    let below = |key: &str| format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let path = error.schema_path().to_string();
            let object = path.rsplit_once('/').and_then(|(object, _)| schema.pointer(object));
            let keys = object.and_then(|object| object["properties"].as_object());
            let known_keys: Vec<String> = keys.into_iter().flat_map(|keys| keys.keys().cloned()).collect();
            let expected = match known_keys.as_slice() {
                [] => "no keys at all".to_owned(),
                keys => format!("a key among {}", keys.join(", ")),
            };
            let found = unexpected.iter().map(|key| SchemaFinding {
                pointer: below(key),
                text: format!("'{}' was unexpected", one_line(key)),
                expected: expected.clone(),
                known_keys: known_keys.clone(),
            });
            found.collect()
        }
        ValidationErrorKind::Required { property } => {
            let pointer = property.as_str().map_or_else(|| place.clone(), below);
            vec![SchemaFinding {
                pointer,
                text,
                expected: "a value: the key is required".into(),
                known_keys: Vec::new(),
            }]
        }
        ValidationErrorKind::Type { kind } => {
            let types: Vec<String> = match kind {
                TypeKind::Single(one) => vec![one.to_string()],
                TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect(),
            };
            let expected = format!("a value of type {}", types.join(" or "));
            vec![SchemaFinding { pointer: place, text, expected, known_keys: Vec::new() }]
        }
        _ => vec![SchemaFinding { pointer: place, expected: text.clone(), text, known_keys: Vec::new() }],
    }
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
    let list: Vec<String> = faults.iter().map(|fault| format!("{}: {}", place(&fault.pointer), fault.text)).collect();
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
        let mut pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/colour", "/keys/1", "/password", "/port", "/region"], "{faults:?}");
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
