//! What a JSON Schema asks of one value, in the operator's words.

use serde_json::Value;

/// How far `$ref` and alternatives are followed: a schema may contain itself.
const DEEPEST: usize = 4;

/// What a node of the schema `root` asks for; none where there are no plain words for it.
pub(super) fn expected(root: &Value, node: &Value) -> Option<String> {
    words(root, node, DEEPEST)
}

/// The texts that a node admits, where it admits nothing else.
pub(super) fn choices(node: &Value) -> Vec<String> {
    let texts = node["enum"].as_array().into_iter().flatten();
    texts.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// The node, or one that it leads to, is marked as never to be shown.
pub(super) fn is_secret(node: &Value) -> bool {
    node["writeOnly"] == true || node["x-capstan-secret"] == true || node["format"] == "password"
}

/// The node that the schema has for a key of the object node `object`, behind the `allOf` that carries a description.
pub(super) fn property<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let node = object["properties"].get(key)?;
    match node["allOf"].as_array().map(Vec::as_slice) {
        Some([only]) if node.get("type").is_none() => Some(only),
        _ => Some(node),
    }
}

/// What to do about a value that the keyword of a node refuses.
pub(super) fn remedy(keyword: &str, node: &Value, found: &Value) -> &'static str {
    if matches!(keyword, "enum" | "const") {
        return "choose one";
    }
    if is_secret(node) {
        return "name its place: { file = \"...\" }, { env = \"...\" } or { credential = \"...\" }";
    }
    match (keyword, node["type"].as_str(), found) {
        ("type", Some("integer" | "number"), Value::String(_)) => "write a number without quotes",
        ("type", Some("integer"), Value::Number(_)) => "write a whole number",
        ("type", Some("boolean"), Value::String(_)) => "write true or false without quotes",
        ("type", Some("string"), Value::Bool(_) | Value::Number(_)) => "write it in double quotes",
        ("type", Some("string"), Value::Array(_) | Value::Object(_)) => "write one text in double quotes",
        ("type", Some("array"), _) => "write it in square brackets",
        ("type", Some("object"), _) => "write it as a table of its own",
        ("type", ..) => "correct the value",
        (_, _, Value::Number(_)) => "correct the number",
        (_, _, Value::String(_)) => "correct the text",
        (_, _, Value::Array(_)) => "correct the list",
        (_, _, Value::Object(_)) => "correct the table",
        _ => "correct the value",
    }
}

fn words(root: &Value, node: &Value, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    if let Some(value) = node.get("const") {
        return Some(value.to_string());
    }
    if let Some(values) = node["enum"].as_array() {
        return any_of(values.iter().map(|value| Some(value.to_string())));
    }
    if is_secret(node) {
        return Some("a text or a reference to a secret".to_owned());
    }
    match &node["type"] {
        Value::String(name) => return of_type(name, node),
        Value::Array(names) => return any_of(names.iter().map(|name| of_type(name.as_str()?, node))),
        _ => {}
    }
    if let Some(target) = node["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        return words(root, root.pointer(target)?, depth);
    }
    if let Some(alternatives) = ["anyOf", "oneOf"].iter().find_map(|keyword| node[*keyword].as_array()) {
        return any_of(alternatives.iter().map(|node| words(root, node, depth)));
    }
    // The type stands elsewhere; a keyword tells which one it speaks of.
    let has = |keywords: &[&str]| keywords.iter().any(|keyword| node.get(keyword).is_some());
    let name = [
        ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"][..]),
        ("string", &["minLength", "maxLength", "pattern", "format"]),
        ("array", &["minItems", "maxItems"]),
        ("object", &["minProperties", "maxProperties"]),
    ]
    .into_iter()
    .find_map(|(name, keywords)| has(keywords).then_some(name))?;
    of_type(name, node)
}

fn any_of(alternatives: impl Iterator<Item = Option<String>>) -> Option<String> {
    let mut alternatives: Vec<String> = alternatives.collect::<Option<_>>()?;
    alternatives.dedup();
    (!alternatives.is_empty()).then(|| alternatives.join(" or "))
}

