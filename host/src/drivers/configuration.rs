//! A driver's own section against the schema in its manifest.

use std::collections::BTreeSet;

use capstan_plugin_api::Manifest;
use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

use super::{
    error::{Failure, Stage, one_line},
    schema_words,
};
use crate::config::{Misfit, SchemaFault};

/// How many references and alternatives are followed, one behind the other.
const DEEPEST: usize = 8;

/// All faults of a driver's section. No value of the section is in them.
pub fn schema_faults(manifest: &Manifest, config: &Value) -> Vec<SchemaFault> {
    let schema = &manifest.config_schema;
    if schema.is_null() {
        return Vec::new();
    }
    let mut faults: Vec<SchemaFault> = match jsonschema::validator_for(schema) {
        Ok(validator) => validator.iter_errors(config).flat_map(|error| faults_of(schema, &error)).collect(),
        Err(error) => {
            let expected = format!("a JSON Schema ({})", one_line(&error.masked().to_string()));
            vec![SchemaFault { pointer: String::new(), expected, misfit: Misfit::FaultySchema }]
        }
    };
    // Two keywords that one value offends have the same words.
    faults.dedup();
    faults
}

fn faults_of(schema: &Value, error: &ValidationError<'_>) -> Vec<SchemaFault> {
    let place = error.instance_path().to_string();
    let below = |key: &str| format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
    // The node whose keyword failed.
    let keyword = error.schema_path().to_string();
    let node = keyword.rsplit_once('/').and_then(|(node, _)| schema.pointer(node)).unwrap_or(&Value::Null);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let keys = node["properties"].as_object();
            let known: Vec<String> = keys.into_iter().flat_map(|keys| keys.keys().cloned()).collect();
            let expected = match known.as_slice() {
                [] => "no keys at all".to_owned(),
                keys => format!("a key among {}", keys.join(", ")),
            };
            let fault = |key: &String| SchemaFault {
                pointer: below(key),
                expected: expected.clone(),
                misfit: Misfit::UnknownKey { known: known.clone() },
            };
            unexpected.iter().map(fault).collect()
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let wanted = schema_words::property(node, key).and_then(|node| schema_words::expected(schema, node));
            let expected = wanted.unwrap_or_else(|| "a value".to_owned());
            vec![SchemaFault { pointer: below(key), expected, misfit: Misfit::MissingKey }]
        }
        kind => {
            let expected = schema_words::expected(schema, node).unwrap_or_else(|| {
                format!("what the driver's schema asks for ({})", one_line(&error.masked().to_string()))
            });
            let choices = match kind {
                ValidationErrorKind::Enum { .. } => schema_words::choices(node),
                _ => Vec::new(),
            };
            let is_secret = is_secret(schema, &keyword);
            let remedy = schema_words::remedy(kind.keyword(), node, error.instance());
            vec![SchemaFault { pointer: place, expected, misfit: Misfit::Value { choices, is_secret, remedy } }]
        }
    }
}

/// The JSON pointers of all texts that the schema marks as secrets.
pub fn secret_texts(manifest: &Manifest, config: &Value) -> Vec<String> {
    let mut found = BTreeSet::new();
    let schema = &manifest.config_schema;
    gather_secrets(schema, schema, config, "", DEEPEST, &mut found);
    found.into_iter().collect()
}

