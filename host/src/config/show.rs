//! What `config show` prints: every value in force with the place it comes from.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::{Effective, Loaded, Origin, fault::one_line};

/// As TOML, one line for each key, with the place in a comment, and behind it the key whose value it is where it is not stated
/// itself. Secrets show as references.
#[must_use]
pub fn show_text(loaded: &Loaded) -> String {
    let rows: Vec<(&str, String, &Effective)> = loaded
        .effective()
        .iter()
        .map(|value| {
            let (section, key) = value.key.rsplit_once('.').unwrap_or(("", &value.key));
            (section, statement(key, &value.value), value)
        })
        .collect();
    let mut sections: Vec<&str> = Vec::new();
    for (section, ..) in &rows {
        if !sections.contains(section) {
            sections.push(section);
        }
    }
    let mut text = String::new();
    for section in sections {
        let rows: Vec<_> = rows.iter().filter(|row| row.0 == section).collect();
        let width = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0).min(60);
        let _ = writeln!(text, "{}[{}]", if text.is_empty() { "" } else { "\n" }, quoted_path(section));
        for (_, line, value) in rows {
            let inherits = value.inherits.as_ref().map_or_else(String::new, |key| format!(" ({key})"));
            let _ = writeln!(text, "{line:width$}  # {}{inherits}", one_line(&value.origin.to_string()));
        }
    }
    text
}

/// The same for programs: `{ files, warnings, values: [{ key, value, origin, file?, line?, inherits? }] }`.
#[must_use]
pub fn show_json(loaded: &Loaded) -> Json {
    let values: Vec<Json> = loaded
        .effective()
        .iter()
        .map(|value| {
            let mut row = json!({ "key": value.key, "value": value.value, "origin": value.origin.to_string() });
            if let Origin::File { path, line } = &value.origin {
                row["file"] = path.display().to_string().into();
                row["line"] = (*line).into();
            }
            if let Some(key) = &value.inherits {
                row["inherits"] = key.as_str().into();
            }
            row
        })
        .collect();
    let files: Vec<String> = loaded.files.iter().map(|path| path.display().to_string()).collect();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    json!({ "files": files, "warnings": warnings, "values": values })
}

fn statement(key: &str, value: &Json) -> String {
    if value.is_null() {
        return format!("# {} is not set", quoted(key));
    }
    format!("{} = {}", quoted(key), inline(value))
}

/// A value on one line of TOML; a null inside a list or table has no form there and shows as an empty text.
pub(super) fn inline(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        // The escapes of a JSON text are those of a TOML text; only DEL may stand plain in the one and not in the other.
        Json::String(_) => value.to_string().replace('\u{7f}', "\\u007f"),
        Json::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Json::Object(table) if table.is_empty() => "{}".to_owned(),
        Json::Object(table) => {
            let entries: Vec<_> =
                table.iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn quoted_path(path: &str) -> String {
    path.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

fn quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { inline(&key.into()) }
}