fn of_type(name: &str, node: &Value) -> Option<String> {
    // The driver's own words are plainer than its regular expression.
    if let Some(form) = node["x-capstan-form"].as_str().filter(|_| name == "string") {
        return Some(form.to_owned());
    }
    let mut text = match name {
        "array" => format!("a list{}", counted(node, "minItems", "maxItems", "entries")),
        "boolean" => "true or false".to_owned(),
        "integer" => format!("a whole number{}", bounds(node)),
        "null" => "nothing".to_owned(),
        "number" => format!("a number{}", bounds(node)),
        "object" => format!("a table{}", counted(node, "minProperties", "maxProperties", "keys")),
        "string" => format!("a text{}", counted(node, "minLength", "maxLength", "characters")),
        _ => return None,
    };
    let further = [
        ("string", "pattern", "that matches"),
        ("string", "format", "of the form"),
        ("number", "multipleOf", "divisible by"),
    ];
    for (of, keyword, relation) in further {
        let fits = of == name || (of, name) == ("number", "integer");
        if let Some(value) = node.get(keyword).filter(|_| fits) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text = format!("{text} {relation} {value}");
        }
    }
    Some(text)
}

/// ` from 0 to 65535`; a bound that 64 bits set anyway says nothing.
fn bounds(node: &Value) -> String {
    let bound = |keyword: &str, trivial: f64| node.get(keyword).filter(|value| value.as_f64() != Some(trivial));
    #[allow(clippy::cast_precision_loss)] // compared with a number that was rounded in the same way
    let (least, greatest) = (bound("minimum", i64::MIN as f64), bound("maximum", i64::MAX as f64));
    if let (Some(least), Some(greatest)) = (least, greatest) {
        return format!(" from {least} to {greatest}");
    }
    let parts = [
        least.map(|value| format!(" of at least {value}")),
        greatest.map(|value| format!(" of at most {value}")),
        node.get("exclusiveMinimum").map(|value| format!(" above {value}")),
        node.get("exclusiveMaximum").map(|value| format!(" below {value}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and")
}

fn counted(node: &Value, minimum: &str, maximum: &str, unit: &str) -> String {
    match (node[minimum].as_u64(), node[maximum].as_u64()) {
        (None, None) => String::new(),
        (Some(least), None) => format!(" of at least {least} {unit}"),
        (None, Some(most)) => format!(" of at most {most} {unit}"),
        (Some(least), Some(most)) => format!(" of {least} to {most} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::expected;

    #[test]
    fn what_schemas_ask_for_has_plain_words() {
        let root = json!({ "$defs": { "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
            "self": { "anyOf": [{ "$ref": "#/$defs/self" }, { "type": "string" }] } } });
        for (node, words) in [
            (json!({ "type": "boolean" }), "true or false"),
            (json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }), "a whole number of at least 0"),
            (json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }), "a whole number"),
            (json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1.5 }), "a number of at most 1.5 and above 0"),
            (json!({ "maximum": 7 }), "a number of at most 7"),
            (json!({ "type": "string", "minLength": 1, "maxLength": 8 }), "a text of 1 to 8 characters"),
            (json!({ "type": "string", "pattern": "^a+$" }), "a text that matches ^a+$"),
            (json!({ "type": "string", "pattern": "^a+$", "x-capstan-form": "one or more a" }), "one or more a"),
            (json!({ "type": ["string", "null"] }), "a text or nothing"),
            (json!({ "enum": ["a", "b", 3] }), "\"a\" or \"b\" or 3"),
            (json!({ "const": "x" }), "\"x\""),
            (json!({ "type": "array", "items": true, "minItems": 1 }), "a list of at least 1 entries"),
            (json!({ "type": "object" }), "a table"),
            (json!({ "$ref": "#/$defs/port" }), "a whole number from 1 to 65535"),
            (
                json!({ "anyOf": [{ "$ref": "#/$defs/port" }, { "type": "null" }] }),
                "a whole number from 1 to 65535 or nothing",
            ),
            (json!({ "type": "string", "writeOnly": true }), "a text or a reference to a secret"),
        ] {
            assert_eq!(expected(&root, &node).as_deref(), Some(words), "{node}");
        }
        for node in [json!(true), json!({ "not": {} }), json!({ "$ref": "#/$defs/self" }), json!({ "type": "melon" })] {
            assert_eq!(expected(&root, &node), None, "{node}");
        }
    }
}