/// `depth` bounds the steps that lead no deeper into the value, of which a schema may have a circle.
fn gather_secrets(
    root: &Value,
    node: &Value,
    value: &Value,
    pointer: &str,
    depth: usize,
    found: &mut BTreeSet<String>,
) {
    if value.is_string() && schema_words::is_secret(node) {
        found.insert(pointer.to_owned());
    }
    if let Some(depth) = depth.checked_sub(1) {
        let target = node["$ref"].as_str().and_then(|place| root.pointer(place.strip_prefix('#')?));
        let parts = ["allOf", "anyOf", "oneOf"].iter().filter_map(|keyword| node[*keyword].as_array()).flatten();
        for node in target.into_iter().chain(parts) {
            gather_secrets(root, node, value, pointer, depth, found);
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        let node = node["properties"].get(key).unwrap_or(&node["additionalProperties"]);
        gather_secrets(root, node, value, &below, DEEPEST, found);
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        gather_secrets(root, &node["items"], value, &format!("{pointer}/{index}"), DEEPEST, found);
    }
}

/// A node on the way to the keyword that failed is marked as a secret.
fn is_secret(schema: &Value, keyword: &str) -> bool {
    keyword
        .match_indices('/')
        .map(|(end, _)| end)
        .chain([keyword.len()])
        .filter_map(|end| schema.pointer(keyword.get(..end)?))
        .any(schema_words::is_secret)
        // A path through a reference cannot be followed here.
        || keyword.contains("$ref")
}

/// Stage configuration.
pub(super) fn check(manifest: &Manifest, config: &Value) -> Result<(), Failure> {
    let faults = schema_faults(manifest, config);
    if faults.is_empty() {
        return Ok(());
    }
    if let Some(fault) = faults.iter().find(|fault| fault.misfit == Misfit::FaultySchema) {
        return Err(Failure::new(
            Stage::Configuration,
            format!("a config_schema in the manifest of {} {} that is none", manifest.name, manifest.version),
            &fault.expected,
            "correct the driver's manifest, or ask its vendor",
        ));
    }
    let word = |fault: &SchemaFault| {
        let wrong = match &fault.misfit {
            Misfit::MissingKey => format!("missing: {}", fault.expected),
            Misfit::UnknownKey { .. } => "unknown".to_owned(),
            Misfit::FaultySchema | Misfit::Value { .. } => format!("not {}", fault.expected),
        };
        format!("{} ({wrong})", fault.key_below("config"))
    };
    let list: Vec<String> = faults.iter().map(word).collect();
    Err(Failure::new(
        Stage::Configuration,
        list.join(", "),
        format!("what the schema of {} {} asks for", manifest.name, manifest.version),
        "correct these keys; `capstan driver info` shows the schema, `capstan config check` the lines",
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
        let text = check(&manifest, &json!({ "port": 70000, "password": 90210, "colour": 1 })).unwrap_err().found;
        for fault in [
            "config.port (not a whole number of at most 65535)",
            "config.password (not a text or a reference to a secret)",
            "config.colour (unknown)",
            "config.region (missing: a text)",
        ] {
            assert!(text.contains(fault), "{fault}: {text}");
        }
        let secret = |fault: &SchemaFault| matches!(fault.misfit, Misfit::Value { is_secret: true, .. });
        let mut secrets: Vec<&str> = faults.iter().filter(|fault| secret(fault)).map(|fault| &*fault.pointer).collect();
        secrets.sort_unstable();
        assert_eq!(secrets, ["/keys/1", "/password"]);
        assert!(check(&manifest, &json!({ "region": "here", "password": "secret" })).is_ok());
    }

    #[test]
    fn texts_that_are_secrets_are_found_wherever_the_schema_hides_them() {
        let manifest = manifest(json!({ "$defs": { "key": { "type": "string", "writeOnly": true },
                "circle": { "anyOf": [{ "$ref": "#/$defs/circle" }, { "type": "string" }] } },
            "properties": {
                "plain": { "type": "string" },
                "round": { "$ref": "#/$defs/circle" },
                "maybe": { "anyOf": [{ "$ref": "#/$defs/key" }, { "type": "null" }] },
                "list": { "items": { "properties": { "a/b": { "$ref": "#/$defs/key" } } } },
                "by_name": { "additionalProperties": { "format": "password" } } } }));
        let config = json!({ "plain": "a", "round": "b", "maybe": "c", "list": [{}, { "a/b": "d" }], "by_name": { "x": "e", "y": 7 } });
        assert_eq!(secret_texts(&manifest, &config), ["/by_name/x", "/list/1/a~1b", "/maybe"]);
        assert!(secret_texts(&manifest, &json!({ "maybe": null })).is_empty());
    }

    #[test]
    fn a_faulty_schema_is_a_fault_and_none_admits_anything() {
        assert_eq!(schema_faults(&manifest(json!({ "type": "melon" })), &json!({})).len(), 1);
        assert!(schema_faults(&manifest(Value::Null), &json!({ "a": [1] })).is_empty());
    }
}
