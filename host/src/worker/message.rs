//! From payload to message: the guards before anything is read, and the hiding of tokens.

use serde_json::{Map, Value};

use super::Settings;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// The field whose value is never shown.
pub(super) const TOKEN: &str = "hpcs_object_store_token";

/// What stands in its place.
const MASK: &str = "*****";

/// Different tokens that are looked for in a text; a message that has more gets no texts. An honest one has one.
const MOST_TOKENS: usize = 16;

/// A message whose tokens are already hidden; only `token` still has the one that ARCHIVE needs.
pub(super) struct Message {
    /// All fields, which become the reply.
    pub(super) fields: Object,
    /// The token at the top as it came.
    pub(super) token: Option<Value>,
    /// All tokens, each once, the longest first.
    hidden: Vec<String>,
}

impl Message {
    /// Reads a payload.
    ///
    /// # Errors
    /// Why it is no message, in words that quote nothing from it.
    pub(super) fn read(payload: &[u8], settings: &Settings) -> Result<Self, String> {
        if payload.len() > settings.max_message_bytes {
            return Err(format!(
                "the payload has {} bytes, at most {} are read (worker.max_message_bytes)",
                payload.len(),
                settings.max_message_bytes
            ));
        }
        if nests_deeper_than(settings.max_depth, payload) {
            return Err(format!(
                "the payload nests deeper than {} lists and objects (worker.max_depth)",
                settings.max_depth
            ));
        }
        match serde_json::from_slice(payload) {
            Ok(Value::Object(mut fields)) => {
                let token = fields.get(TOKEN).filter(|token| !token.is_null()).cloned();
                let mut hidden = Vec::new();
                hide(&mut fields, &mut hidden);
                hidden.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
                hidden.dedup();
                Ok(Self { fields, token, hidden })
            }
            Ok(other) => Err(format!("the payload is a JSON {}, a message is an object", kind(&other))),
            Err(fault) => Err(format!("the payload is no JSON: {fault}")),
        }
    }

    /// The text without any token of this message, for what a driver said. One pass: replacing token after token would find
    /// tokens in what replaced the one before, and a client that sends `*` many times would fill the memory.
    pub(super) fn redact(&self, text: &str) -> String {
        if self.hidden.len() > MOST_TOKENS {
            return MASK.to_owned();
        }
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            match self.hidden.iter().find(|token| rest.starts_with(token.as_str())) {
                Some(token) => {
                    clean.push_str(MASK);
                    rest = &rest[token.len()..];
                }
                None => {
                    clean.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        clean
    }

    /// Lower-cases the names of the fields at the top; of two that become equal the later in alphabetical order stays.
    pub(super) fn lower_keys(&mut self) {
        self.fields =
            std::mem::take(&mut self.fields).into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    }
}

/// Hides tokens at any depth and in any spelling: an extra field is echoed, and nothing says where a client puts it.
fn hide(fields: &mut Object, hidden: &mut Vec<String>) {
    for (name, value) in fields.iter_mut() {
        if name.eq_ignore_ascii_case(TOKEN) {
            collect(std::mem::replace(value, Value::from(MASK)), hidden);
        } else {
            descend(value, hidden);
        }
    }
}

fn descend(value: &mut Value, hidden: &mut Vec<String>) {
    match value {
        Value::Object(fields) => hide(fields, hidden),
        Value::Array(items) => items.iter_mut().for_each(|item| descend(item, hidden)),
        _ => {}
    }
}

fn collect(token: Value, hidden: &mut Vec<String>) {
    match token {
        Value::String(text) if !text.is_empty() => hidden.push(text),
        Value::Array(items) => items.into_iter().for_each(|item| collect(item, hidden)),
        Value::Object(fields) => fields.into_iter().for_each(|(_name, value)| collect(value, hidden)),
        _ => {}
    }
}

/// Counts brackets outside strings. It runs before the recursive reader, so the limit holds whatever that reader's own is.
fn nests_deeper_than(limit: usize, payload: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in payload {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str) -> Message {
        Message::read(payload.as_bytes(), &Settings::new("d")).unwrap()
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert!(!nests_deeper_than(1, br#"{"a": "[[[[\"[[\\"}"#));
        assert!(nests_deeper_than(1, br#"{"a\\": []}"#));
        assert!(!nests_deeper_than(2, br#"[[],[],[]]"#));
    }

    #[test]
    fn tokens_are_hidden_at_any_depth_and_of_any_type() {
        let message = read(
            r#"{"hpcs_object_store_token": "t0p", "x": [{"HPCS_object_store_TOKEN": ["ab", {"k": "cd"}, 7]}], "y": "t0p"}"#,
        );
        let text = serde_json::to_string(&message.fields).unwrap();
        assert_eq!(text.matches(MASK).count(), 2, "{text}");
        assert!(!text.contains("cd") && !text.contains('7'), "{text}");
        assert_eq!(message.redact("PUT with t0p gave ab and cd"), "PUT with ***** gave ***** and *****");
        assert_eq!(message.token, Some(Value::from("t0p")));
    }

    #[test]
    fn hiding_tokens_does_not_multiply_a_text() {
        let with = |tokens: &[&str]| {
            let fields: Vec<_> =
                tokens.iter().map(|token| serde_json::json!({ "hpcs_object_store_token": token })).collect();
            read(&serde_json::json!({ "x": fields }).to_string())
        };
        assert_eq!(with(&["*"; 9]).redact("a * b"), "a ***** b");
        assert_eq!(with(&["ab", "a", "abc", "*"]).redact("abcab*ü"), "***************ü");
        let many: Vec<String> = (0..17).map(|number| format!("t{number}")).collect();
        let many = with(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(many.redact("no token in it"), MASK);
    }

    #[test]
    fn the_last_of_two_equal_names_stays() {
        assert_eq!(read(r#"{"a": 1, "a": 2}"#).fields["a"], 2);
    }
}
