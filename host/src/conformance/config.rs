//! A configuration for a driver that was given none: what its schema demands, and a mark in the place of each secret.

use serde_json::{Map, Value, json};

use super::{Declared, Subject, secrets::MARK};

/// The configuration to open the driver with.
pub(super) fn of(subject: &Subject, declared: Option<&Declared>) -> Value {
    let given = &subject.entry.config;
    let is_given = given.as_object().is_some_and(|table| !table.is_empty());
    let Some(declared) = declared.filter(|_| !is_given) else { return given.clone() };
    let mut config = demanded(&declared.manifest.config_schema);
    for secret in &declared.manifest.secrets {
        mark(&mut config, &declared.manifest.config_schema, secret);
    }
    config
}

/// The least that a schema takes.
fn demanded(schema: &Value) -> Value {
    let inner = ["allOf", "anyOf", "oneOf"].iter().find_map(|of| schema.get(of)?.get(0));
    if let Some(inner) = inner.filter(|_| schema.get("type").is_none()) {
        return demanded(inner);
    }
    if let Some(value) = schema.get("default").or_else(|| schema.get("const")) {
        return value.clone();
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("string") => json!(MARKED_TEXT),
        Some("object") | None => {
            let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let table: Map<String, Value> = names
                .filter_map(Value::as_str)
                .map(|name| {
                    let of = schema.pointer(&format!("/properties/{name}")).unwrap_or(&Value::Null);
                    (name.to_owned(), demanded(of))
                })
                .collect();
            Value::Object(table)
        }
        Some(_) => Value::Null,
    }
}

/// Stands where a text is demanded: no host of this name exists (RFC 6761).
const MARKED_TEXT: &str = "conformance.invalid";

/// Puts the mark where a secret of plain tables belongs; one inside a list or a free table has no place yet.
fn mark(config: &mut Value, schema: &Value, secret: &str) {
    let (mut place, mut of) = (config, schema);
    let mut parts = secret.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some(next) = of.pointer(&format!("/properties/{part}")) else { return };
        let Value::Object(table) = place else { return };
        if parts.peek().is_none() {
            table.insert(part.to_owned(), json!(MARK));
            return;
        }
        place = table.entry(part.to_owned()).or_insert_with(|| demanded(next));
        of = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_demanded_is_there_and_secrets_are_marked() {
        let schema = json!({
            "type": "object", "required": ["url", "port", "mode", "auth", "wrapped"],
            "properties": {
                "url": { "type": "string" }, "port": { "type": "integer", "minimum": 7 }, "mode": { "enum": ["a", "b"] },
                "note": { "type": "string" }, "wrapped": { "allOf": [{ "type": "string" }], "description": "x" },
                "auth": { "type": "object", "required": ["user"], "properties": { "user": { "type": "string" }, "password": { "type": "string" } } },
            },
        });
        let mut config = demanded(&schema);
        mark(&mut config, &schema, "auth.password");
        mark(&mut config, &schema, "nowhere.at_all");
        assert_eq!(
            config,
            json!({ "url": MARKED_TEXT, "port": 7, "mode": "a", "auth": { "user": MARKED_TEXT, "password": MARK }, "wrapped": MARKED_TEXT })
        );
        assert!(jsonschema::is_valid(&schema, &config));
    }
}
