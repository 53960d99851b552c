//! Values laid over the files: `CAPSTAN_SECTION__KEY` and options of the command line.

use std::sync::Arc;

use toml::de::DeValue;

use super::tree::{self, Node, Table, Value};
use crate::config::{Environment, Fault, Origin};

const PREFIX: &str = "CAPSTAN_";
const SEPARATOR: &str = "__";

/// Lays the environment over the tree, then the options of the command line (`dotted key, value, name of the option`).
///
/// A variable without `__` names no key and is left alone: such names are free for other uses.
pub(in crate::config) fn apply(
    tree: &mut Table,
    environment: &dyn Environment,
    options: &[(String, String, String)],
    faults: &mut Vec<Fault>,
) {
    for (name, text) in environment.starting_with(PREFIX) {
        let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains(SEPARATOR)) else { continue };
        let path: Vec<&str> = path.split(SEPARATOR).collect();
        lay(tree, &path, &text, &Origin::Environment(Arc::from(name.as_str())), faults);
    }
    for (key, text, option) in options {
        let path: Vec<&str> = key.split('.').collect();
        lay(tree, &path, text, &Origin::CommandLine(Arc::from(option.as_str())), faults);
    }
}

fn lay(tree: &mut Table, path: &[&str], text: &str, origin: &Origin, faults: &mut Vec<Fault>) {
    let Some((name, rest)) = path.split_first() else { return };
    let name = spelled(tree, name);
    if rest.is_empty() {
        tree.insert(name, node(text, origin));
        return;
    }
    let below = tree.entry(name.clone()).or_insert_with(|| Node::new(Value::Table(Table::new()), origin.clone()));
    match &mut below.value {
        Value::Table(table) => lay(table, rest, text, origin, faults),
        _ => faults.push(Fault {
            origin: origin.clone(),
            key: name,
            found: format!("a key below {}, which is set at {}", below.describe(), below.origin),
            expected: "a table there".to_owned(),
            remedy: "correct the name of the variable".to_owned(),
        }),
    }
}

/// The key as the files spell it. A variable's name has no lower case and no `-`, so both are matched loosely.
fn spelled(table: &Table, name: &str) -> String {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    if table.contains_key(name) {
        return name.to_owned();
    }
    let wanted = plain(name);
    table.keys().find(|key| plain(key) == wanted).cloned().unwrap_or_else(|| name.to_ascii_lowercase())
}

/// TOML when the text parses as TOML, else the text itself.
fn node(text: &str, origin: &Origin) -> Node {
    let value = DeValue::parse(text)
        .map_or_else(|_| Value::Text(text.to_owned()), |parsed| tree::value(parsed.get_ref(), &|_| origin.clone()));
    Node { value, origin: origin.clone(), raw: Some(text.to_owned()) }
}
